/**
 * A ShardEngine over a Map, whose disk is the test's: lookups wait until they are told to end, and appends become
 * durable, or are lost, when the test says so.
 */
import { ManualClock } from '../../src/base/clock.ts';
import {
  comparePlace,
  compareRecordAge,
  compareRecordPlaces,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  isDeadAt,
  type RecordFields,
  recordBytes,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
  writeRecord,
} from '../../src/base/record.ts';
import {
  type EngineListener,
  type EngineLookup,
  type EngineStats,
  type FoundRecord,
  type JobResult,
  LOOKUP_ABSENT,
  LOOKUP_FOUND,
  LOOKUP_PENDING,
  type RawPageRequest,
  type RawVisitor,
  type ScanEnd,
  type ScanRequest,
  type ScanVisitor,
  type ShardEngine,
  type TreeJob,
} from '../../src/engine/contract.ts';
import { Sstables } from '../../src/engine/sstables.ts';
import type { TreePart, TreeSums } from '../../src/engine/tree-contract.ts';
import { runTreeJob } from '../../src/engine/tree-job.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import { newDisk } from '../engine/disk.ts';
import { turn } from '../engine/engine-harness.ts';

interface Stored {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly seq: number;
  readonly keyspace: number;
  readonly key: string;
}
interface Waiting {
  readonly name: string;
  readonly latest: boolean;
  readonly ticket: number;
}
const nameOf = (keyspace: number, key: Uint8Array): string =>
  `${keyspace}:${Buffer.from(key).toString('latin1')}`;

export class FakeEngine implements ShardEngine {
  versionMax = 0;
  durableSeq = 0;
  readonly found: FoundRecord = {
    bytes: new Uint8Array(0),
    view: new DataView(new ArrayBuffer(0)),
    offset: 0,
    seq: 0,
  };
  listener: EngineListener;
  readonly nowMs: () => number;
  /** Which lookups wait. */
  pends: (keyspace: number, key: Uint8Array) => boolean = () => false;
  /** Lookups that need not be the latest show records that are not durable, and say so: the contract permits it. */
  eager = false;
  /** Thrown by every lookup and scan. */
  error: Error | null = null;
  /** What tablesVersionMax says; everything lies in memory all the same. */
  tablesMax = 0;
  /** `append` refuses with this status, where it is not 0. */
  refusal = 0;
  refusalReason = '';
  /** What was committed becomes durable in the next turn of the event loop. */
  automatic = true;
  commits = 0;
  appends = 0;
  closed = false;
  readonly waiting: Waiting[] = [];
  readonly snapshots = new Map<number, readonly Stored[]>();
  readonly #records = new Map<string, Stored[]>();
  #seq = 0;
  #committedSeq = 0;
  /** Seqs at which appends end that are not durable. */
  readonly #ends: number[] = [];
  #snapshot = 0;

  constructor(listener: EngineListener, nowMs: () => number) {
    this.listener = listener;
    this.nowMs = nowMs;
  }

  get committedSeq(): number {
    return this.#committedSeq;
  }
  get lastSeq(): number {
    return this.#seq;
  }
  /** Records of a keyspace, all of them. */
  stored(keyspace: number): number {
    return [...this.#records.keys()].filter((name) => name.startsWith(`${keyspace}:`)).length;
  }

  append(record: RecordFields, also: RecordFields | null): number {
    if (this.error !== null) throw this.error;
    if (this.refusal !== 0) return -this.refusal;
    this.appends++;
    this.#put(record);
    if (also !== null) this.#put(also);
    this.#ends.push(this.#seq);
    return this.#seq;
  }
  #put(record: RecordFields): void {
    const bytes = new Uint8Array(recordBytes(record.key.length, record.value.length));
    const view = new DataView(bytes.buffer);
    writeRecord(bytes, 0, record);
    const name = nameOf(record.keyspace, record.key);
    const versions = this.#records.get(name) ?? [];
    const newest = versions.at(-1);
    this.versionMax = Math.max(this.versionMax, record.version);
    if (newest !== undefined && compareRecordAge(view, bytes, 0, newest.view, newest.bytes, 0) <= 0)
      throw new Error(`${name}: version ${record.version} is not newer than what is there`);
    if (((record.flags & FLAG_EXPIRING) !== 0) !== record.expiresMs > 0)
      throw new Error('flags and expiry differ');
    if ((record.flags & FLAG_TOMBSTONE) !== 0 && record.value.length > 0)
      throw new Error('a tombstone with a value');
    const { keyspace } = record;
    versions.push({
      bytes,
      view,
      seq: ++this.#seq,
      keyspace,
      key: Buffer.from(record.key).toString('latin1'),
    });
    this.#records.set(name, versions);
  }

