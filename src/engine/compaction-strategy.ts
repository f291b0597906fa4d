/**
 * Chooses what to compact: the Unified Compaction Strategy of Cassandra 5 (CEP-26) with one dial for all levels.
 * Pure and deterministic: the same tables give the same plans. Owned by the shard's thread.
 *
 * Tables stand in levels by density, their bytes over the share of the shard's tokens that they cover. A level
 * has its buckets of overlapping tables, and a bucket is due when as many tables as the dial's threshold cover
 * one token. It is then merged as a whole, cut at the borders of 2^k equal parts of the shard's tokens so that
 * tables come out at 40% to 80% of tableTargetBytes. Finer cuts include all coarser ones: tables of one level
 * nest, and buckets stay as narrow as their widest table. The bucket with the highest peak goes first.
 *
 * With n levels, fanout f and threshold t, and compaction keeping up, at most n * (t - 1) tables and those just
 * flushed cover a token; a byte is written n times when tiered and about n * f / 2 times when levelled.
 *
 * It comes to an end. Take the number of records that may go or expire and, over all tokens with records, how
 * many tables cover them. A plan for a due bucket lowers the second and raises neither: its outputs do not
 * overlap and lie within what its inputs cover together, and two of those cover one token. A plan for garbage
 * lowers the first, or is put off for long where a vnode's horizon kept it from that (compaction-garbage.ts). When nothing is due and nothing runs, small neighbours of level 0 are
 * put together, some at a time: tables become fewer, and nothing falls due by it.
 */

import { defined } from '../base/assert.ts';
import { garbagePlan, hasGarbage } from './compaction-garbage.ts';
import {
  type Bucket,
  byAge,
  bytesOf,
  depthOf,
  formBuckets,
  LEVELS_MAX,
  levelOf,
  recordsOf,
  scalingOf,
  shareOf,
  sortByFirst,
  unionOf,
  unionRange,
} from './compaction-levels.ts';
import type { Ownership, TableMeta } from './contract.ts';
import { newestFirst } from './manifest-state.ts';
import { formRuns } from './merge-run.ts';
import { ownPart, PART_BITS_MAX, rangesOverlap } from './token-range.ts';

/** Overlapping tables merged at a time, the oldest of those that are due: files open, and buffers. */
export const OVERLAP_MAX = 32;
/** How much of tableTargetBytes an output may be expected to take: chance must not make it pass the target. */
export const FILL_MAX = 0.8;
/** Room that compaction leaves to flushes and the commit log, in flushed tables. */
export const RESERVED_FLUSHES = 2;
/** So many neighbours become one table that takes up to SMALL_FRACTION_MAX of tableTargetBytes. */
export const SMALL_NEIGHBOURS_MIN = 8;
export const SMALL_FRACTION_MAX = 0.25;
/** Level of plans that no level asked for. */
export const LEVEL_NONE = -1;

export interface CompactionOptions {
  readonly dial: number;
  readonly ownership: Ownership;
  /** Bytes of a typical flushed table; the capacity of a memtable is a good guess. */
  readonly flushBytes: number;
  readonly tableTargetBytes: number;
  readonly compactionsMax: number;
  readonly gcGraceMs: number;
}

export interface CompactionState {
  readonly tables: Iterable<TableMeta>;
  /** Numbers of the inputs of compactions that run. */
  readonly busy: ReadonlySet<number>;
  /** Numbers of tables that shall not be inputs, damaged ones; they count as overlapping all the same. */
  readonly excluded?: ReadonlySet<number>;
  /** Compactions that run. */
  readonly running: number;
  readonly nowMs: number;
  /** Lowest version in any memtable, Infinity where all are empty. */
  readonly memoryVersionMin: number;
  /** Tombstones of this version or a higher one stay, in every vnode: Infinity where age alone decides. */
  readonly purgeBefore: number;
  /** Numbers of tables that are not written again for their garbage now; for other reasons they may be. */
  readonly putOff: ReadonlySet<number>;
  readonly freeBytes: number;
}

/** What a CompactJob needs to know, and why. */
export interface CompactionPlan {
  readonly level: number;
  readonly reason: string;
  /** It is done for what goes by it alone. */
  readonly isForGarbage: boolean;
  /** Newest first. */
  readonly inputs: readonly TableMeta[];
  readonly bytes: number;
  readonly outputsMax: number;
  readonly outputBytesMax: number;
  readonly shardBits: number;
}

export interface LevelStats {
  readonly level: number;
  readonly tables: number;
  readonly bytes: number;
  /** Most tables of the level that cover one token. */
  readonly overlap: number;
}

export interface CompactionChoice {
  /** What to start now, most urgent first. No table is in two of them. */
  readonly plans: readonly CompactionPlan[];
  /** Compactions that are due, the plans included, what runs not. */
  readonly pending: number;
  readonly pendingBytes: number;
  /** Most tables that cover one token, busy ones included: what a read may have to ask. */
  readonly overlapMax: number;
  readonly levels: readonly LevelStats[];
  /** Why what is due is not planned, other than for want of a free compaction. */
  readonly skipped: readonly string[];
}

