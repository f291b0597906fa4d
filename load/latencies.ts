/**
 * Latencies of a phase in microseconds, in HdrHistograms with three digits. `response` counts from when a request was due: a
 * generator or a server that falls behind cannot hide it (no coordinated omission). `service` counts from when it was sent.
 */
import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
  type JsHistogram,
} from 'hdr-histogram-js';
import { loadLimits } from './limits.ts';
import { OPERATIONS, type OperationName } from './workload.ts';

const DIGITS = 3;
/** Of an interval of a series, which is there to be drawn. */
const INTERVAL_DIGITS = 2;

export const emptyHistogram = (digits: 2 | 3 = DIGITS): Histogram =>
  build({
    // Of 64 bits: a soak counts more than 2^31 in one bucket.
    bitBucketSize: 64,
    autoResize: false,
    lowestDiscernibleValue: 1,
    highestTrackableValue: loadLimits.latencyUsMax,
    numberOfSignificantValueDigits: digits,
  });

/** Whole microseconds that a histogram holds. */
export const clampUs = (us: number): number =>
  us < 1 ? 1 : us > loadLimits.latencyUsMax ? loadLimits.latencyUsMax : Math.round(us);

/** What a generator thread sends when a phase has ended. */
export interface EncodedLatencies {
  readonly service: string;
  readonly byOperation: Readonly<Partial<Record<OperationName, string>>>;
}

export class Latencies {
  readonly service: Histogram;
  readonly byOperation: (Histogram | null)[];

  constructor(encoded: EncodedLatencies | null = null) {
    const decode = decodeFromCompressedBase64;
    this.service = encoded === null ? emptyHistogram() : asFloat64(decode(encoded.service));
    this.byOperation = OPERATIONS.map((name) => {
      const text = encoded?.byOperation[name];
      return text === undefined ? null : asFloat64(decode(text));
    });
  }

  /** Of all operations; put together each time, which costs less than a second histogram for each request. */
  get response(): Histogram {
    const all = emptyHistogram();
    for (const own of this.byOperation) if (own !== null) all.add(own);
    return all;
  }

  record(operation: number, responseUs: number, serviceUs: number): void {
    this.ofOperation(operation).recordValue(clampUs(responseUs));
    this.service.recordValue(clampUs(serviceUs));
  }
  /** A request that was never sent: it waited at least so long, and has no service time. */
  recordGivenUp(operation: number, waitedUs: number): void {
    this.ofOperation(operation).recordValue(clampUs(waitedUs));
  }
  /** Made where it is missing. */
  ofOperation(operation: number): Histogram {
    let own = this.byOperation[operation] ?? null;
    if (own === null) {
      own = emptyHistogram();
      this.byOperation[operation] = own;
    }
    return own;
  }

  encode(): EncodedLatencies {
    const encode = encodeIntoCompressedBase64;
    const byOperation: Partial<Record<OperationName, string>> = {};
    OPERATIONS.forEach((name, at) => {
      const own = this.byOperation[at] ?? null;
      if (own !== null) byOperation[name] = encode(own);
    });
    return { service: encode(this.service), byOperation };
  }
}

/** One from many threads. */
export function mergeLatencies(parts: readonly Latencies[]): Latencies {
  const merged = new Latencies();
  for (const part of parts) {
    merged.service.add(part.service);
    part.byOperation.forEach((own, at) => {
      if (own !== null) merged.ofOperation(at).add(own);
    });
  }
  return merged;
}

/** A copy whose counts are wide enough to be added to. */
function asFloat64(decoded: Histogram): Histogram {
  const copy = emptyHistogram();
  copy.add(decoded);
  return copy;
}

/**
 * A closed loop sends nothing while it waits: a stop of a second is one slow request instead of all that would have come.
 * Adds what was left out, one request each `expectedUs`, as HdrHistogram's correction does (Tene).
 */
export function correctedForOmission(service: Histogram, expectedUs: number): Histogram {
  const corrected = emptyHistogram();
  corrected.addWhileCorrectingForCoordinatedOmission(service, Math.max(1, Math.round(expectedUs)));
  return corrected;
}

export const PERCENTILES = [50, 90, 95, 99, 99.9, 99.99] as const;

