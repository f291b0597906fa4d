/**
 * How tables are sorted for the compaction strategy: into levels by density, and within a level into buckets
 * of tables that overlap. Pure; after the Unified Compaction Strategy of Cassandra 5 (CEP-26).
 */
import { assert, defined } from '../base/assert.ts';
import type { Ownership, TableMeta, TokenRange } from './contract.ts';
import { compareFirst, compareLast, compareTokens, ownShare } from './token-range.ts';

export const DIAL_MIN = -10;
export const DIAL_MAX = 10;
/** Density grows by the fanout from level to level: with a fanout of 2 this is more than a disk can hold. */
export const LEVELS_MAX = 48;
/** Fewer records say nothing about the share of tokens that their table stands for. */
export const SHARE_RECORDS_MIN = 8;

export interface Scaling {
  /** Density of a level to that of the one below. */
  readonly fanout: number;
  /** Overlapping tables of one level that set off a compaction. */
  readonly threshold: number;
}

/**
 * The dial, W in CEP-26: below 0 levelled with fanout 2 - W, above 0 tiered with fanout 2 + W. At 0 both are
 * the same with fanout 2.
 */
export function scalingOf(dial: number): Scaling {
  assert(
    Number.isInteger(dial) && dial >= DIAL_MIN && dial <= DIAL_MAX,
    () => `compaction: dial ${dial} is not an integer from ${DIAL_MIN} to ${DIAL_MAX}`,
  );
  return dial < 0 ? { fanout: 2 - dial, threshold: 2 } : { fanout: 2 + dial, threshold: 2 + dial };
}

/**
 * Share of the shard's tokens that `records` spread over `range` stand for. Evenly spread ones leave half a
 * gap free at each end; so few that their ends say nothing are taken to be spread over all tokens.
 */
export function shareOf(ownership: Ownership, range: TokenRange, records: number): number {
  if (records < SHARE_RECORDS_MIN) return 1;
  const share = (ownShare(ownership, range) * (records + 1)) / (records - 1);
  // Tokens of foreign vnodes take up no share: what is left behind by a change of shards must not look dense.
  return share <= 0 ? 1 : Math.min(1, share);
}

/**
 * Bytes at which level 1 would begin if the fanout were 1. Somewhat below a flushed table, so that the merge
 * of `threshold` of them, a little smaller than their sum, is sure to rise (Cassandra does the same).
 */
export const baseBytes = (flushBytes: number, fanout: number): number => flushBytes * (1 - 0.9 / fanout);

/** The level of a table: 0 below density baseBytes * fanout, and one more with each factor of the fanout. */
export function levelOf(
  table: Pick<TableMeta, 'bytes' | 'records' | 'range'>,
  ownership: Ownership,
  flushBytes: number,
  fanout: number,
): number {
  const share = shareOf(ownership, table.range, table.records);
  let bound = baseBytes(flushBytes, fanout) * fanout * share;
  let level = 0;
  for (; level < LEVELS_MAX - 1 && table.bytes >= bound; level++) bound *= fanout;
  return level;
}

/** Tables that hang together by overlaps, in order of their first tokens. */
export interface Bucket {
  readonly tables: readonly TableMeta[];
  /** The most of them that cover one token. */
  readonly peak: readonly TableMeta[];
}

const INDEX_RANGE = 2 ** 21;

/**
 * In order of their first tokens. A comparator would be most of the strategy's work: here numbers are sorted, made
 * of the upper half of the token and the index, and only what shares the upper half is compared (33,000 tables,
 * in any order: about 11 ms instead of 31).
 */
export function sortByFirst(tables: Iterable<TableMeta>): TableMeta[] {
  const all = [...tables];
  assert(all.length < INDEX_RANGE, () => `compaction: ${all.length} tables, at most ${INDEX_RANGE - 1}`);
  const keys = Float64Array.from(all, ({ range }, index) => range.firstHi * INDEX_RANGE + index).sort();
  const sorted: TableMeta[] = [];
  for (const key of keys) {
    const table = defined(all[key % INDEX_RANGE], 'compaction: an index out of the tables');
    let at = sorted.length;
    for (; at > 0; at--) {
      const before = defined(sorted[at - 1], 'compaction: an index out of the tables');
      if ((compareFirst(before.range, table.range) || before.number - table.number) <= 0) break;
      sorted[at] = before;
    }
    sorted[at] = table;
  }
  return sorted;
}

/** The most tables that cover one token. */
export function depthOf(sorted: readonly TableMeta[]): number {
  const covering: TableMeta[] = [];
  let deepest = 0;
  for (const table of sorted) {
    dropEnded(covering, table.range);
    covering.push(table);
    if (covering.length > deepest) deepest = covering.length;
  }
  return deepest;
}

/** Keeps those that end at or after the start of `range`. */
function dropEnded(covering: TableMeta[], range: TokenRange): void {
  let kept = 0;
  for (const one of covering) if (!endsBefore(one.range, range)) covering[kept++] = one;
  covering.length = kept;
}

/**
 * The buckets of tables in order of their first tokens. All tables that cover one token are in one bucket; tables
 * of two buckets never overlap.
 */
export function formBuckets(sorted: readonly TableMeta[]): Bucket[] {
  const buckets: Bucket[] = [];
  let members: TableMeta[] = [];
  let peak: TableMeta[] = [];
  let reach: TokenRange | null = null;
  const covering: TableMeta[] = [];
  for (const table of sorted) {
    const { range } = table;
    if (reach !== null && endsBefore(reach, range)) {
      buckets.push({ tables: members, peak });
      members = [];
      peak = [];
      reach = null;
    }
    dropEnded(covering, range);
    covering.push(table);
    members.push(table);
    if (covering.length > peak.length) peak = covering.slice();
    if (reach === null || compareLast(range, reach) > 0) reach = range;
  }
  if (members.length > 0) buckets.push({ tables: members, peak });
  return buckets;
}

const endsBefore = (a: TokenRange, b: TokenRange): boolean =>
  compareTokens(a.lastHi, a.lastLo, b.firstHi, b.firstLo) < 0;

/** The least range that covers two. */
export function unionOf(a: TokenRange, b: TokenRange): TokenRange {
  const { firstHi, firstLo } = compareFirst(a, b) <= 0 ? a : b;
  const { lastHi, lastLo } = compareLast(a, b) >= 0 ? a : b;
  return { firstHi, firstLo, lastHi, lastLo };
}

/** The least range that covers all of some tables, at least one. */
export function unionRange(tables: readonly TableMeta[]): TokenRange {
  const head = defined(tables[0], 'compaction: the range of no tables');
  return tables.reduce((range, table) => unionOf(range, table.range), head.range);
}

export const bytesOf = (tables: readonly TableMeta[]): number =>
  tables.reduce((sum, { bytes }) => sum + bytes, 0);

export const recordsOf = (tables: readonly TableMeta[]): number =>
  tables.reduce((sum, { records }) => sum + records, 0);

/** Oldest first: by versionMax, then by number. */
export const byAge = (a: TableMeta, b: TableMeta): number =>
  a.versionMax - b.versionMax || a.number - b.number;