interface Due {
  readonly level: number;
  readonly bucket: Bucket;
}

export function pickCompactions(options: CompactionOptions, state: CompactionState): CompactionChoice {
  const scaling = scalingOf(options.dial);
  const tables = sortByFirst(state.tables);
  const byLevel: TableMeta[][] = Array.from({ length: LEVELS_MAX }, () => []);
  for (const table of tables)
    byLevel[levelOf(table, options.ownership, options.flushBytes, scaling.fanout)]?.push(table);

  const excluded = inputsExcluded(state);
  const due: Due[] = [];
  const levels: LevelStats[] = [];
  byLevel.forEach((members, level) => {
    if (members.length === 0) return;
    const overlap = depthOf(members);
    levels.push({ level, tables: members.length, bytes: bytesOf(members), overlap });
    // Those that may be inputs overlap no more than all do.
    if (overlap < scaling.threshold) return;
    const free = members.filter(({ number }) => !excluded.has(number));
    for (const bucket of formBuckets(free))
      if (bucket.peak.length >= scaling.threshold) due.push({ level, bucket });
  });
  // Stable: within a level in token order.
  due.sort((a, b) => b.bucket.peak.length - a.bucket.peak.length || a.level - b.level);

  const builder = new PlanBuilder(options, state, tables);
  for (const { level, bucket } of due) builder.addBucket(level, bucket);
  if (due.length === 0 && state.running === 0) builder.addSmall(byLevel);
  builder.addGarbage();
  return {
    plans: builder.plans,
    pending: builder.pending,
    pendingBytes: builder.pendingBytes,
    overlapMax: depthOf(tables),
    levels,
    skipped: builder.skipped,
  };
}

/**
 * Plans that together merge all tables into as few as one compaction gives, to be run one after another. Busy
 * tables are left out: to be called when nothing runs.
 */
export function planFullCompaction(options: CompactionOptions, state: CompactionState): CompactionChoice {
  const tables = sortByFirst(state.tables);
  const all = { ...options, compactionsMax: Number.POSITIVE_INFINITY };
  const builder = new PlanBuilder(all, { ...state, running: 0 }, tables);
  const excluded = inputsExcluded(state);
  const free = tables.filter(({ number }) => !excluded.has(number));
  let group: TableMeta[] = [];
  const add = (): void => {
    if (group.length > 1 || group.some(({ tombstones, expiring }) => tombstones + expiring > 0))
      builder.add(LEVEL_NONE, 'a full compaction', group);
    group = [];
  };
  for (const bucket of formBuckets(free)) {
    if (bytesOf(group) + bytesOf(bucket.tables) > options.tableTargetBytes * FILL_MAX) add();
    group.push(...bucket.tables);
  }
  add();
  return {
    plans: builder.plans,
    pending: builder.pending,
    pendingBytes: builder.pendingBytes,
    overlapMax: depthOf(tables),
    levels: [],
    skipped: builder.skipped,
  };
}

const inputsExcluded = ({ busy, excluded }: CompactionState): Set<number> =>
  new Set([...busy, ...(excluded ?? [])]);

class PlanBuilder {
  readonly plans: CompactionPlan[] = [];
  readonly skipped: string[] = [];
  pending = 0;
  pendingBytes = 0;
  readonly #options: CompactionOptions;
  readonly #state: CompactionState;
  readonly #tables: readonly TableMeta[];
  readonly #taken: Set<number>;
  #room: number;

  constructor(options: CompactionOptions, state: CompactionState, tables: readonly TableMeta[]) {
    this.#options = options;
    this.#state = state;
    this.#tables = tables;
    this.#taken = inputsExcluded(state);
    // What runs may still write as much as it reads.
    const running = bytesOf(tables.filter(({ number }) => state.busy.has(number)));
    this.#room = state.freeBytes - running - RESERVED_FLUSHES * options.flushBytes;
  }

