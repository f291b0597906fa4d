/**
 * Compares one vnode of this node's replica with another's, and exchanges what differs: by hash trees level by level, then by
 * heads of the leaves that differ, then record by record. The same code fills a replica that is behind or empty
 * (`pullOnly`). Interrupted anywhere it has done no harm, and the next session moves only what is still missing: every
 * record goes by MERGE, which is idempotent. Owned by the peer worker; pure.
 *
 * 1. What died long ago on both sides' clocks (the later of both `now - gc_grace`) is no difference where one side has
 *    nothing, for that side may have purged it. Against a record that the other side does hold it counts.
 * 2. A record that a promise bars is settled by SERIAL (`settle`), never forced.
 * 3. Nothing is thrown away: what cannot be merged ends the session with an error.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  compareRecordAge,
  compareRecordPlaces,
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  keyAt,
  keyspaceAt,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { type PagePlace, type Replica, type ReplicaPage, WriteMode } from './contract.ts';
import { errorOf, pageOf, readOf, treeNodesOf, treeOf, writeTo } from './repair-calls.ts';
import { leafTokens, TREE_FANOUT, TREE_LEAF_LEVEL, TREE_LEAVES } from './repair-ranges.ts';

const NO_BYTES = new Uint8Array(0);
const TOKEN_LO_MAX = 0xffff_ffff;
const HASH_BYTES = 8;

export interface RepairStatistics {
  recordsCompared: number;
  recordsSent: number;
  recordsReceived: number;
  bytesSent: number;
  bytesReceived: number;
  settled: number;
  resurrections: number;
}
export const newRepairStatistics = (): RepairStatistics => ({
  recordsCompared: 0,
  recordsSent: 0,
  recordsReceived: 0,
  bytesSent: 0,
  bytesReceived: 0,
  settled: 0,
  resurrections: 0,
});

export interface RepairSessionOptions {
  readonly vnode: number;
  readonly vnodes: number;
  readonly local: Replica;
  readonly remote: Replica;
  /** Tells this session's trees from others. */
  readonly session: number;
  /** Take only what this node lacks. */
  readonly pullOnly: boolean;
  readonly clock: Clock;
  /** Resolves when so many more bytes may be moved; rejects where the session is to end. */
  readonly pace: (bytes: number) => Promise<void>;
  /** Runs a key through SERIAL, so that all its replicas agree. */
  readonly settle: (key: Uint8Array, tokenHi: number, tokenLo: number) => Promise<void>;
  readonly statistics: RepairStatistics;
  /** Called with the heads of records that the other side lacks, where only it is to be taken from. */
  readonly onOnlyHere?: (head: Uint8Array) => void;
}

export async function runRepairSession(options: RepairSessionOptions): Promise<void> {
  const { local, remote, session } = options;
  const cutoffMs = await buildTrees(options);
  try {
    for (const [first, last] of await differingLeaves(options))
      await exchange(options, first, last, cutoffMs);
  } finally {
    local.endTree(session);
    remote.endTree(session);
  }
}

const deadlineMs = (options: RepairSessionOptions): number =>
  options.clock.nowMs() + limits.repairRequestMsMax;

/** Gives what both sides have left out: records that died before. */
async function buildTrees(options: RepairSessionOptions): Promise<number> {
  const { local, remote, session, vnode } = options;
  const vnodes = [vnode];
  const ask = (replica: Replica, ignoreDeadBeforeMs: number): ReturnType<typeof treeOf> =>
    treeOf(replica, { session, vnodes, ignoreDeadBeforeMs, deadlineMs: deadlineMs(options) });
  const theirs = await ask(remote, 0);
  const ours = await ask(local, theirs.ignoredDeadBeforeMs);
  const cutoffMs = ours.ignoredDeadBeforeMs;
  if (cutoffMs > theirs.ignoredDeadBeforeMs) await ask(remote, cutoffMs);
  return cutoffMs;
}