  commit(): void {
    this.commits++;
    this.#committedSeq = this.#seq;
    if (this.automatic) setImmediate(() => this.sync());
  }
  /** What was committed becomes durable, up to `seq`: whole appends, a record and what goes with it. */
  sync(limit = this.#committedSeq): void {
    const count = this.#ends.findIndex((end) => end > limit);
    const seq = this.#ends.splice(0, count < 0 ? this.#ends.length : count).at(-1) ?? 0;
    if (this.durableSeq >= seq) return;
    this.durableSeq = seq;
    this.listener.onDurable(seq);
  }
  /** What is not durable is lost. */
  failSync(status: number, error: Error): void {
    for (const [name, versions] of this.#records) {
      const kept = versions.filter(({ seq }) => seq <= this.durableSeq);
      if (kept.length > 0) this.#records.set(name, kept);
      else this.#records.delete(name);
    }
    this.#ends.length = 0;
    this.listener.onWriteFailure(status, error);
  }

  lookup(
    keyspace: number,
    _hi: number,
    _lo: number,
    key: Uint8Array,
    latest: boolean,
    ticket: number,
  ): EngineLookup {
    if (this.error !== null) throw this.error;
    const name = nameOf(keyspace, key);
    if (!this.pends(keyspace, key)) return this.#find(name, latest);
    this.waiting.push({ name, latest, ticket });
    return LOOKUP_PENDING;
  }
  lookupMemory(keyspace: number, _hi: number, _lo: number, key: Uint8Array): boolean {
    if (this.error !== null) throw this.error;
    return this.#find(nameOf(keyspace, key), true) === LOOKUP_FOUND;
  }
  tablesVersionMax(): number {
    return this.tablesMax;
  }
  rawPage(request: RawPageRequest, visit: RawVisitor): boolean {
    const { from, exclusive, lastHi, lastLo, recordsMax } = request;
    const all = [...this.#records.values()]
      .flatMap((versions) => versions.findLast(({ seq }) => seq <= this.durableSeq) ?? [])
      .sort((a, b) => compareRecordPlaces(a.view, a.bytes, 0, b.view, b.bytes, 0))
      .filter(({ view, bytes }) => {
        const place = comparePlace(view, bytes, 0, from.tokenHi, from.tokenLo, from.keyspace, from.key);
        const hi = tokenHiAt(view, 0);
        return (
          (exclusive ? place > 0 : place >= 0) &&
          (hi < lastHi || (hi === lastHi && tokenLoAt(view, 0) <= lastLo))
        );
      });
    for (const [i, { view, bytes }] of all.entries())
      if (i >= recordsMax || !visit(view, bytes, 0)) return false;
    return true;
  }
  async sumTree(part: TreePart): Promise<TreeSums> {
    const job: TreeJob = {
      kind: 'tree',
      fileSystem: { kind: 'memory' },
      directory: '/',
      table: { blockBytes: 4096, compression: 'none', bloomBitsPerKey: 10 },
      ownership: { vnodes: 1, shards: 1, shard: 0 },
      stop: createStopFlag(),
      tables: [],
      part,
    };
    const clock = new ManualClock(this.nowMs());
    const { tree } = await runTreeJob(job, newDisk(), { tables: new Sstables(clock), clock, pause: turn });
    if (tree === undefined) throw new Error('a tree job without sums');
    return tree;
  }
  readonly purges = new Map<number, number>();
  setPurgeBefore(vnode: number, version: number): void {
    this.purges.set(vnode, version);
  }
  purgeBefore(vnode: number): number {
    return this.purges.get(vnode) ?? Number.POSITIVE_INFINITY;
  }
  #find(name: string, latest: boolean): EngineLookup {
    const stored = this.#records
      .get(name)
      ?.findLast(({ seq }) => latest || this.eager || seq <= this.durableSeq);
    // What was there before must not be read: the contract lets it go with the next call.
    this.found.seq = -1;
    if (stored === undefined) return LOOKUP_ABSENT;
    this.found.bytes = stored.bytes;
    this.found.view = stored.view;
    this.found.offset = 0;
    this.found.seq = stored.seq <= this.durableSeq ? 0 : stored.seq;
    return LOOKUP_FOUND;
  }
  /** Ends a lookup that waits, the first by default. */
  endLookup(at = 0, error: Error | null = null): void {
    const [waiting] = this.waiting.splice(at, 1);
    if (waiting === undefined) throw new Error(`no lookup ${at} waits`);
    const outcome = error === null ? this.#find(waiting.name, waiting.latest) : LOOKUP_ABSENT;
    this.listener.onLookup(waiting.ticket, outcome, error);
  }

