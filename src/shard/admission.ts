/**
 * How many requests for data a front end may have at the coordinator: further ones are refused before anything is sent or copied, so that what
 * was taken is answered in time. Owned by the front end's thread; pure. docs/decisions/0023-overload.md has why.
 *
 * 1. The limit is never below limits.admittedMin, nor above the slots that there are; one request is always taken, however long.
 * 2. It falls only at the end of a period in which more than limits.admittedMin were in flight, and most of those that ended took longer than
 *    they should: to what, by the rate at which they end, would take as long as they should (Little's law), by limits.admittedCut at most
 *    each period. In other periods it rises.
 * 3. How long they should take is limits.admittedMs, or twice what is usual while no more than limits.admittedMin are in flight, where that is
 *    longer: replicas may be far apart. Only such periods say what is usual, so what too many requests bring about never counts as that.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';

/** As they go to /metrics. */
export interface AdmissionFigures {
  readonly limit: number;
  readonly inFlight: number;
  readonly bytes: number;
  /** Rising. */
  readonly refused: number;
}

const FREE = -1;
/** Weight of a period in what is usual. */
const USUAL_WEIGHT = 0.1;
const USUAL_TIMES = 2;

export class Admission implements AdmissionFigures {
  readonly #slotsMax: number;
  readonly #bytesMax: number;
  /** By slot: when its request began, and the bytes of its key and value. */
  readonly #startMs: Float64Array;
  readonly #slotBytes: Uint32Array;
  #limit: number;
  #inFlight = 0;
  #bytes = 0;
  #refused = 0;
  #refusal = '';
  /** 0 as long as nothing is known. */
  #usualMs = 0;
  /** The period: since when, the most that were in flight, how many ended, how many of these took too long, and how long all took. */
  #sinceMs = Number.NEGATIVE_INFINITY;
  #most = 0;
  #ended = 0;
  #late = 0;
  #sumMs = 0;

  constructor(slotsMax: number, bytesMax: number = limits.admittedBytesMax) {
    this.#slotsMax = slotsMax;
    this.#bytesMax = bytesMax;
    this.#limit = slotsMax;
    this.#startMs = new Float64Array(slotsMax).fill(FREE);
    this.#slotBytes = new Uint32Array(slotsMax);
  }

  get limit(): number {
    return this.#limit;
  }
  get inFlight(): number {
    return this.#inFlight;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get refused(): number {
    return this.#refused;
  }
  /** How long a request should take at most, milliseconds. */
  get dueMs(): number {
    return Math.min(limits.admittedMsMax, Math.max(limits.admittedMs, USUAL_TIMES * this.#usualMs));
  }

  /** Why a request with so many bytes of key and value is refused now; '' where it is taken, by `begin`. */
  refusal(bytes: number): string {
    if (this.#inFlight === 0) return '';
    const isFull = this.#inFlight >= this.#limit;
    if (!isFull && this.#bytes + bytes <= this.#bytesMax) return '';
    this.#refused++;
    if (!isFull)
      return `requests of ${this.#bytes + bytes} bytes in flight at this front end; the limit is ${this.#bytesMax}; nothing was done`;
    // The same text until the limit moves: under overload it is said some ten thousand times a second.
    if (this.#refusal === '')
      this.#refusal = `the node is overloaded: ${this.#limit} requests of this front end are in flight, as many as are answered within ${Math.round(this.dueMs)} ms; nothing was done`;
    return this.#refusal;
  }

  begin(slot: number, bytes: number, nowMs: number): void {
    assert(this.#startMs[slot] === FREE, () => `admission: slot ${slot} is in flight already`);
    this.#startMs[slot] = nowMs;
    this.#slotBytes[slot] = bytes;
    this.#bytes += bytes;
    this.#inFlight++;
    if (this.#inFlight > this.#most) this.#most = this.#inFlight;
  }

  /** The reply of a slot has come; nothing happens where its request was not begun here. */
  end(slot: number, nowMs: number): void {
    const startMs = this.#startMs[slot] as number;
    if (startMs === FREE) return;
    this.#startMs[slot] = FREE;
    this.#bytes -= this.#slotBytes[slot] as number;
    this.#inFlight--;
    const tookMs = nowMs - startMs;
    this.#ended++;
    this.#sumMs += tookMs;
    if (tookMs > this.dueMs) this.#late++;
    if (nowMs - this.#sinceMs >= limits.admittedPeriodMs) this.#endPeriod(nowMs);
  }

  #endPeriod(nowMs: number): void {
    const most = this.#most;
    if (most <= limits.admittedMin) {
      const meanMs = this.#sumMs / this.#ended;
      this.#usualMs += this.#usualMs === 0 ? meanMs : USUAL_WEIGHT * (meanMs - this.#usualMs);
    }
    if (most > limits.admittedMin && 2 * this.#late > this.#ended) {
      const inTime = (this.#ended / (nowMs - this.#sinceMs)) * this.dueMs;
      const cut = limits.admittedCut * Math.min(this.#limit, most);
      this.#setLimit(Math.min(this.#limit, Math.max(inTime, cut)));
    } else this.#setLimit(limits.admittedGrowth * this.#limit);
    this.#sinceMs = nowMs;
    this.#most = this.#inFlight;
    this.#ended = 0;
    this.#late = 0;
    this.#sumMs = 0;
  }
  #setLimit(limit: number): void {
    const bounded = Math.min(this.#slotsMax, Math.max(limits.admittedMin, Math.ceil(limit)));
    if (bounded === this.#limit) return;
    this.#limit = bounded;
    this.#refusal = '';
  }
}
