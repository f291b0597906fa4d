/**
 * Counters of the front end in typed arrays, written per request on the front-end thread and read at a scrape.
 * Latency runs from the parsed head of a request to the call that ends its answer.
 */
import { type Clock, MONOTONIC_ZERO, type MonotonicMs } from '../base/clock.ts';

export const Metric = { GET: 0, HEAD: 1, PUT: 2, DELETE: 3, BATCH: 4, SCAN: 5, OTHER: 6 } as const;
export const METRIC_NAMES = ['get', 'head', 'put', 'delete', 'batch', 'scan', 'other'] as const;

export const STATUSES = [
  200, 204, 304, 400, 403, 404, 405, 408, 409, 412, 413, 415, 426, 429, 500, 501, 503, 504, 507,
] as const;
const statusIndex = new Uint8Array(600).fill(STATUSES.indexOf(500));
STATUSES.forEach((status, index) => {
  statusIndex[status] = index;
});

/** Upper bounds, milliseconds; a last bucket takes the rest. */
export const BUCKETS_MS = [
  0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
] as const;
const BUCKETS = BUCKETS_MS.length + 1;

/** Of the answers from shared memory one in so many is timed, and counts for all: two looks at the clock cost a tenth. */
export const LOCAL_SAMPLE = 16;

export class FrontMetrics {
  readonly #clock: Clock;
  #untilSample = 1;
  readonly #requests = new Float64Array(METRIC_NAMES.length * STATUSES.length);
  readonly #buckets = new Float64Array(METRIC_NAMES.length * BUCKETS);
  readonly #sumMs = new Float64Array(METRIC_NAMES.length);
  /** Requests whose client was gone before the answer. */
  aborted = 0;
  connections = 0;
  connectionsRefused = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  count(metric: number, http: number, startMs: number): void {
    this.#time(metric, startMs, 1);
    this.#tally(metric, http);
  }

  /** When a read begins that may be answered from shared memory; 0 where it is not timed. */
  beginLocal(): MonotonicMs {
    if (--this.#untilSample > 0) return MONOTONIC_ZERO;
    this.#untilSample = LOCAL_SAMPLE;
    return this.#clock.monotonicMs();
  }
  countLocal(metric: number, http: number, startMs: number): void {
    if (startMs !== 0) this.#time(metric, startMs, LOCAL_SAMPLE);
    this.#tally(metric, http);
  }

  #time(metric: number, startMs: number, weight: number): void {
    const took = this.#clock.monotonicMs() - startMs;
    let bucket = 0;
    while (bucket < BUCKETS_MS.length && took > (BUCKETS_MS[bucket] as number)) bucket++;
    (this.#buckets[metric * BUCKETS + bucket] as number) += weight;
    (this.#sumMs[metric] as number) += took * weight;
  }
  #tally(metric: number, http: number): void {
    (this.#requests[metric * STATUSES.length + (statusIndex[http] as number)] as number)++;
  }

  requests(metric: number, status: (typeof STATUSES)[number]): number {
    return this.#requests[metric * STATUSES.length + (statusIndex[status] as number)] as number;
  }
  /** Requests in the bucket with this index; BUCKETS_MS.length is that of the rest. */
  bucket(metric: number, index: number): number {
    return this.#buckets[metric * BUCKETS + index] as number;
  }
  sumMs(metric: number): number {
    return this.#sumMs[metric] as number;
  }
}
