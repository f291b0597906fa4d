/** Requests in a closed loop at one server process, and the processor time that they cost it. */
import { GeneratorThreads } from '../generator/generator-threads.ts';
import type { MergedResult } from '../generator/tally.ts';
import type { TransportName } from '../transports/transport.ts';
import type { Phase, Workload } from '../workload.ts';
import { type ThreadTimes, threadTimes, timesBetween } from './thread-times.ts';

const INTERVAL_MS = 1000;
/** A machine on which a part takes longer is no machine for this. */
const PART_SECONDS_MAX = 60;

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
    const requests: Requests = { mix: { insert: 1 }, keys: { distribution: 'uniform' } };
    const filling = await this.#with(requests, to, (run) => run({ kind: 'preload', from }));
    if (filling.ok < to - from)
      throw new Error(
        `${this.server.name}: ${filling.ok} of ${to - from} keys could be put: ${JSON.stringify(filling.failures)}`,
      );
  }

  /**
   * Requests for `seconds` at `keys` keys that are there, each time for other ones; before them for `warmUp` seconds, which do not
   * count. `before` and `after` run just outside of what counts. Throws where an answer was wrong or none.
   */
  measure(
    requests: Requests,
    keys: number,
    { seconds, warmUp }: { readonly seconds: number; readonly warmUp: number },
    before: () => Promise<void> = () => Promise.resolve(),
    after: () => Promise<void> = () => Promise.resolve(),
  ): Promise<Metered> {
    return this.#with(requests, keys, async (run) => {
      if (warmUp > 0) await run(this.#closed(warmUp));
      await before();
      const metered = await this.#metered(() => run(this.#closed(seconds)));
      await after();
      return metered;
    });
  }

  /** `parts` measurements on the same connections, each of `count` requests: the same work, however busy the machine is. */
  measureParts(requests: Requests, keys: number, parts: number, count: number): Promise<Metered[]> {
    return this.#with(requests, keys, async (run) => {
      const all: Metered[] = [];
      while (all.length < parts)
        all.push(await this.#metered(() => run(this.#closed(PART_SECONDS_MAX, count))));
      return all;
    });
  }

  async #metered(run: () => Promise<MergedResult>): Promise<Metered> {
    const start = this.times();
    const { ok, seconds, failed, wrong, failures } = await run();
    const times = timesBetween(start, this.times());
    if (ok === 0 || failed > 0 || wrong > 0)
      throw new Error(
        `${this.server.name}: ${ok} answered, ${failed} failed, ${wrong} wrong: ${JSON.stringify(failures)}`,
      );
    return { requests: ok, seconds, times };
  }
  #closed(seconds: number, requests = Number.POSITIVE_INFINITY): Phase {
    return { kind: 'closed', seconds, requests, round: ++this.#round };
  }

  /** Opens connections for such requests, and closes them however `use` ends. */
  async #with<T>(
    chosen: Requests,
    records: number,
    use: (run: (phase: Phase) => Promise<MergedResult>) => Promise<T>,
  ): Promise<T> {
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
    this.#signal.throwIfAborted();
    const threads = new GeneratorThreads([
      {
        options: {
          ...{ workload, seed, writer: 0, writers: 1, slots: inFlight, intervalMs: INTERVAL_MS },
          ...{ keysMax: records, filledBefore: true },
        },
        ...{ transport, urls: [this.server.url], query: '', apart: false, directory: '', settings: {} },
      },
    ]);
    const ending = new AbortController();
    const stopped = new Promise<never>((_, reject) => {
      const { signal } = ending;
      this.#signal.addEventListener('abort', () => reject(new Error('interrupted')), { signal });
    });
    stopped.catch(() => undefined);
    try {
      await Promise.race([threads.open(), stopped]);
      return await use((phase) => Promise.race([threads.run(phase), stopped]));
    } finally {
      ending.abort();
      await threads.close();
    }
  }
}
