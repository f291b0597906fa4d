/**
 * A closed loop of calls: so many are in flight, and the next one starts when one has ended. Counts calls, their latencies and the
 * processor time of all threads of the process. Owned by the command's thread.
 */
import { createHistogram } from 'node:perf_hooks';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { OverloadedError } from '../base/errors.ts';
import type { LoadFigures } from './bench-figures.ts';
import { InterruptedError } from './failure.ts';

export interface LoadOptions {
  readonly inFlight: number;
  readonly seconds: number;
  /** Ends after so many calls, where that is earlier. */
  readonly calls?: number;
  readonly clock: Clock;
  /** Aborts: the calls in flight end, and an InterruptedError is thrown. */
  readonly signal: AbortSignal;
  /** Processor time of the process so far, all threads, microseconds. */
  readonly cpuUs: () => number;
}

/** Before a refused call is tried again: nothing was done. */
const REFUSED_MS = 5;
/** Calls of one lane after which timers and signals have their turn, also where no call waits for anything. */
const TURN_CALLS = 256;
const NS_OF_MS = 1e6;
const SECOND_MS = 1000;
const [P50, P99, P999] = [50, 99, 99.9];
/** What the histogram takes: an hour. */
const NS_MAX = 3_600_000 * NS_OF_MS;

/** `call(index)` counts up from `first`; an index that was refused comes again. Rejects with what a call rejects with otherwise. */
export async function driveLoad(
  call: (index: number) => Promise<unknown>,
  first: number,
  { inFlight, seconds, calls: callsMax = Number.POSITIVE_INFINITY, clock, signal, cpuUs }: LoadOptions,
): Promise<LoadFigures> {
  const histogram = createHistogram({ highest: NS_MAX });
  const cpuStart = cpuUs();
  const startMs = clock.monotonicMs();
  const endMs = startMs + seconds * SECOND_MS;
  const end = first + callsMax;
  let next = first;
  let calls = 0;
  let refused = 0;
  let failed = false;
  const one = async (index: number): Promise<void> => {
    const begunMs = clock.monotonicMs();
    while (!signal.aborted) {
      try {
        await call(index);
        const ns = Math.round((clock.monotonicMs() - begunMs) * NS_OF_MS);
        histogram.record(Math.min(NS_MAX, Math.max(1, ns)));
        calls++;
        return;
      } catch (error) {
        if (!(error instanceof OverloadedError)) throw error;
        refused++;
        await sleep(REFUSED_MS);
      }
    }
  };
  const lane = async (): Promise<void> => {
    try {
      for (let count = 1; !failed && !signal.aborted && next < end && clock.monotonicMs() < endMs; count++) {
        await one(next++);
        if (count % TURN_CALLS === 0) await immediate();
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: inFlight }, lane));
  const failure = lanes.find((settled) => settled.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
  if (signal.aborted) throw new InterruptedError();
  const elapsedSeconds = (clock.monotonicMs() - startMs) / SECOND_MS;
  const ms = (percentile: number): number => histogram.percentile(percentile) / NS_OF_MS;
  return {
    calls,
    refused,
    seconds: elapsedSeconds,
    perSecond: calls / elapsedSeconds,
    cpuUs: (cpuUs() - cpuStart) / Math.max(1, calls),
    p50Ms: ms(P50),
    p99Ms: ms(P99),
    p999Ms: ms(P999),
    maxMs: histogram.max / NS_OF_MS,
  };
}
