/** Requests in a closed loop at one server process, and the processor time that they cost it. */
import { GeneratorThreads } from '../generator/generator-threads.ts';
import type { MergedResult } from '../generator/tally.ts';
import type { TransportName } from '../transports/transport.ts';
import type { Phase, Workload } from '../workload.ts';
import { type ThreadTimes, threadTimes, timesBetween } from './thread-times.ts';

const INTERVAL_MS = 1000;

export interface CostMeterOptions {
  readonly transport: TransportName;
  readonly inFlight: number;
  readonly valueBytes: number;
  readonly seed: number;
}
export interface MeteredServer {
  readonly name: string;
  readonly url: string;
  readonly pid: number | null;
}
export type Requests = Pick<Workload, 'mix' | 'keys'>;
export interface Metered {
  readonly requests: number;
  readonly seconds: number;
  readonly times: ThreadTimes;
}

export interface Measurement {
  /** At most. */
  readonly seconds: number;
  /** Seconds before, which do not count; 0 for none. */
  readonly warmUp: number;
  /** Ends after so many requests, where that is earlier: the same work, however busy the machine is. */
  readonly count?: number;
}

export class CostMeter {
  readonly server: MeteredServer;
  readonly #options: CostMeterOptions;
  readonly #signal: AbortSignal;
  #round = 0;

  /** When `signal` aborts what is under way rejects. */
  constructor(server: MeteredServer, options: CostMeterOptions, signal: AbortSignal) {
    this.server = server;
    this.#options = options;
    this.#signal = signal;
  }

  times(): ThreadTimes {
    const { pid, name } = this.server;
    if (pid === null) throw new Error(`${name} has ended`);
    return threadTimes(pid);
  }

  /** Puts the keys from `from` up to `to`. */
  async fill(from: number, to: number): Promise<void> {
    const [filling] = await this.#run({ mix: { insert: 1 }, keys: { distribution: 'uniform' } }, to, [
      { kind: 'preload', from },
    ]);
    if (filling === undefined || filling.ok < to - from)
      throw new Error(
        `${this.server.name}: ${filling?.ok} of ${to - from} keys could be put: ${JSON.stringify(filling?.failures)}`,
      );
  }

  /**
   * Requests at `keys` keys that are there, each time for other ones. `before` and `after` run just outside of what counts. Throws where an answer was wrong or none.
   */
  async measure(
    requests: Requests,
    keys: number,
    { seconds, warmUp, count }: Measurement,
    before: () => Promise<void> = () => Promise.resolve(),
    after: () => Promise<void> = () => Promise.resolve(),
  ): Promise<Metered> {
    let start: ThreadTimes | null = null;
    let times: ThreadTimes | null = null;
    const results = await this.#run(
      requests,
      keys,
      [...(warmUp > 0 ? [this.#closed(warmUp)] : []), this.#closed(seconds, count)],
      async () => {
        await before();
        start = this.times();
      },
      async () => {
        if (start !== null) times = timesBetween(start, this.times());
        await after();
      },
    );
    const { ok = 0, seconds: took = 1, failed = 0, wrong = 0, failures = {} } = results.at(-1) ?? {};
    if (times === null || ok === 0 || failed > 0 || wrong > 0)
      throw new Error(
        `${this.server.name}: ${ok} answered, ${failed} failed, ${wrong} wrong: ${JSON.stringify(failures)}`,
      );
    return { requests: ok, seconds: took, times };
  }

  #closed(seconds: number, requests = Number.POSITIVE_INFINITY): Phase {
    return { kind: 'closed', seconds, requests, round: ++this.#round };
  }

  async #run(
    chosen: Requests,
    records: number,
    phases: readonly Phase[],
    beforeLast: () => Promise<void> = () => Promise.resolve(),
    afterLast: () => Promise<void> = () => Promise.resolve(),
  ): Promise<MergedResult[]> {
    const { valueBytes, seed, inFlight, transport } = this.#options;
    const workload: Workload = {
      ...chosen,
      records,
      valueBytes: { min: valueBytes, max: valueBytes },
      ttlSeconds: { min: 0, max: 0 },
      scanLengthMax: 1,
      consistency: '',
      arrivals: 'constant',
    };
    const threads = new GeneratorThreads([
      {
        options: {
          ...{ workload, seed, writer: 0, writers: 1, slots: inFlight, intervalMs: INTERVAL_MS },
          ...{ keysMax: records, filledBefore: true },
        },
        ...{ transport, urls: [this.server.url], query: '', directory: '', settings: {} },
      },
    ]);
    const stopping = new AbortController();
    const stopped = new Promise<never>((_, reject) => {
      this.#signal.addEventListener('abort', () => reject(new Error('interrupted')), {
        signal: stopping.signal,
      });
    });
    stopped.catch(() => undefined);
    try {
      this.#signal.throwIfAborted();
      await Promise.race([threads.open(), stopped]);
      const results: MergedResult[] = [];
      for (const [at, phase] of phases.entries()) {
        const isLast = at === phases.length - 1;
        if (isLast) await beforeLast();
        results.push(await Promise.race([threads.run(phase), stopped]));
        if (isLast) await afterLast();
      }
      return results;
    } finally {
      stopping.abort();
      await threads.close();
    }
  }
}
