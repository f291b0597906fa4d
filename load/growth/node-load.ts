/** The node that grows, and the one that stays: filled, settled, measured. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CostMeter } from '../cost/cost-meter.ts';
import { type ThreadTimes, timesBetween } from '../cost/thread-times.ts';
import { countersOf } from '../marks.ts';
import type { StoreProcess } from '../target/target.ts';
import { type Cost, type Counters, isGet, type Kind, shardsMost, tableReadsOf } from './figures.ts';
import type { GrowthOptions } from './options.ts';

const POLL_MS = 250;
/** Looks one after another at which nothing was flushed or compacted, nor due. */
const QUIET_POLLS = 4;
const SETTLE_MS_MAX = 1_200_000;

export class NodeLoad {
  readonly node: StoreProcess;
  readonly #meter: CostMeter;
  readonly #seconds: number;
  readonly #signal: AbortSignal;
  /** Keys that are there. */
  keys = 0;
  /** The most levels that a shard was seen with: overwritten records that go may make them fewer again. */
  levelsMost = 0;
  /** Tables over one token when counters were last asked for, of the shard that has most. */
  overlap = 0;

  constructor(node: StoreProcess, options: GrowthOptions, signal: AbortSignal) {
    this.node = node;
    this.#meter = new CostMeter(node, options, signal);
    this.#seconds = options.seconds;
    this.#signal = signal;
  }

  /** Puts keys until there are so many, and waits for flushes and compactions. */
  async grow(
    keys: number,
  ): Promise<{ readonly times: ThreadTimes; readonly puts: number; readonly settled: boolean }> {
    const before = this.#meter.times();
    const puts = keys - this.keys;
    await this.#meter.fill(this.keys, keys);
    this.keys = keys;
    const settled = await this.settle();
    return { times: timesBetween(before, this.#meter.times()), puts, settled };
  }

  /** False where flushes and compactions do not end within SETTLE_MS_MAX. */
  async settle(): Promise<boolean> {
    const end = performance.now() + SETTLE_MS_MAX;
    for (let quiet = 0; quiet < QUIET_POLLS; ) {
      if (performance.now() > end) return false;
      await sleep(POLL_MS, undefined, { signal: this.#signal });
      const counters = await this.counters();
      const work = ['frozen_memtables', 'compactions_pending', 'compactions_running'];
      quiet = work.every((name) => counters[name] === 0) ? quiet + 1 : 0;
    }
    return true;
  }

  async measure(kind: Kind, warmUp: boolean): Promise<Cost> {
    const seconds = this.#seconds;
    let before: Counters = {};
    let after: Counters = {};
    const { requests, times, ...took } = await this.#meter.measure(
      {
        mix: isGet(kind) ? { read: 1 } : { update: 1 },
        keys: { distribution: kind.endsWith('zipfian') ? 'zipfian' : 'uniform' },
      },
      this.keys,
      { seconds, warmUp: warmUp ? seconds : 0 },
      async () => {
        before = await this.counters();
      },
      async () => {
        after = await this.counters();
      },
    );
    return {
      requests,
      perSecond: requests / took.seconds,
      cpuUs: times.normalUs / requests,
      lowCpuUs: times.lowUs / requests,
      ...tableReadsOf(before, after, requests),
    };
  }

  async counters(): Promise<Counters> {
    const answer = await fetch(`${this.node.url}/metrics`);
    const text = await answer.text();
    const counters = answer.ok ? countersOf(text) : null;
    if (counters === null) throw new Error(`${this.node.url}/metrics: a shard does not answer`);
    this.levelsMost = Math.max(this.levelsMost, shardsMost(text, 'compaction_levels'));
    this.overlap = shardsMost(text, 'tables_overlap');
    return counters;
  }
}
