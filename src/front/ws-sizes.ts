/**
 * How long messages may be, by how many connections are open. Front-end thread.
 *
 * uWebSockets.js holds what has arrived of an unfinished message and tells nobody; all that bounds it is the longest payload
 * of a route. So connections come in sizes, each a route of its own, and a size has so many connections that its
 * unfinished messages stay within its share of limits.wsUnfinishedBytesMax:
 * 1. The first connections have the longest messages, the next the longest put, the others wsSmallMessageBytesMax.
 * 2. Each is told its own limits in its first message, so that no client has to know of sizes.
 * 3. A connection keeps its size for life; one that ends makes room in it for a later one.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { encodeLimits } from './ws-answers.ts';
import { placesTaken } from './ws-closing.ts';
import { limitsTold } from './ws-limits.ts';
import { messageBytesMax, WS_PATTERNS } from './ws-wire.ts';

export class WsSize {
  /** Longest message that is taken, and from which uWebSockets.js cuts off: between them there is a reason. */
  readonly messageBytesMax: number;
  readonly payloadBytesMax: number;
  readonly connectionsMax: number;
  /** The first message of its connections. */
  readonly greeting: Uint8Array;
  connections = 0;
  /** Closed with a frame just now: what has arrived of their messages may still be held. */
  closing = 0;

  constructor(maxKeyBytes: number, maxValueBytes: number, messageBytes: number, shareBytes: number) {
    this.messageBytesMax = messageBytes;
    this.payloadBytesMax = messageBytes + Math.ceil(messageBytes / limits.wsMessageSlackDivisor);
    this.connectionsMax = Math.max(1, Math.floor(shareBytes / this.payloadBytesMax));
    const put = messageBytes - maxKeyBytes - limits.wsMessageOverheadBytes;
    const told = limitsTold(maxKeyBytes, Math.min(maxValueBytes, put), messageBytes);
    this.greeting = encodeLimits(told);
  }

  get full(): boolean {
    return placesTaken(this, this.connectionsMax) >= this.connectionsMax;
  }
}

/** Longest first. */
export function sizesOf(
  maxKeyBytes: number,
  maxValueBytes: number,
  unfinishedBytesMax: number = limits.wsUnfinishedBytesMax,
): readonly WsSize[] {
  const longestPut = maxKeyBytes + maxValueBytes + limits.wsMessageOverheadBytes;
  const small = maxKeyBytes + limits.wsMessageOverheadBytes + limits.wsSmallValueBytesMax;
  const wanted: readonly (readonly [messageBytes: number, share: number])[] = [
    [messageBytesMax(maxKeyBytes, maxValueBytes), 1 / 4],
    [longestPut, 1 / 2],
    [small, 1 / 4],
  ];
  const sizes = wanted
    // Where values are short, all connections have room for the longest.
    .filter(([messageBytes]) => messageBytes >= small)
    .map(
      ([messageBytes, share]) =>
        new WsSize(maxKeyBytes, maxValueBytes, messageBytes, share * unfinishedBytesMax),
    );
  assert(sizes.length <= WS_PATTERNS.length, 'WebSocket sizes: more than routes');
  return sizes;
}

/** The size that the next connection has; null where all are full. */
export const nextSize = (sizes: readonly WsSize[]): WsSize | null => sizes.find(({ full }) => !full) ?? null;

/** Connections that all sizes have room for. */
export const roomOf = (sizes: readonly WsSize[]): number =>
  sizes.reduce((sum, { connectionsMax }) => sum + connectionsMax, 0);