  scan(request: ScanRequest, snapshot: number, visit: ScanVisitor): ScanEnd {
    if (this.error !== null) throw this.error;
    const { from, exclusive, limit, bytesMax } = request;
    const prefix = Buffer.from(request.prefix).toString('latin1');
    const fromKey = Buffer.from(from.key).toString('latin1');
    const at = (one: Stored): number =>
      tokenHiAt(one.view, 0) - from.tokenHi ||
      tokenLoAt(one.view, 0) - from.tokenLo ||
      (one.key < fromKey ? -1 : one.key > fromKey ? 1 : 0);
    const all = (snapshot === 0 ? this.#live() : (this.snapshots.get(snapshot) ?? [])).filter((one) =>
      exclusive ? at(one) > 0 : at(one) >= 0,
    );
    const end: ScanEnd = { done: true, tokenHi: from.tokenHi, tokenLo: from.tokenLo, key: from.key };
    let shown = 0;
    let bytes = 0;
    for (const one of all) {
      if (shown >= limit || bytes >= bytesMax) return { ...end, done: false };
      end.tokenHi = tokenHiAt(one.view, 0);
      end.tokenLo = tokenLoAt(one.view, 0);
      end.key = Buffer.from(one.key, 'latin1');
      if (!one.key.startsWith(prefix)) continue;
      visit(one.view, one.bytes, 0);
      shown++;
      bytes += recordBytesAt(one.view, 0);
    }
    return end;
  }
  #live(): readonly Stored[] {
    return [...this.#records.values()]
      .flatMap((versions) => versions.findLast(({ seq }) => seq <= this.durableSeq) ?? [])
      .filter(({ view, keyspace }) => keyspace === 0 && !isDeadAt(view, 0, this.nowMs()))
      .sort(
        (a, b) =>
          tokenHiAt(a.view, 0) - tokenHiAt(b.view, 0) ||
          tokenLoAt(a.view, 0) - tokenLoAt(b.view, 0) ||
          (a.key < b.key ? -1 : 1),
      );
  }

  snapshot(): Promise<number> {
    this.snapshots.set(++this.#snapshot, this.#live());
    return Promise.resolve(this.#snapshot);
  }
  releaseSnapshot(snapshot: number): void {
    this.snapshots.delete(snapshot);
  }
  snapshotFiles(): readonly string[] {
    return [];
  }
  flush(): Promise<void> {
    return this.error === null ? Promise.resolve() : Promise.reject(this.error);
  }
  compactAll(): Promise<void> {
    return this.flush();
  }
  verify(): Promise<JobResult> {
    const damage = [{ file: 'sst-1', offset: 7, what: 'checksum' }];
    return Promise.resolve({
      tables: [],
      bytesRead: 5,
      bytesWritten: 0,
      recordsRead: 6,
      recordsWritten: 0,
      damage,
    });
  }
  stats(): EngineStats {
    return {
      memtableBytes: 1,
      frozenMemtables: 0,
      keptMemtables: 0,
      tables: 0,
      tableBytes: 0,
      tableRecords: 0,
      walBytes: 0,
      appendedBytes: 0,
      walBytesWritten: 0,
      flushBytesWritten: 0,
      tableLookups: 0,
      tablesAsked: 0,
      tableReads: 0,
      tableReadBytes: 0,
      tablesOverlap: 0,
      compactionLevels: 0,
      blockCacheBytes: 0,
      blockCacheHits: 0,
      blockCacheMisses: 0,
      blockReadsDirect: 0,
      blockReadsPooled: 0,
      recordCacheBytes: 0,
      recordCacheFills: 0,
      recordCacheEvictions: 0,
      flushes: 0,
      compactions: 0,
      compactionBytesWritten: 0,
      compactionsPending: 0,
      compactionsRunning: 0,
      snapshots: this.snapshots.size,
      writesRefused: this.refusal === 0 ? '' : this.refusalReason || `status ${this.refusal}`,
    };
  }
  close(): Promise<void> {
    this.closed = true;
    this.#committedSeq = this.#seq;
    this.sync();
    return Promise.resolve();
  }
}