export interface Summary {
  readonly count: number;
  readonly meanMs: number;
  readonly maxMs: number;
  /** Milliseconds by percentile, as a text: '99.9'. */
  readonly ms: Readonly<Record<string, number>>;
}
const US_PER_MS = 1000;
export function summaryOf(histogram: Histogram): Summary {
  const ms = Object.fromEntries(
    PERCENTILES.map((one) => [String(one), histogram.getValueAtPercentile(one) / US_PER_MS]),
  );
  const count = histogram.totalCount;
  return {
    count,
    meanMs: count === 0 ? 0 : histogram.mean / US_PER_MS,
    maxMs: histogram.maxValue / US_PER_MS,
    ms,
  };
}

export interface CurvePoint {
  readonly percentile: number;
  readonly ms: number;
}
const CURVE_STEPS_PER_NINE = 10;
const CURVE_NINES_MAX = 6;
/** Latency by percentile, evenly on the scale of nines (90, 99, 99.9, ...), as far as there are values. */
export function curveOf(histogram: Histogram): CurvePoint[] {
  const { totalCount } = histogram;
  const points: CurvePoint[] = [];
  if (totalCount === 0) return points;
  for (let step = 0; step <= CURVE_NINES_MAX * CURVE_STEPS_PER_NINE; step++) {
    const above = 10 ** (-step / CURVE_STEPS_PER_NINE);
    if (above * totalCount < 1 && step > 0) break;
    const percentile = 100 * (1 - above);
    points.push({ percentile, ms: histogram.getValueAtPercentile(percentile) / US_PER_MS });
  }
  points.push({ percentile: 100 * (1 - 1 / (totalCount + 1)), ms: histogram.maxValue / US_PER_MS });
  return points;
}

/** What one thread saw end in one interval. */
export interface IntervalPart {
  readonly interval: number;
  readonly ok: number;
  readonly failed: number;
  readonly givenUp: number;
  /** Latency and count by turns. */
  readonly latencies: readonly number[];
}

/** Gathers one interval and is emptied. */
export class IntervalRecorder {
  readonly #latencies = emptyHistogram(INTERVAL_DIGITS) as JsHistogram;
  #ok = 0;
  #failed = 0;
  #givenUp = 0;

  add(responseUs: number, failed: boolean): void {
    if (failed) this.#failed++;
    else this.#ok++;
    this.#latencies.recordValue(clampUs(responseUs));
  }
  addGivenUp(waitedUs: number): void {
    this.#givenUp++;
    this.#latencies.recordValue(clampUs(waitedUs));
  }
  take(interval: number): IntervalPart {
    const latencies: number[] = [];
    const { recordedValuesIterator: values } = this.#latencies;
    values.reset();
    while (values.hasNext()) {
      const value = values.next();
      latencies.push(value.valueIteratedTo, value.countAddedInThisIterationStep);
    }
    const part = { interval, ok: this.#ok, failed: this.#failed, givenUp: this.#givenUp, latencies };
    this.#latencies.reset();
    this.#ok = 0;
    this.#failed = 0;
    this.#givenUp = 0;
    return part;
  }
}

export interface SeriesPoint {
  readonly second: number;
  readonly okPerSecond: number;
  readonly failedPerSecond: number;
  readonly givenUpPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** The threads' intervals, put together as they come. */
export class Series {
  readonly intervalMs: number;
  readonly #parts = new Map<number, IntervalPart[]>();
  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }
  add(part: IntervalPart): void {
    this.#parts.set(part.interval, [...(this.#parts.get(part.interval) ?? []), part]);
  }
  /** In order of time; the interval is where it ends. */
  points(): SeriesPoint[] {
    return [...this.#parts.keys()].sort((a, b) => a - b).map((interval) => this.point(interval));
  }
  point(interval: number): SeriesPoint {
    const parts = this.#parts.get(interval) ?? [];
    const histogram = emptyHistogram(INTERVAL_DIGITS);
    for (const { latencies } of parts)
      for (let at = 0; at < latencies.length; at += 2)
        histogram.recordValueWithCount(clampUs(latencies[at] as number), latencies[at + 1] as number);
    const perSecond = (pick: (part: IntervalPart) => number): number =>
      (parts.reduce((sum, part) => sum + pick(part), 0) * 1000) / this.intervalMs;
    const ms = (percentile: number): number => histogram.getValueAtPercentile(percentile) / US_PER_MS;
    return {
      second: ((interval + 1) * this.intervalMs) / 1000,
      okPerSecond: perSecond(({ ok }) => ok),
      failedPerSecond: perSecond(({ failed }) => failed),
      givenUpPerSecond: perSecond(({ givenUp }) => givenUp),
      p50Ms: ms(50),
      p99Ms: ms(99),
      maxMs: histogram.maxValue / US_PER_MS,
    };
  }
}