/** Runs of neighbouring leaves that differ, first to last. */
async function differingLeaves(options: RepairSessionOptions): Promise<[first: number, last: number][]> {
  const { local, remote, session, vnode } = options;
  let indexes = [0];
  for (let level = 0; ; level++) {
    const differing: number[] = [];
    for (let at = 0; at < indexes.length; at += limits.treeNodesPerRequestMax) {
      const some = indexes.slice(at, at + limits.treeNodesPerRequestMax);
      const request = { session, vnode, level, indexes: some };
      const [ours, theirs] = await Promise.all([treeNodesOf(local, request), treeNodesOf(remote, request)]);
      for (const [i, index] of some.entries())
        if (!sameHash(ours.hashes, theirs.hashes, i)) differing.push(index);
    }
    if (level === TREE_LEAF_LEVEL) return runsOf(differing);
    indexes = differing.flatMap((index) =>
      Array.from({ length: TREE_FANOUT }, (_, i) => index * TREE_FANOUT + i),
    );
    if (indexes.length === 0) return [];
  }
}

function sameHash(a: Uint8Array, b: Uint8Array, index: number): boolean {
  for (let i = index * HASH_BYTES; i < (index + 1) * HASH_BYTES; i++) if (a[i] !== b[i]) return false;
  return true;
}

function runsOf(leaves: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const leaf of leaves) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === leaf - 1) last[1] = leaf;
    else runs.push([leaf, leaf]);
  }
  return runs;
}

/** A record's head, or the record itself, and where it stands. */
interface Head {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Reads heads (or whole records) of a range page by page. */
class Heads {
  readonly #options: RepairSessionOptions;
  readonly #replica: Replica;
  readonly #range: Pick<ReplicaPage, 'firstHi' | 'lastHi'>;
  readonly #headOnly: boolean;
  #after: PagePlace | null = null;
  #isDone = false;
  #page: Head[] = [];
  #at = 0;

  constructor(
    options: RepairSessionOptions,
    replica: Replica,
    range: Pick<ReplicaPage, 'firstHi' | 'lastHi'>,
    headOnly: boolean,
  ) {
    this.#options = options;
    this.#replica = replica;
    this.#range = range;
    this.#headOnly = headOnly;
  }

  /** The next head without taking it; null at the end. */
  async peek(): Promise<Head | null> {
    while (this.#at === this.#page.length && !this.#isDone) await this.#fill();
    return this.#page[this.#at] ?? null;
  }
  take(): void {
    this.#at++;
  }

  async #fill(): Promise<void> {
    const options = this.#options;
    const { records, next } = await pageOf(this.#replica, {
      ...this.#range,
      firstLo: 0,
      lastLo: TOKEN_LO_MAX,
      after: this.#after,
      userOnly: false,
      prefix: NO_BYTES,
      headOnly: this.#headOnly,
      recordsMax: limits.repairPageRecordsMax,
      bytesMax: limits.repairPageBytes,
      deadlineMs: deadlineMs(options),
    });
    await options.pace(records.length);
    this.#after = next;
    this.#isDone = next === null;
    this.#page = [];
    this.#at = 0;
    const view = new DataView(records.buffer, records.byteOffset, records.length);
    for (let at = 0; at < records.length; at += recordBytesAt(view, at)) {
      const bytes = records.subarray(at, at + recordBytesAt(view, at));
      this.#page.push({ bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) });
    }
  }
}

async function exchange(
  options: RepairSessionOptions,
  firstLeaf: number,
  lastLeaf: number,
  cutoffMs: number,
): Promise<void> {
  const { local, remote, vnode, vnodes, pullOnly, statistics } = options;
  const [firstHi, lastHi] = leafTokens(vnode, firstLeaf, lastLeaf, vnodes);
  const range = { firstHi, lastHi };
  const ours = new Heads(options, local, range, true);
  // A side with nothing takes everything: whole records at once, instead of one call for each.
  const isEmpty =
    pullOnly && lastLeaf - firstLeaf > TREE_LEAVES / TREE_FANOUT && (await ours.peek()) === null;
  const theirs = new Heads(options, remote, range, !isEmpty);
  const moves = new Moves();
  for (;;) {
    const our = await ours.peek();
    const their = await theirs.peek();
    if (our === null && their === null) break;
    statistics.recordsCompared++;
    const place =
      our === null
        ? 1
        : their === null
          ? -1
          : compareRecordPlaces(our.view, our.bytes, 0, their.view, their.bytes, 0);
    if (place <= 0) ours.take();
    if (place >= 0) theirs.take();
    if (place < 0 && our !== null) {
      if (pullOnly) options.onOnlyHere?.(our.bytes.slice());
      else if (!diedBefore(our, cutoffMs)) await moves.add(send(options, our));
    } else if (place > 0 && their !== null) {
      if (!diedBefore(their, cutoffMs)) await moves.add(fetch(options, their, isEmpty));
    } else if (our !== null && their !== null) {
      const age = compareHeads(our, their);
      if (age < 0) await moves.add(fetch(options, their, isEmpty));
      else if (age > 0 && !pullOnly) await moves.add(send(options, our));
    }
  }
  await moves.end();
}

