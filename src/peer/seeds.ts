/**
 * Connections to addresses whose nodes are not known: the way into a cluster. A few messages wait while one is made; where that
 * fails they are lost, and the next message tries again. Owned by the transport's thread.
 *
 * There is room for limits.peerSeedsMax addresses. Only one to which a connection is being made keeps its place whatever comes: what was
 * found, or not, must not keep out for ever an address that nobody has tried.
 */
import { limits } from '../base/limits.ts';
import type { Connection } from './connection.ts';

export interface Seed {
  readonly address: string;
  /** Being made or ready; null where there is none. */
  connection: Connection | null;
  /** Why the last attempt failed: told once. */
  failure: string;
  /** The last attempt found this node itself there. */
  isSelf: boolean;
  waiting: Uint8Array[];
  waitingBytes: number;
  /** No attempt before: a seed that is down is not dialled for each message. */
  notBefore: number;
}

export class Seeds {
  /** That which was asked for longest ago is first. */
  readonly #seeds = new Map<string, Seed>();

  /** The seed at an address; null where connections are being made to as many others as there is room for. */
  at(address: string): Seed | null {
    let seed = this.#seeds.get(address);
    if (seed !== undefined) this.#seeds.delete(address);
    else {
      if (this.#seeds.size >= limits.peerSeedsMax && !this.#makeRoom()) return null;
      seed = {
        address,
        connection: null,
        failure: '',
        isSelf: false,
        waiting: [],
        waitingBytes: 0,
        notBefore: 0,
      };
    }
    this.#seeds.set(address, seed);
    return seed;
  }

  /**
   * One where nobody was found goes first: it may be of a node that is gone. One that was found goes with its address alone: the transport
   * has that connection among those of its node, and it serves on.
   */
  #makeRoom(): boolean {
    for (const { address, connection } of this.#seeds.values())
      if (connection === null) return this.#seeds.delete(address);
    for (const { address, connection } of this.#seeds.values())
      if (connection?.state === 'ready') return this.#seeds.delete(address);
    return false;
  }

  /** What is known of each, for people. */
  *standings(): IterableIterator<readonly [address: string, standing: string]> {
    for (const { address, connection, failure, isSelf } of this.#seeds.values())
      if (isSelf) yield [address, 'this node itself'];
      else if (connection?.state === 'ready') yield [address, 'connected, and it has told no ring yet'];
      else yield [address, failure === '' ? 'no answer yet' : failure];
  }

  /** The seed that a connection was made for. */
  of(connection: Connection): Seed | undefined {
    for (const seed of this.#seeds.values()) if (seed.connection === connection) return seed;
    return undefined;
  }
}

/** Keeps a message until the connection is there; false where too many wait. */
export function keepForSeed(seed: Seed, message: Uint8Array): boolean {
  if (
    seed.waiting.length >= limits.peerSeedMessagesMax ||
    seed.waitingBytes + message.length > limits.peerSeedBytesMax
  )
    return false;
  seed.waiting.push(message);
  seed.waitingBytes += message.length;
  return true;
}

/** Ends the connection with a seed: the next message is sent over another. */
export function letGo(seed: Seed): void {
  const { connection } = seed;
  seed.connection = null;
  connection?.destroy('');
}

/** The messages that waited, which are the caller's from then on. */
export function takeWaiting(seed: Seed): Uint8Array[] {
  const { waiting } = seed;
  seed.waiting = [];
  seed.waitingBytes = 0;
  return waiting;
}
