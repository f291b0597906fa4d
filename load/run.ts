/** One scenario from start to end: start the store, fill it, find its maximum where the rate is a share of it, load it, check it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { GeneratorThreads } from './generator/generator-threads.ts';
import { insertsOf } from './generator/phases.ts';
import type { MergedResult } from './generator/tally.ts';
import type { ThreadData } from './generator/thread-protocol.ts';
import { checkDescriptors, IdleConnections, type IdleOutcome } from './idle/idle-connections.ts';
import { Series, type SeriesPoint } from './latencies.ts';
import { loadLimits } from './limits.ts';
import { type CounterSource, MarkRecorder, metricsSource, usageOf } from './marks.ts';
import { PeerProcess } from './peers/peer-process.ts';
import type { RunOptions } from './run-options.ts';
import { openTarget, type StoreProcess, type Target } from './target/target.ts';
import type { Workload } from './workload.ts';

const CALIBRATION_SECONDS = 5;
const VERIFY_SECONDS_MAX = 60;
const MEMORY_POINTS = 600;
/** Where the rate is a share of what the store can do: what nobody reaches, for the room of inserts. */
const SHARED_RATE_MAX = 100_000;
const MS_PER_S = 1000;

export interface Watcher {
  phase(name: string, seconds: number): void;
  interval(point: SeriesPoint): void;
}

export interface RunOutcome {
  readonly options: RunOptions;
  /** Offered a second. */
  readonly rate: number;
  /** The closed loop before, where the rate is a share of it. */
  readonly calibration: MergedResult | null;
  readonly preloadSeconds: number;
  readonly load: MergedResult;
  /** Every key read once behind the load. */
  readonly verified: MergedResult | null;
  /** Null where none were asked for. */
  readonly idle: IdleOutcome | null;
  readonly intervalMs: number;
  readonly series: readonly SeriesPoint[];
  readonly marks: MarkRecorder;
  /** Processor time of all nodes for a request; null where it is not known. */
  readonly nodeCpuUs: number | null;
  /** The same of this program: of the generator, and of an embedded store. */
  readonly ownCpuUs: number;
}

/** Throws where the run says nothing: nodes that do not start, records that cannot be written, a broken protocol. */
export async function runScenario(
  options: RunOptions,
  watcher: Watcher,
  signal: AbortSignal,
): Promise<RunOutcome> {
  const { scenario, urls, transport, peer } = options;
  if (scenario.idle > 0) checkDescriptors(scenario.idle + options.inFlight);
  watcher.phase(urls.length === 0 ? 'starting the store' : 'connecting', 0);
  const target = await openTarget(
    {
      urls,
      embedded: transport === 'embedded',
      peer: peer === null ? null : (directory) => new PeerProcess(peer, directory),
      nodes: scenario.nodes,
      parent: options.parent,
      settings: scenario.settings,
    },
    signal,
  );
  try {
    const idle = new IdleConnections(target.nodes);
    try {
      // Before all else: what a node that has done nothing yet grows by is theirs, and the busy ones are not left idle meanwhile.
      if (scenario.idle > 0) {
        watcher.phase(`opening ${scenario.idle.toLocaleString('en-US')} idle connections`, 0);
        await idle.open(target.urls, scenario.idle, signal);
      }
      const run = new Run(options, target, idle, watcher, signal);
      try {
        return await run.execute();
      } finally {
        await run.close();
      }
    } finally {
      idle.close();
    }
  } finally {
    await target.close();
  }
}

class Run {
  readonly #options: RunOptions;
  readonly #target: Target;
  readonly #watcher: Watcher;
  readonly #signal: AbortSignal;
  readonly #threads: GeneratorThreads;
  readonly #marks: MarkRecorder;
  readonly #usage: UsageWatch;
  readonly #idle: IdleConnections;
  readonly #intervalMs: number;
  readonly #interrupted: Promise<never>;