/** A bounded number of records on their way at a time. */
class Moves {
  readonly #running = new Set<Promise<void>>();
  #error: unknown = null;

  async add(move: Promise<void>): Promise<void> {
    const one = move
      .catch((error: unknown) => {
        this.#error ??= error;
      })
      .then(() => {
        this.#running.delete(one);
      });
    this.#running.add(one);
    if (this.#running.size >= limits.repairWritesInFlightMax) await Promise.race(this.#running);
    if (this.#error !== null) await this.end();
  }
  async end(): Promise<void> {
    await Promise.all(this.#running);
    if (this.#error !== null) throw this.#error;
  }
}

/** What heads say of age: equal versions with different values are equal here, and the read of the record decides. */
function compareHeads(a: Head, b: Head): number {
  return compareRecordAge(a.view, a.bytes, 0, b.view, b.bytes, 0);
}

function diedBefore({ view }: Head, cutoffMs: number): boolean {
  const flags = flagsAt(view, 0);
  if ((flags & FLAG_TOMBSTONE) !== 0) return versionAt(view, 0) / 1000 < cutoffMs;
  return (flags & FLAG_EXPIRING) !== 0 && expiresMsAt(view, 0) < cutoffMs;
}

/** The whole record behind a head as a replica holds it now; null where it holds none any more. */
async function wholeOf(
  options: RepairSessionOptions,
  replica: Replica,
  { bytes, view }: Head,
): Promise<Uint8Array | null> {
  const { record } = await readOf(replica, {
    tokenHi: tokenHiAt(view, 0),
    tokenLo: tokenLoAt(view, 0),
    keyspace: keyspaceAt(view, 0),
    key: keyAt(view, bytes, 0),
    headOnly: false,
    deadlineMs: deadlineMs(options),
  });
  return record;
}

async function fetch(options: RepairSessionOptions, head: Head, isWhole: boolean): Promise<void> {
  const { local, remote, statistics } = options;
  const record = isWhole ? head.bytes.slice() : await wholeOf(options, remote, head);
  if (record === null) return;
  statistics.recordsReceived++;
  statistics.bytesReceived += record.length;
  await options.pace(record.length);
  const newer = await merge(options, local, record);
  if (newer !== null && !options.pullOnly) await merge(options, remote, newer);
}

async function send(options: RepairSessionOptions, head: Head): Promise<void> {
  const { local, remote, statistics } = options;
  const record = await wholeOf(options, local, head);
  if (record === null) return;
  statistics.recordsSent++;
  statistics.bytesSent += record.length;
  await options.pace(record.length);
  const newer = await merge(options, remote, record);
  if (newer === null) return;
  const view = new DataView(newer.buffer, newer.byteOffset, newer.length);
  const sent = new DataView(record.buffer, record.byteOffset, record.length);
  if ((flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0 && versionAt(view, 0) === versionAt(sent, 0))
    statistics.resurrections++;
  await merge(options, local, newer);
}

/** Gives what the replica holds where that is newer. */
async function merge(
  options: RepairSessionOptions,
  replica: Replica,
  record: Uint8Array,
): Promise<Uint8Array | null> {
  const answer = await writeTo(replica, {
    record,
    also: null,
    mode: WriteMode.MERGE,
    deadlineMs: deadlineMs(options),
  });
  if (answer.status === Status.OK) return answer.newer;
  if (answer.status !== PeerStatus.STALE_VERSION)
    throw errorOf(answer.status, answer.message, 'merging a record');
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  options.statistics.settled++;
  await options.settle(keyAt(view, record, 0), tokenHiAt(view, 0), tokenLoAt(view, 0));
  return null;
}
