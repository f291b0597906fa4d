/**
 * A shard's tables as sorted key numbers, to run the compaction strategy over many flushes: what it plans is
 * carried out at once, and what is written and overlaps is counted.
 */
import type { Random } from '../../src/base/random.ts';
import {
  type CompactionChoice,
  type CompactionOptions,
  type CompactionPlan,
  type CompactionState,
  pickCompactions,
} from '../../src/engine/compaction-strategy.ts';
import type { TableMeta } from '../../src/engine/contract.ts';
import { ownPart, owns } from '../../src/engine/token-range.ts';

export const RECORD_BYTES = 1024;
const ROUNDS_MAX = 10_000;

export interface SimulatedRecord {
  readonly key: number;
  readonly version: number;
}

export class SimulatedLevels {
  readonly options: CompactionOptions;
  /** By number, records in order of their keys; the higher key has the higher token. */
  readonly tables = new Map<number, { meta: TableMeta; records: SimulatedRecord[] }>();
  flushedBytes = 0;
  compactedBytes = 0;
  compactions = 0;
  version = 0;
  freeBytes = Number.POSITIVE_INFINITY;
  nowMs = 1_000_000;
  readonly #hi: Uint32Array;
  readonly #lo: Uint32Array;
  #number = 1;

  constructor(options: CompactionOptions, keys: number, random: Random) {
    this.options = options;
    const tokens: { hi: number; lo: number }[] = [];
    while (tokens.length < keys) {
      const hi = random.uint32();
      if (owns(options.ownership, hi)) tokens.push({ hi, lo: random.uint32() });
    }
    tokens.sort((a, b) => a.hi - b.hi || a.lo - b.lo);
    this.#hi = Uint32Array.from(tokens, ({ hi }) => hi);
    this.#lo = Uint32Array.from(tokens, ({ lo }) => lo);
  }

  state(others: Partial<CompactionState> = {}): CompactionState {
    return {
      tables: [...this.tables.values()].map(({ meta }) => meta),
      busy: new Set(),
      running: 0,
      nowMs: this.nowMs,
      memoryVersionMin: Number.POSITIVE_INFINITY,
      purgeBefore: Number.POSITIVE_INFINITY,
      putOff: new Set(),
      freeBytes: this.freeBytes,
      ...others,
    };
  }
  pick(others: Partial<CompactionState> = {}): CompactionChoice {
    return pickCompactions(this.options, this.state(others));
  }

  flush(keys: Iterable<number>): void {
    const records = [...new Set(keys)].sort((a, b) => a - b);
    this.#add(records.map((key) => ({ key, version: ++this.version })));
    this.flushedBytes += records.length * RECORD_BYTES;
  }

  apply(plan: CompactionPlan): void {
    const newest = new Map<number, number>();
    for (const { number } of plan.inputs) {
      for (const { key, version } of this.tables.get(number)?.records ?? [])
        if (version > (newest.get(key) ?? 0)) newest.set(key, version);
      if (!this.tables.delete(number)) throw new Error(`table ${number} is in two plans`);
    }
    let output: SimulatedRecord[] = [];
    let outputs = 0;
    let part = 0;
    const end = (): void => {
      if (output.length > 0) this.#add(output);
      if (output.length > 0) outputs++;
      output = [];
    };
    for (const key of [...newest.keys()].sort((a, b) => a - b)) {
      const { ownership } = this.options;
      const now = ownPart(ownership, plan.shardBits, this.#hi[key] as number, this.#lo[key] as number);
      if (now !== part || output.length * RECORD_BYTES >= plan.outputBytesMax) end();
      part = now;
      output.push({ key, version: newest.get(key) as number });
    }
    end();
    if (outputs > plan.outputsMax) throw new Error(`${outputs} outputs; the plan allows ${plan.outputsMax}`);
    this.compactedBytes += newest.size * RECORD_BYTES;
    this.compactions++;
  }

  /** Carries plans out until there is none; the picks that gave some. */
  settle(onPlan: (plan: CompactionPlan) => void = () => undefined): number {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const { plans } = this.pick();
      if (plans.length === 0) return round;
      for (const plan of plans) {
        onPlan(plan);
        this.apply(plan);
      }
    }
    throw new Error(`still compacting after ${ROUNDS_MAX} rounds`);
  }

  /** The newest version of each key. */
  contents(): Map<number, number> {
    const newest = new Map<number, number>();
    for (const { records } of this.tables.values())
      for (const { key, version } of records) if (version > (newest.get(key) ?? 0)) newest.set(key, version);
    return newest;
  }
  get writeAmplification(): number {
    return 1 + this.compactedBytes / this.flushedBytes;
  }

  #add(records: SimulatedRecord[]): void {
    const versions = records.map(({ version }) => version);
    const first = records[0]?.key ?? 0;
    const last = records.at(-1)?.key ?? 0;
    const meta: TableMeta = {
      number: this.#number++,
      bytes: records.length * RECORD_BYTES,
      records: records.length,
      tombstones: 0,
      expiring: 0,
      range: {
        firstHi: this.#hi[first] as number,
        firstLo: this.#lo[first] as number,
        lastHi: this.#hi[last] as number,
        lastLo: this.#lo[last] as number,
      },
      versionMin: Math.min(...versions),
      versionMax: Math.max(...versions),
      expiresMsMin: 0,
      expiresMsMax: 0,
      tombstoneVersionMin: 0,
    };
    this.tables.set(meta.number, { meta, records });
  }
}