  constructor(
    options: RunOptions,
    target: Target,
    idle: IdleConnections,
    watcher: Watcher,
    signal: AbortSignal,
  ) {
    this.#options = options;
    this.#target = target;
    this.#watcher = watcher;
    this.#signal = signal;
    const { seconds } = options.scenario;
    this.#usage = new UsageWatch(target.nodes);
    this.#idle = idle;
    this.#intervalMs = intervalMsOf(seconds);
    this.#threads = new GeneratorThreads(threadsOf(options, target, this.#intervalMs));
    this.#marks = new MarkRecorder(this.#sources(), Math.max(MS_PER_S, (seconds * MS_PER_S) / MEMORY_POINTS));
    this.#interrupted = new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new InterruptedError()), { once: true });
    });
    this.#interrupted.catch(() => undefined);
  }

  async execute(): Promise<RunOutcome> {
    const { scenario, filled, giveUpMs } = this.#options;
    await this.#race(this.#threads.open());
    let preloadSeconds = 0;
    if (!filled) preloadSeconds = (await this.#preload()).seconds;
    let calibration: MergedResult | null = null;
    let rate = 0;
    if ('perSecond' in scenario.rate) rate = scenario.rate.perSecond;
    else {
      this.#watcher.phase('finding the maximum (closed loop)', CALIBRATION_SECONDS);
      this.#showIntervals();
      calibration = await this.#race(this.#threads.run({ kind: 'closed', seconds: CALIBRATION_SECONDS }));
      if (calibration.ok === 0)
        throw new Error(
          `no request of the closed loop was answered: ${JSON.stringify(calibration.failures)}`,
        );
      rate = Math.max(1, Math.floor((calibration.ok / calibration.seconds) * scenario.rate.share));
    }
    const series = new Series(this.#intervalMs);
    const { warmUpSeconds: warmUp, seconds } = scenario;
    this.#watcher.phase(`${rate.toLocaleString('en-US')} requests a second`, warmUp + seconds);
    this.#threads.onInterval = (part) => {
      // What came in the warm-up is shown, and kept nowhere.
      const into = part.interval >= 0 ? series : new Series(this.#intervalMs);
      into.add(part);
      this.#watcher.interval(into.point(part.interval));
    };
    const actions = new AbortController();
    let acting: Promise<void> = Promise.resolve();
    const load = await this.#race(
      this.#threads
        .run({ kind: 'open', rate, warmUp, seconds, giveUpMs }, (startMs) => {
          this.#marks.start(startMs + warmUp * MS_PER_S);
          const until = AbortSignal.any([this.#signal, actions.signal]);
          acting = this.#act(startMs + warmUp * MS_PER_S, until);
          // Told when the load has ended.
          acting.catch(() => undefined);
          this.#usage.start(startMs + warmUp * MS_PER_S);
        })
        .finally(() => actions.abort()),
    );
    const cpuSeconds = this.#usage.stop();
    const ownCpuUs = this.#usage.ownUs() / Math.max(1, load.ok);
    await acting;
    await this.#marks.stop();
    const idle = scenario.idle > 0 ? await this.#race(this.#idle.outcome()) : null;
    const verified = await this.#verify();
    return {
      options: this.#options,
      rate,
      calibration,
      preloadSeconds,
      load,
      verified,
      idle,
      intervalMs: this.#intervalMs,
      series: series.points(),
      marks: this.#marks,
      nodeCpuUs: cpuSeconds === null || load.ok === 0 ? null : (cpuSeconds * 1e6) / load.ok,
      ownCpuUs,
    };
  }
  async close(): Promise<void> {
    this.#usage.stop();
    await this.#marks.stop();
    await this.#threads.close();
  }

  async #preload(): Promise<MergedResult> {
    const { records } = this.#options.scenario;
    this.#watcher.phase(`writing ${records.toLocaleString('en-US')} records`, 0);
    this.#showIntervals();
    const result = await this.#race(this.#threads.run({ kind: 'preload' }));
    if (result.ok < records)
      throw new Error(
        `${result.ok} of ${records} records could be written: ${JSON.stringify(result.failures)}`,
      );
    return result;
  }
  async #verify(): Promise<MergedResult | null> {
    this.#watcher.phase('reading every key once', 0);
    this.#showIntervals();
    return await this.#race(this.#threads.run({ kind: 'verify', seconds: VERIFY_SECONDS_MAX }));
  }
  #showIntervals(): void {
    this.#threads.onInterval = (part) => {
      const series = new Series(this.#intervalMs);
      series.add(part);
      this.#watcher.interval(series.point(part.interval));
    };
  }

  /** What is done to the nodes while the load runs. */
  async #act(originMs: number, until: AbortSignal): Promise<void> {
    const { killAt, seconds } = this.#options.scenario;
    const node = this.#target.nodes.at(-1);
    if (killAt === null || node === undefined || this.#target.nodes.length < 2) return;
    const at = async (share: number): Promise<void> => {
      const ms = originMs + share * seconds * MS_PER_S - (performance.timeOrigin + performance.now());
      await sleep(Math.max(0, ms), undefined, { signal: until });
    };
    try {
      await at(killAt.kill);
      this.#marks.add('node killed', node.name);
      await node.kill();
      await at(killAt.start);
      this.#marks.add('node started', node.name);
      await node.start(until);
      this.#marks.add('node serves', node.name);
    } catch (error) {
      // The load has ended before: what is missing is missing among the marks, and the verdict says so.
      if (!until.aborted) throw error;
    }
  }

  #sources(): CounterSource[] {
    const { nodes, urls } = this.#target;
    if (this.#options.transport === 'embedded') {
      const read = (): Promise<Readonly<Record<string, number>> | null> =>
        this.#threads.counters().catch(() => null);
      return [{ name: 'embedded', read, pid: () => process.pid }];
    }
    if (this.#options.peer !== null)
      return nodes.map((node) => ({
        name: node.name,
        read: () => Promise.resolve(null),
        pid: () => node.pid,
      }));
    if (nodes.length === 0) return urls.map((url) => metricsSource(url, url, () => null));
    return nodes.map((node) => metricsSource(node.name, node.url, () => node.pid));
  }
  async #race<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#interrupted]);
  }
}

