/** One WebSocket connection, and the requests of all connections that wait for a reply. Front-end thread. */
import type { WebSocket } from 'uWebSockets.js';
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { AnswerMessage } from './ws-answers.ts';
import type { CloseReason } from './ws-metrics.ts';
import type { WsSize } from './ws-sizes.ts';

export interface WsUserData {
  readonly connection: WsConnection;
}

export class WsConnection {
  /** How long its messages may be. */
  readonly size: WsSize;
  /** null before it is open and as soon as it is closed: nothing is sent then. */
  ws: WebSocket<WsUserData> | null = null;
  /** Index in the list of connections. */
  index = -1;
  /** Why it is being closed; '' where it is not, or by the client. */
  reason: CloseReason | '' = '';
  /** Requests that are not answered, and bytes of their keys and values. */
  inFlight = 0;
  inFlightBytes = 0;
  /** Answers of this turn. */
  message: AnswerMessage | null = null;

  /** Bytes that were sent, and those of them that its client has not read. */
  sentBytes = 0;
  bufferedBytes = 0;
  paused = false;
  /** When the period began in which it must read, and what it had read by then. */
  periodMs = 0;
  periodReadBytes = 0;
  /** When a whole message, ping or pong came last. */
  heardMs = 0;
  pingedMs = 0;

  constructor(size: WsSize) {
    this.size = size;
  }

  /** Whether it is to be asked for a sign of life; then it was. */
  isPingDue(nowMs: number): boolean {
    if (nowMs - Math.max(this.heardMs, this.pingedMs) < limits.wsPingMs) return false;
    this.pingedMs = nowMs;
    return true;
  }

  get readBytes(): number {
    return this.sentBytes - this.bufferedBytes;
  }

  /** Why it takes no request; '' where it does. */
  refusal(): string {
    if (this.paused)
      return `more than ${limits.wsPausedBytes} bytes of answers wait for this client to read; nothing was done`;
    return this.inFlight >= limits.wsInFlightMax
      ? `${this.inFlight} requests of this connection are in flight; the limit is ${limits.wsInFlightMax}; nothing was done`
      : '';
  }

  /** Whether its client read too little in a period that is over; begins the next one. */
  isUnread(nowMs: number): boolean {
    if (this.bufferedBytes === 0 || nowMs - this.periodMs < limits.wsDrainPeriodMs) return false;
    const read = this.readBytes - this.periodReadBytes;
    this.beginPeriod(nowMs);
    return read < limits.wsDrainPeriodBytesMin;
  }
  beginPeriod(nowMs: number): void {
    this.periodMs = nowMs;
    this.periodReadBytes = this.readBytes;
  }
}

/** Requests in flight: a fixed table, so that none allocates. A slot is taken from `take` to `free`. */
export class WsSlots {
  readonly connections: (WsConnection | null)[];
  readonly ids: Float64Array;
  readonly ops: Uint8Array;
  readonly bytes: Uint32Array;
  readonly startMs: Float64Array;
  /** What the request demanded, for the message where it was not so. */
  readonly conditions: Uint8Array;
  readonly versions: Float64Array;
  readonly #free: Int32Array;
  #freeCount: number;

  constructor(max: number) {
    this.connections = new Array<null>(max).fill(null);
    this.ids = new Float64Array(max);
    this.ops = new Uint8Array(max);
    this.bytes = new Uint32Array(max);
    this.startMs = new Float64Array(max);
    this.conditions = new Uint8Array(max);
    this.versions = new Float64Array(max);
    this.#free = new Int32Array(max).map((_, i) => max - 1 - i);
    this.#freeCount = max;
  }

  /** The slot that `take` will give; -1 where all are taken. */
  next(): number {
    return this.#freeCount === 0 ? -1 : (this.#free[this.#freeCount - 1] as number);
  }
  take(connection: WsConnection): void {
    const slot = this.next();
    this.#freeCount--;
    this.connections[slot] = connection;
    connection.inFlight++;
    connection.inFlightBytes += this.bytes[slot] as number;
  }
  /** The connection that it was of. */
  free(slot: number): WsConnection {
    const connection = this.connections[slot] ?? null;
    assert(connection !== null, () => `WebSocket slot ${slot} is free already`);
    this.connections[slot] = null;
    this.#free[this.#freeCount++] = slot;
    connection.inFlight--;
    connection.inFlightBytes -= this.bytes[slot] as number;
    return connection;
  }
}
