/**
 * Runs the compactions that compaction-strategy.ts asks for. Owned by the shard's thread. Invariants:
 *
 * 1. A table is the input of one compaction at most.
 * 2. Outputs come into force, and inputs out of it, by one edit of the manifest; only when it is durable, and
 *    nobody reads an input any more, its file is deleted. After an edit that failed, whether it counts is
 *    unknown, and neither inputs nor outputs are touched.
 * 3. `outside` names every source that could hold records of an input's key and is not an input: the other
 *    tables in force, and all memtables as one. Sources that come into being later: see merge-rules.ts, 2.
 *    A flush that ends between the choice of inputs and the job's start cannot escape: both happen in one turn.
 * 4. Compactions take their time while no other is due and the tables are far from tablesMax over one token.
 * 5. A table that is found damaged is never an input again, so a compaction does not fail for ever.
 * 6. A table that keeps its garbage when it is written again is put off for limits.garbageRetryMs, so that this does not go on for ever.
 */
import type { Clock } from '../base/clock.ts';
import { ClosedError, CorruptionError, OverloadedError, ResourceError, RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { JobUrgency } from '../ipc/job-urgency.ts';
import { hasGarbage } from './compaction-garbage.ts';
import {
  type CompactionChoice,
  type CompactionOptions,
  type CompactionPlan,
  type CompactionState,
  pickCompactions,
  planFullCompaction,
} from './compaction-strategy.ts';
import type { CompactJob, JobResult, JobRunner, TableMeta, TableReader } from './contract.ts';
import { asError } from './flusher.ts';
import type { Manifest } from './manifest.ts';
import type { MemtableList } from './memtable-list.ts';
import type { TableSet } from './table-set.ts';
import type { SetTimer } from './write-path-parts.ts';

const TOKEN_HALF_MAX = 0xffff_ffff;
const NO_CHOICE: CompactionChoice = {
  plans: [],
  pending: 0,
  pendingBytes: 0,
  overlapMax: 0,
  levels: [],
  skipped: [],
};

export type PlannedJob = Pick<
  CompactJob,
  'inputs' | 'firstNumber' | 'outputsMax' | 'outputBytesMax' | 'shardBits' | 'outside' | 'nowMs'
>;

export interface CompactorParts {
  readonly memtables: MemtableList;
  readonly tables: TableSet;
  readonly manifest: Manifest;
  readonly jobs: JobRunner;
  readonly urgency: JobUrgency;
  readonly clock: Clock;
  readonly setTimer: SetTimer;
  readonly options: CompactionOptions;
  /** As EngineOptions.tablesMax. */
  readonly tablesMax: number;
  /** The highest horizon of any vnode (purge-horizons.ts). */
  readonly purgeBefore: () => number;
  readonly makeJob: (planned: PlannedJob) => CompactJob;
  readonly openTable: (meta: TableMeta) => TableReader;
  readonly removeTable: (number: number) => void;
  readonly takeNumbers: (count: number) => number;
  readonly nextNumber: () => number;
  readonly freeBytes: () => number;
  readonly onEvent: (level: 'info' | 'warn' | 'error', message: string) => void;
  /** Something ended: what was refused for the number of tables may be taken again. */
  readonly onChange: () => void;
  readonly onFailed: (why: string) => void;
}

export class Compactor {
  readonly #parts: CompactorParts;
  readonly #busy = new Set<number>();
  readonly #damaged = new Set<number>();
  #running = 0;
  #choice = NO_CHOICE;
  #stopped: Error | null = null;
  #backingOff = false;
  #retryMs: number = limits.jobRetryMsMin;
  #skipped = '';
  /** compactAll holds the choice of compactions. */
  #held = false;
  /** By table, until when it is not written again for its garbage, by the monotonic clock. */
  readonly #putOff = new Map<number, number>();
  #count = 0;
  #bytesWritten = 0;
  #onQuiet: (() => void)[] = [];

  constructor(parts: CompactorParts, damaged: Iterable<number>) {
    this.#parts = parts;
    for (const number of damaged) this.#damaged.add(number);
  }

  get count(): number {
    return this.#count;
  }
  get bytesWritten(): number {
    return this.#bytesWritten;
  }
  get pending(): number {
    return this.#choice.pending;
  }
  get running(): number {
    return this.#running;
  }
  /** Most tables over one token, and whether compactions are at work or due that will lower it. */
  get overlapMax(): number {
    return this.#choice.overlapMax;
  }
  /** From the lowest to the highest that has a table. */
  get levels(): number {
    const highest = this.#choice.levels.at(-1);
    return highest === undefined ? 0 : highest.level + 1;
  }
  get canLower(): boolean {
    return this.#running > 0 || this.#choice.plans.length > 0 || this.#backingOff;
  }

  #state(): CompactionState {
    const { tables, clock, memtables, freeBytes, purgeBefore } = this.#parts;
    return {
      tables: tables.current.metas.values(),
      busy: new Set([...this.#busy, ...this.#damaged]),
      running: this.#running,
      nowMs: clock.nowMs(),
      memoryVersionMin: memtables.versionMin(),
      purgeBefore: purgeBefore(),
      putOff: this.#putOffNow(),
      freeBytes: freeBytes(),
    };
  }

  #putOffNow(): ReadonlySet<number> {
    const { clock, tables } = this.#parts;
    const nowMs = clock.monotonicMs();
    for (const [number, untilMs] of this.#putOff)
      if (untilMs <= nowMs || !tables.current.metas.has(number)) this.#putOff.delete(number);
    return new Set(this.#putOff.keys());
  }
  /** What a plan for garbage left as garbage lies in vnodes whose horizon is lower than the highest. */
  #putOffGarbage({ tables }: JobResult, nowMs: number): void {
    const { clock, options, purgeBefore } = this.#parts;
    const age = { nowMs, gcGraceMs: options.gcGraceMs, purgeBefore: purgeBefore() };
    for (const table of tables)
      if (hasGarbage(table, age)) this.#putOff.set(table.number, clock.monotonicMs() + limits.garbageRetryMs);
  }

  /** Looks at the tables and starts what is due. */
  poke(): void {
    if (this.#stopped !== null) return;
    this.#choice = pickCompactions(this.#parts.options, this.#state());
    const skipped = this.#choice.skipped.join('; ');
    if (skipped !== this.#skipped && skipped !== '')
      this.#parts.onEvent('warn', `compaction waits: ${skipped}`);
    this.#skipped = skipped;
    this.#judgeUrgency();
    if (this.#held || this.#backingOff) return;
    for (const plan of this.#choice.plans) void this.#run(plan).then(undefined, () => 'told by #failed');
  }

  #judgeUrgency(): void {
    const { urgency, tablesMax } = this.#parts;
    const behind = this.#choice.pending > this.#choice.plans.length;
    urgency.set(this.#held || behind || this.#choice.overlapMax >= tablesMax / 2);
  }

  async #run(plan: CompactionPlan): Promise<void> {
    const { jobs, makeJob, takeNumbers, clock, removeTable } = this.#parts;
    const outputsMax = Math.min(plan.outputsMax, limits.compactionOutputsMax);
    const numbers = plan.inputs.map(({ number }) => number);
    for (const number of numbers) this.#busy.add(number);
    this.#running++;
    try {
      const { inputs, outputBytesMax, shardBits } = plan;
      const firstNumber = takeNumbers(outputsMax);
      const nowMs = clock.nowMs();
      const outside = this.#outside(new Set(numbers));
      const result = await jobs.run(
        makeJob({ inputs, firstNumber, outputsMax, outputBytesMax, shardBits, outside, nowMs }),
      );
      if (this.#stopped !== null) {
        for (const { number } of result.tables) removeTable(number);
        throw this.#stopped;
      }
      await this.#install(numbers, result);
      if (plan.isForGarbage) this.#putOffGarbage(result, nowMs);
      this.#retryMs = limits.jobRetryMsMin;
    } catch (error) {
      this.#noteDamage(error, plan.inputs);
      this.#failed(asError(error));
      throw error;
    } finally {
      for (const number of numbers) this.#busy.delete(number);
      this.#running--;
      if (this.#running === 0) for (const quiet of this.#onQuiet.splice(0)) quiet();
      this.poke();
      this.#parts.onChange();
    }
  }

  #outside(inputs: ReadonlySet<number>): CompactJob['outside'] {
    const { tables, memtables } = this.#parts;
    const outside = [...tables.current.metas.values()]
      .filter(({ number }) => !inputs.has(number))
      .map(({ range, versionMin }) => ({ ...range, versionMin }));
    const versionMin = memtables.versionMin();
    if (versionMin !== Number.POSITIVE_INFINITY)
      outside.push({ firstHi: 0, firstLo: 0, lastHi: TOKEN_HALF_MAX, lastLo: TOKEN_HALF_MAX, versionMin });
    return outside;
  }

  async #install(removeTables: readonly number[], result: JobResult): Promise<void> {
    const { manifest, tables, openTable, removeTable, nextNumber } = this.#parts;
    const addTables = result.tables;
    const readers: TableReader[] = [];
    const discard = (): void => {
      for (const reader of readers) reader.close();
      for (const { number } of addTables) removeTable(number);
    };
    try {
      for (const meta of addTables) readers.push(openTable(meta));
    } catch (error) {
      if (error instanceof RingKvError) discard();
      throw error;
    }
    await new Promise<void>((resolve, reject) => {
      manifest.append({ addTables, removeTables, nextNumber: nextNumber() }, (error) => {
        if (error === null) {
          tables.change(readers, removeTables, false);
          this.#count++;
          this.#bytesWritten += result.bytesWritten;
          resolve();
          return;
        }
        if (error instanceof ResourceError) discard();
        else for (const reader of readers) reader.close();
        reject(error);
      });
    });
  }

  #noteDamage(error: unknown, inputs: readonly TableMeta[]): void {
    if (!(error instanceof CorruptionError)) return;
    const path = error.file;
    const { tables } = this.#parts;
    const damaged = inputs.filter(({ number }) =>
      tables.current.tables.some((reader) => reader.meta.number === number && reader.path === path),
    );
    // An error that names no input taints them all: better not compacted than compacted for ever.
    for (const { number } of damaged.length > 0 ? damaged : inputs) this.#damaged.add(number);
    this.#parts.onEvent(
      'error',
      `a compaction met damage, and the tables are left as they are: ${error.message}`,
    );
  }

  #failed(error: Error): void {
    if (this.#stopped !== null || error instanceof ClosedError) return;
    const { manifest, onEvent, onFailed, setTimer } = this.#parts;
    if (manifest.failed !== null) {
      this.#stopped = manifest.failed;
      onFailed(`the manifest cannot be written: ${manifest.failed.message}`);
      return;
    }
    if (!(error instanceof RingKvError)) {
      this.#stopped = error;
      onFailed(`a compaction broke an invariant: ${error.message}`);
      return;
    }
    if (error instanceof CorruptionError || this.#backingOff) return;
    this.#backingOff = true;
    const ms = this.#retryMs;
    this.#retryMs = Math.min(2 * ms, limits.jobRetryMsMax);
    onEvent('warn', `a compaction failed; the next one starts in ${ms} ms at the earliest: ${error.message}`);
    setTimer(ms, () => {
      this.#backingOff = false;
      this.poke();
    });
  }

  /** Merges everything into as few tables as one compaction gives. */
  async compactAll(): Promise<void> {
    if (this.#held) throw new OverloadedError('a full compaction is at work already');
    this.#held = true;
    this.#judgeUrgency();
    try {
      await this.quiet();
      if (this.#stopped !== null) throw this.#stopped;
      for (const plan of planFullCompaction(this.#parts.options, this.#state()).plans) await this.#run(plan);
    } finally {
      this.#held = false;
      this.poke();
    }
  }

  /** Resolves when no compaction runs. */
  quiet(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((quiet) => this.#onQuiet.push(quiet));
  }

  /** Starts nothing more. Resolves when no job runs. */
  stop(error: Error): Promise<void> {
    this.#stopped ??= error;
    return this.quiet();
  }
}