export class InterruptedError extends Error {
  constructor() {
    super('interrupted');
  }
}

/** Processor time of nodes between the start of counting and the end; of those that live at both ends. */
class UsageWatch {
  readonly #nodes: readonly StoreProcess[];
  readonly #before = new Map<number, number>();
  #timer: NodeJS.Timeout | null = null;
  #own = process.cpuUsage();
  constructor(nodes: readonly StoreProcess[]) {
    this.#nodes = nodes;
  }
  start(originMs: number): void {
    const ms = Math.max(0, originMs - (performance.timeOrigin + performance.now()));
    this.#timer = setTimeout(() => {
      this.#own = process.cpuUsage();
      for (const { pid } of this.#nodes) {
        const usage = pid === null ? null : usageOf(pid);
        if (pid !== null && usage !== null) this.#before.set(pid, usage.cpuSeconds);
      }
    }, ms);
  }
  /** Of this process, since counting began. */
  ownUs(): number {
    const { user, system } = process.cpuUsage(this.#own);
    return user + system;
  }
  stop(): number | null {
    if (this.#timer !== null) clearTimeout(this.#timer);
    let sum = 0;
    for (const { pid } of this.#nodes) {
      const before = pid === null ? undefined : this.#before.get(pid);
      const usage = pid === null ? null : usageOf(pid);
      // A node that was killed and started again would count in part only.
      if (before === undefined || usage === null) return null;
      sum += usage.cpuSeconds - before;
    }
    return this.#nodes.length === 0 ? null : sum;
  }
}

export const intervalMsOf = (seconds: number): number =>
  Math.max(loadLimits.intervalMsMin, Math.ceil((seconds * MS_PER_S) / loadLimits.seriesMax / 250) * 250);

function threadsOf(options: RunOptions, target: Target, intervalMs: number): ThreadData[] {
  const { scenario, generators, inFlight, seed, arrivals, filled, transport } = options;
  const workload: Workload = {
    mix: scenario.mix,
    keys: scenario.keys,
    records: scenario.records,
    valueBytes: scenario.valueBytes,
    ttlSeconds: scenario.ttlSeconds,
    scanLengthMax: scenario.scanLengthMax,
    consistency: scenario.query,
    arrivals,
  };
  const requests =
    (scenario.warmUpSeconds + scenario.seconds) *
    ('perSecond' in scenario.rate ? scenario.rate.perSecond : SHARED_RATE_MAX);
  // As many again for the closed loop before, and twice both, as YCSB expects them.
  const keysMax = scenario.records + 4 * insertsOf(workload, requests);
  return Array.from({ length: generators }, (_, writer) => ({
    options: {
      workload,
      seed,
      writer,
      writers: generators,
      slots: Math.floor(inFlight / generators) + (writer < inFlight % generators ? 1 : 0),
      intervalMs,
      keysMax: Math.min(keysMax, loadLimits.keysMax),
      // What earlier runs left beyond the records of this one is not known.
      filledBefore: filled || target.urls.length > target.nodes.length,
    },
    transport,
    urls: target.urls,
    query: scenario.query,
    apart: scenario.apart,
    directory: target.directory,
    settings: scenario.settings,
  }));
}
