import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Admission } from '../../src/shard/admission.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const SLOTS = limits.requestsInFlightMax;

interface Waiting {
  readonly slot: number;
  readonly startMs: number;
  readonly endMs: number;
}

/** Requests to something that answers so many a second, in their order, and each so much later as messages take; virtual time. */
class Load {
  readonly admission = new Admission(SLOTS);
  nowMs = 0;
  taken = 0;
  refused = 0;
  answered = 0;
  latencies: number[] = [];
  readonly #random: Random;
  readonly #free = Array.from({ length: SLOTS }, (_, slot) => slot);
  /** In the order of their ends. */
  #waiting: Waiting[] = [];
  /** Those before have ended. */
  #first = 0;
  #busyUntilMs = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Offers `rate` requests a second for so long, of clients that know nothing of each other. */
  run(ms: number, rate: number, { capacity, messageMs }: { capacity: number; messageMs: number }): this {
    this.taken = 0;
    this.refused = 0;
    this.answered = 0;
    this.latencies = [];
    const endMs = this.nowMs + ms;
    for (;;) {
      const dueMs = this.nowMs - (Math.log(1 - this.#random.below(1_000_000) / 1_000_000) * 1000) / rate;
      this.#answerUntil(Math.min(dueMs, endMs));
      if (dueMs >= endMs) break;
      this.nowMs = dueMs;
      this.#offer(1000 / capacity, messageMs);
    }
    this.nowMs = endMs;
    return this;
  }
  /** Nothing is answered for so long. */
  stall(ms: number): void {
    this.#waiting = this.#waiting.map((one) => ({ ...one, endMs: one.endMs + ms }));
    this.#busyUntilMs = Math.max(this.#busyUntilMs, this.nowMs) + ms;
  }
  quantile(share: number): number {
    return this.latencies.sort((a, b) => a - b)[Math.floor(share * (this.latencies.length - 1))] ?? 0;
  }

  #offer(serviceMs: number, messageMs: number): void {
    const { admission, nowMs } = this;
    if (admission.refusal(2000) !== '') {
      this.refused++;
      return;
    }
    const slot = this.#free.pop();
    if (slot === undefined) throw new Error('more are admitted than there are slots');
    admission.begin(slot, 2000, nowMs);
    this.taken++;
    this.#busyUntilMs = Math.max(this.#busyUntilMs, nowMs) + serviceMs;
    this.#waiting.push({ slot, startMs: nowMs, endMs: this.#busyUntilMs + messageMs });
  }
  #answerUntil(ms: number): void {
    for (; this.#first < this.#waiting.length; this.#first++) {
      const { slot, startMs, endMs } = this.#waiting[this.#first] as Waiting;
      if (endMs > ms) break;
      this.admission.end(slot, endMs);
      this.#free.push(slot);
      this.answered++;
      this.latencies.push(endMs - startMs);
    }
    if (this.#first <= SLOTS) return;
    this.#waiting.splice(0, this.#first);
    this.#first = 0;
  }
}
const NEAR = { capacity: 5000, messageMs: 2 };

describe(`admission at a front end, seed ${seed},`, () => {
  it('takes all that can be answered', () => {
    const load = new Load(new Random(seed)).run(20_000, 0.8 * NEAR.capacity, NEAR);
    expect(load.refused).toBe(0);
    expect(load.admission.limit).toBe(SLOTS);
  });

  it('refuses what is too much, so that what can be answered is, and in time', () => {
    for (const times of [1.3, 2, 5]) {
      const load = new Load(new Random(seed));
      load.run(3000, times * NEAR.capacity, NEAR);
      load.run(10_000, times * NEAR.capacity, NEAR);
      expect(load.answered / 10, `answered of ${times} times the capacity`).toBeGreaterThan(
        0.97 * NEAR.capacity,
      );
      expect(load.quantile(0.5)).toBeLessThan(1.5 * limits.admittedMs);
      expect(load.quantile(0.99)).toBeLessThan(2.5 * limits.admittedMs);
    }
  });

  it('is bounded by its slots until it knows, and soon does', () => {
    const load = new Load(new Random(seed)).run(2000, 4 * NEAR.capacity, NEAR);
    expect(load.quantile(1)).toBeLessThan(10 * limits.admittedMs);
    expect(load.admission.limit).toBeLessThan(3 * limits.admittedMs * (NEAR.capacity / 1000));
  });

  it('takes all again when the overload is over', () => {
    const load = new Load(new Random(seed));
    load.run(10_000, 3 * NEAR.capacity, NEAR);
    expect(load.run(1000, 3 * NEAR.capacity, NEAR).refused).toBeGreaterThan(0);
    load.run(10_000, 0.5 * NEAR.capacity, NEAR);
    expect(load.run(1000, 0.5 * NEAR.capacity, NEAR).refused).toBe(0);
    expect(load.admission.limit).toBe(SLOTS);
  });

  it('refuses nothing because replicas are far apart, once it has seen that, also where it began under load', () => {
    for (const messageMs of [90, 250, 400]) {
      const far = { capacity: 100_000, messageMs };
      const load = new Load(new Random(seed)).run(25_000, 4000, far);
      expect(load.run(3000, 4000, far).refused, `${messageMs} ms`).toBe(0);
    }
  });

  it('does not hold for usual what too many requests bring about, however long', () => {
    const load = new Load(new Random(seed));
    for (let part = 0; part < 12; part++) load.run(5000, 2 * NEAR.capacity, NEAR);
    expect(load.admission.dueMs).toBe(limits.admittedMs);
    expect(load.quantile(0.99)).toBeLessThan(2.5 * limits.admittedMs);
  });

  it('refuses nothing for one slow request, or a pause, where few come', () => {
    const load = new Load(new Random(seed)).run(5000, 100, NEAR);
    load.stall(900);
    load.run(2000, 100, NEAR);
    expect(load.refused).toBe(0);
    expect(load.admission.limit).toBe(SLOTS);
    // A burst of more than admittedMin, behind a long time in which a slow one came alone.
    load.stall(500);
    load.run(600, 1, NEAR);
    load.run(100, 20_000, NEAR);
    expect(load.refused).toBe(0);
  });

  it('lets the limit fall step by step, and never below what may always be in flight', () => {
    const load = new Load(new Random(seed));
    let before = load.admission.limit;
    for (let period = 0; period < 200; period++) {
      load.run(limits.admittedPeriodMs, 20_000, { capacity: 500, messageMs: 2 });
      const { limit } = load.admission;
      expect(limit).toBeGreaterThanOrEqual(limits.admittedMin);
      // Two periods may end in one.
      expect(limit).toBeGreaterThan(0.45 * Math.min(before, load.admission.inFlight));
      if (load.admission.inFlight >= limit)
        expect(load.admission.refusal(1)).toContain(`: ${limit} requests of this front end`);
      before = limit;
    }
    expect(before).toBeLessThan(600);
  });

  it('bounds the bytes of what is in flight, but takes one request of any length', () => {
    const admission = new Admission(SLOTS, 10_000);
    expect(admission.refusal(50_000)).toBe('');
    admission.begin(0, 50_000, 1);
    expect(admission.refusal(1)).toBe(
      'requests of 50001 bytes in flight at this front end; the limit is 10000; nothing was done',
    );
    admission.end(0, 2);
    expect([admission.bytes, admission.inFlight]).toEqual([0, 0]);
    admission.begin(0, 5000, 3);
    expect(admission.refusal(5000)).toBe('');
    admission.begin(1, 5000, 3);
    expect(admission.refusal(1)).toContain('the limit is 10000');
    admission.end(0, 4);
    expect(admission.refusal(5000)).toBe('');
    expect(admission.refused).toBe(2);
  });

  it('says what the limit is', () => {
    const admission = new Admission(2);
    admission.begin(0, 1, 1);
    admission.begin(1, 1, 1);
    expect(admission.refusal(1)).toBe(
      'the node is overloaded: 2 requests of this front end are in flight, as many as are answered within 100 ms; nothing was done',
    );
    // A reply to what was not admitted, a scan's, changes nothing.
    admission.end(0, 2);
    admission.end(0, 2);
    expect(admission.inFlight).toBe(1);
  });
});
