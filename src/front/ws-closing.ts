/**
 * WebSocket connections that were closed with a close frame, by either side. uWebSockets.js forgets them at once and keeps the socket, with what was not
 * read and what has arrived of a message, until its client closes too or 4 to 8 s are over; it does not tell which. So each counts as
 * there for limits.wsClosingMs: a client that opens and closes without end is bounded like one that keeps its connections.
 * Front-end thread.
 * 1. Of `max` connections a sixteenth, one at least, may be closing beside those that are open; the others take the place of open ones.
 * 2. A connection that ended without a frame is gone, and never here.
 */
import { limits } from '../base/limits.ts';

/** What a kind of connections counts. */
export interface Occupied {
  readonly connections: number;
  readonly closing: number;
}

/** Places that are taken, of `max`. */
export const placesTaken = ({ connections, closing }: Occupied, max: number): number =>
  connections + Math.max(0, closing - Math.ceil(max / limits.wsClosingDivisor));

/** What uWebSockets.js gives where no close frame came, and the socket is gone; and what it says of a frame that has a wrong code. */
const ABNORMAL = 1006;
const WRONG_FRAME = 'Received invalid close payload';

/** Whether a close event of uWebSockets.js leaves no socket behind. */
export const isGone = (code: number, message: ArrayBuffer): boolean =>
  code === ABNORMAL && Buffer.from(message).toString('latin1') !== WRONG_FRAME;

/** What counts one connection less when it is over. */
export interface ClosingCounts {
  closing: number;
  closingBytes: number;
}

interface Closing {
  readonly untilMs: number;
  readonly size: { closing: number };
  readonly bytes: number;
}

export class WsClosing {
  readonly #counts: ClosingCounts;
  /** By when they are over. */
  #list: Closing[] = [];

  constructor(counts: ClosingCounts) {
    this.#counts = counts;
  }

  /** A connection of `size` was closed with a frame while `bytes` of what was sent were not read. */
  add(size: { closing: number }, bytes: number, nowMs: number): void {
    this.#list.push({ untilMs: nowMs + limits.wsClosingMs, size, bytes });
    size.closing++;
    this.#counts.closing++;
    this.#counts.closingBytes += bytes;
  }

  /** Forgets those that are over; called about once a second. */
  sweep(nowMs: number): void {
    const left = this.#list.findIndex(({ untilMs }) => untilMs > nowMs);
    const over = left < 0 ? this.#list : this.#list.slice(0, left);
    this.#list = left < 0 ? [] : this.#list.slice(left);
    for (const { size, bytes } of over) {
      size.closing--;
      this.#counts.closing--;
      this.#counts.closingBytes -= bytes;
    }
  }
}