  get #full(): boolean {
    return this.#state.running + this.plans.length >= this.#options.compactionsMax;
  }

  addBucket(level: number, bucket: Bucket): void {
    const bytes = bytesOf(bucket.tables);
    this.#count(bytes);
    if (this.#full) return;
    const inputs = chooseInputs(bucket, this.#room);
    const overlap = bucket.peak.length;
    if (inputs.length === 0) {
      this.#skip(
        `level ${level}: ${overlap} tables overlap`,
        bytesOf([...bucket.peak].sort(bySize).slice(0, 2)),
      );
      return;
    }
    const chosen =
      inputs.length < bucket.tables.length ? `, ${inputs.length} of them and their neighbours` : '';
    this.#plan(level, `${overlap} tables of level ${level} overlap${chosen}`, inputs);
  }

  /** Neighbours of level 0 that are small together: flushes of so few records that they do not even overlap. */
  addSmall(byLevel: readonly (readonly TableMeta[])[]): void {
    const groupBytes = this.#options.tableTargetBytes * SMALL_FRACTION_MAX;
    const tableBytes = groupBytes / SMALL_NEIGHBOURS_MIN;
    const small = (byLevel[0] ?? []).filter(({ bytes }) => bytes <= tableBytes);
    for (let at = 0; at + SMALL_NEIGHBOURS_MIN <= small.length; ) {
      let end = at;
      for (let bytes = 0; end < small.length; end++) {
        bytes += small[end]?.bytes ?? 0;
        if (bytes > groupBytes) break;
      }
      const group = small.slice(at, end);
      at = end;
      if (!this.#makesNothingDue(group, byLevel)) continue;
      this.add(0, `${group.length} small neighbours of level 0`, group);
      return;
    }
  }

  /** Whether the one table that a group would become leaves the level it then belongs to below the threshold. */
  #makesNothingDue(group: readonly TableMeta[], byLevel: readonly (readonly TableMeta[])[]): boolean {
    const { ownership, flushBytes, dial } = this.#options;
    const { fanout, threshold } = scalingOf(dial);
    const range = unionRange(group);
    const head = defined(group[0], 'compaction: an empty group');
    const merged = { ...head, range, bytes: bytesOf(group), records: recordsOf(group) };
    const others = (byLevel[levelOf(merged, ownership, flushBytes, fanout)] ?? []).filter(
      (table) => !group.includes(table) && rangesOverlap(table.range, range),
    );
    return depthOf(sortByFirst([...others, merged])) < threshold;
  }

  addGarbage(): void {
    const { nowMs, memoryVersionMin, purgeBefore, putOff } = this.#state;
    const { gcGraceMs } = this.#options;
    const state = {
      tables: this.#tables,
      busy: this.#taken,
      nowMs,
      memoryVersionMin,
      gcGraceMs,
      purgeBefore,
    };
    const worth = this.#tables.filter((table) => !putOff.has(table.number) && hasGarbage(table, state));
    for (const table of worth.sort(byAge)) {
      if (this.#taken.has(table.number)) continue;
      const plan = garbagePlan(table, state);
      if (plan !== null) this.add(LEVEL_NONE, `table ${table.number}: ${plan.reason}`, plan.inputs, true);
    }
  }

  /** A plan for exactly these tables, if there is room for them. */
  add(level: number, reason: string, inputs: readonly TableMeta[], isForGarbage = false): void {
    const bytes = bytesOf(inputs);
    this.#count(bytes);
    if (this.#full) return;
    if (bytes > this.#room) this.#skip(reason, bytes);
    else this.#plan(level, reason, inputs, isForGarbage);
  }

  #count(bytes: number): void {
    this.pending++;
    this.pendingBytes += bytes;
  }

  #skip(reason: string, bytes: number): void {
    const room = Math.max(0, this.#room);
    this.skipped.push(`${reason}: at least ${bytes} bytes to write, and there is room for ${room}`);
  }

  #plan(level: number, reason: string, inputs: readonly TableMeta[], isForGarbage = false): void {
    const { ownership, tableTargetBytes } = this.#options;
    const bytes = bytesOf(inputs);
    const range = unionRange(inputs);
    const density = bytes / shareOf(ownership, range, recordsOf(inputs));
    const bits = Math.ceil(Math.log2(density / (tableTargetBytes * FILL_MAX)));
    const shardBits = Math.min(PART_BITS_MAX, Math.max(0, bits));
    const firstPart = ownPart(ownership, shardBits, range.firstHi, range.firstLo);
    const lastPart = ownPart(ownership, shardBits, range.lastHi, range.lastLo);
    this.plans.push({
      level,
      reason,
      isForGarbage,
      inputs: newestFirst(inputs),
      bytes,
      // One for each part, one more wherever a part is cut for its size, and one for what is left.
      outputsMax: lastPart - firstPart + 2 + Math.ceil(bytes / tableTargetBytes),
      outputBytesMax: tableTargetBytes,
      shardBits,
    });
    for (const { number } of inputs) this.#taken.add(number);
    this.#room -= bytes;
  }
}

const bySize = (a: TableMeta, b: TableMeta): number => a.bytes - b.bytes || a.number - b.number;

/**
 * The whole bucket, where it is not too much. Otherwise of its peak the oldest that may be merged at a time, or
 * the smallest for which there is room, and what overlaps them as far as there is room. At least two tables that
 * cover one token, or none.
 */
function chooseInputs(bucket: Bucket, room: number): readonly TableMeta[] {
  if (bucket.peak.length <= OVERLAP_MAX && bytesOf(bucket.tables) <= room) return bucket.tables;
  let core = [...bucket.peak].sort(byAge).slice(0, OVERLAP_MAX);
  if (bytesOf(core) > room) {
    core = [];
    for (const table of [...bucket.peak].sort(bySize).slice(0, OVERLAP_MAX))
      if (bytesOf(core) + table.bytes <= room) core.push(table);
    return core.length >= 2 ? core : [];
  }
  const peak = new Set(bucket.peak);
  const wider = [...core];
  let range = unionRange(wider);
  let bytes = bytesOf(wider);
  for (const table of bucket.tables) {
    if (peak.has(table) || bytes + table.bytes > room || !rangesOverlap(table.range, range)) continue;
    wider.push(table);
    bytes += table.bytes;
    range = unionOf(range, table.range);
  }
  return formRuns(wider).length <= OVERLAP_MAX ? wider : core;
}
