/**
 * What a generator thread knows of its keys: enough to say of most reads exactly what they must give. Each key belongs to one
 * thread, which alone writes it.
 *
 * A key that nobody writes holds what the last write put there, where that write overlapped no other. A read that began and
 * ended while nobody wrote must give it. Where writes overlap, or one ended without a known outcome, a read may give any value
 * that was written for the key (values.ts proves that it was).
 */
import { loadLimits } from './limits.ts';

/** Instead of a serial. */
export const ABSENT = -1;
export const ANY = -2;

/** A write under way. */
export interface WriteTicket {
  generation: number;
  alone: boolean;
  before: number;
}

export class KeyStates {
  readonly #generation: Uint32Array;
  readonly #inFlight: Uint16Array;
  readonly #known: Int32Array;
  /** Milliseconds: from then on the value may be gone, and from `goneMs` on it must be. Null where nothing expires. */
  readonly #mayGoMs: Float64Array | null;
  readonly #goneMs: Float64Array | null;
  readonly #doubtful = new Set<number>();
  /** Keys with a write of unknown outcome beyond what is kept: nothing is said of any key then. */
  overflowed = false;

  /** `initial`: what keys hold before the first write: ABSENT, or ANY where nobody knows. */
  constructor(keys: number, initial: typeof ABSENT | typeof ANY, expiring: boolean) {
    this.#generation = new Uint32Array(keys);
    this.#inFlight = new Uint16Array(keys);
    this.#known = new Int32Array(keys).fill(initial);
    this.#mayGoMs = expiring ? new Float64Array(keys) : null;
    this.#goneMs = expiring ? new Float64Array(keys) : null;
  }

  get doubtfulKeys(): number {
    return this.#doubtful.size;
  }

  begin(key: number, ticket: WriteTicket): void {
    ticket.before = this.#known[key] as number;
    ticket.alone = this.#inFlight[key] === 0;
    this.#inFlight[key] = (this.#inFlight[key] as number) + 1;
    const generation = ((this.#generation[key] as number) + 1) >>> 0;
    this.#generation[key] = generation;
    ticket.generation = generation;
    this.#known[key] = ANY;
  }
  /** `serial` of the value, or ABSENT for a delete. `sentMs`, `ttlMs`: where it expires. */
  acknowledged(key: number, ticket: WriteTicket, serial: number, sentMs = 0, nowMs = 0, ttlMs = 0): void {
    this.#end(key);
    if (!ticket.alone || this.#generation[key] !== ticket.generation) return;
    this.#known[key] = serial;
    if (this.#mayGoMs === null || this.#goneMs === null) return;
    this.#mayGoMs[key] = ttlMs > 0 ? sentMs + ttlMs : Number.POSITIVE_INFINITY;
    this.#goneMs[key] = ttlMs > 0 ? nowMs + ttlMs : Number.POSITIVE_INFINITY;
  }
  /** The server says that nothing was done. */
  refused(key: number, ticket: WriteTicket): void {
    this.#end(key);
    if (ticket.alone && this.#generation[key] === ticket.generation) this.#known[key] = ticket.before;
  }
  /** It may have been done, or be done yet. */
  unknown(key: number): void {
    this.#end(key);
    if (this.#doubtful.size < loadLimits.doubtfulKeysMax) this.#doubtful.add(key);
    else this.overflowed = true;
  }

  /** To hand to `expected` when the read ends. */
  beginRead(key: number): number {
    // A write that is under way may be seen or not, also where it ends before the read does.
    return this.#inFlight[key] === 0 ? (this.#generation[key] as number) : OVERLAPPED;
  }
  /** What a read must have given that began at `sentMs` with this of `beginRead` and ends now: a serial, ABSENT, or ANY. */
  expected(key: number, generation: number, sentMs: number, nowMs: number): number {
    if (this.overflowed || this.#generation[key] !== generation || this.#doubtful.has(key)) return ANY;
    const known = this.#known[key] as number;
    if (known < 0 || this.#mayGoMs === null || this.#goneMs === null) return known;
    if (sentMs > (this.#goneMs[key] as number) + EXPIRY_SLACK_MS) return ABSENT;
    return nowMs < (this.#mayGoMs[key] as number) - EXPIRY_SLACK_MS ? known : ANY;
  }
  #end(key: number): void {
    this.#inFlight[key] = (this.#inFlight[key] as number) - 1;
  }
}

/** No generation. */
const OVERLAPPED = -1;
/** Two clocks of one machine, and expiry in whole milliseconds. */
const EXPIRY_SLACK_MS = 20;
