/**
 * Point reads of one shard: memtables, then tables from the highest versionMax down. Owned by the shard's
 * thread; a lookup that is answered at once allocates nothing. Invariants:
 *
 * 1. A record in a memtable is newer than every one of its key in any table, because the engine appends
 *    only above what it holds. So the first memtable that has the key answers.
 * 2. Tables overlap in versions: a record answers only where every table left has a lower versionMax.
 * 3. A lookup in flight holds the version of the table set that it walks. At its end it asks the memtables again,
 *    and walks anew where a memtable became a table meanwhile. So its answer is the newest at that moment.
 * 4. An error of one table is the lookup's error: an older record of another table is never served in its place.
 * 5. Where a part of the commit log is damaged, nobody knows whether a key that is not found was in it: the lookup
 *    ends with the error that names file and offset, never with ABSENT. What is found is whole, and is served; a
 *    newer version of it may have been lost.
 * 6. What tables answered goes into the record cache only in the turn in which no memtable held the key, whether durable or
 *    not; an append takes it out (write-path.ts). So a lookup that began before a write never puts back what that replaced.
 */
import { assert } from '../base/assert.ts';
import { ClosedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  compareRecordAge,
  FLAG_TOMBSTONE,
  flagsAt,
  KEYSPACE_USER,
  recordBytesAt,
  versionAt,
} from '../base/record.ts';
import type { RecordCacheWriter } from '../ipc/record-cache-writer.ts';
import {
  type EngineListener,
  type EngineLookup,
  type FoundRecord,
  LOOKUP_ABSENT,
  LOOKUP_FOUND,
  LOOKUP_PENDING,
  type TableLookupListener,
  type TableReader,
} from './contract.ts';
import type { MemtableList } from './memtable-list.ts';
import type { TableSet, TableVersion } from './table-set.ts';
import { covers } from './token-range.ts';

/** Lookups in flight: one or two (the key and its idempotency outcome) for each request that a shard holds. */
const PENDING_MAX = 2 * limits.shardRequestsMax;
const NO_BYTES = new Uint8Array(0);

/** One lookup that waits for a file. Reused. */
class PendingLookup {
  ticket = 0;
  keyspace = 0;
  tokenHi = 0;
  tokenLo = 0;
  key: Uint8Array = NO_BYTES;
  latest = false;
  version: TableVersion | null = null;
  flushes = 0;
  /** Place in the version's tables of the one that was asked last. */
  index = 0;
  /** Newest record so far, copied; `bestBytes` 0 where there is none. */
  readonly best: FoundRecord = { bytes: NO_BYTES, view: new DataView(NO_BYTES.buffer), offset: 0, seq: 0 };
  bestBytes = 0;
}

export class Lookups implements TableLookupListener {
  readonly found: FoundRecord = { bytes: NO_BYTES, view: new DataView(NO_BYTES.buffer), offset: 0, seq: 0 };
  readonly #memtables: MemtableList;
  readonly #tables: TableSet;
  readonly #recordCache: RecordCacheWriter | null;
  readonly #listener: EngineListener;
  readonly #onError: (error: Error) => void;
  readonly #damage: Error | null;
  readonly #pending: PendingLookup[] = [];
  readonly #free: number[] = [];
  #closed = false;
  /** Lookups that no memtable answered. */
  inTables = 0;
  /** Tables that they asked: one more than once where a lookup walks anew. */
  tablesAsked = 0;
  /** While tables are asked one after another in one turn: the newest record so far. */
  #best: FoundRecord | null = null;

  constructor(
    memtables: MemtableList,
    tables: TableSet,
    recordCache: RecordCacheWriter | null,
    listener: EngineListener,
    onError: (error: Error) => void,
    damage: Error | null,
  ) {
    this.#memtables = memtables;
    this.#tables = tables;
    this.#recordCache = recordCache;
    this.#listener = listener;
    this.#onError = onError;
    this.#damage = damage;
  }

  get inFlight(): number {
    return this.#pending.length - this.#free.length;
  }

  /** As ShardEngine.lookup. */
  lookup(
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    latest: boolean,
    ticket: number,
  ): EngineLookup {
    if (this.#inMemory(keyspace, tokenHi, tokenLo, key, latest)) return LOOKUP_FOUND;
    const version = this.#tables.current;
    this.inTables++;
    if (version.tables.length === 0) return this.#absent();
    this.#best = null;
    const id = this.#reserve();
    let pendingAt = -1;
    try {
      pendingAt = this.#walk(version, 0, keyspace, tokenHi, tokenLo, key, id);
    } catch (error) {
      if (error instanceof Error) this.#onError(error);
      throw error;
    }
    if (pendingAt < 0) return this.#answer(keyspace, tokenHi, tokenLo, key, latest);
    const pending = this.#take(id);
    pending.ticket = ticket;
    pending.keyspace = keyspace;
    pending.tokenHi = tokenHi;
    pending.tokenLo = tokenLo;
    pending.key = new Uint8Array(key);
    pending.latest = latest;
    pending.version = this.#tables.acquire();
    pending.flushes = this.#tables.flushes;
    this.#park(pending, pendingAt);
    return LOOKUP_PENDING;
  }

  /** As ShardEngine.lookupMemory. */
  lookupMemory(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array): boolean {
    return this.#inMemory(keyspace, tokenHi, tokenLo, key, true);
  }
  /** As ShardEngine.tablesVersionMax. */
  tablesVersionMax(tokenHi: number, tokenLo: number): number {
    let max = 0;
    for (const { meta } of this.#tables.current.tables) {
      // Tables come by falling versionMax.
      if (meta.versionMax <= max) break;
      if (covers(meta.range, tokenHi, tokenLo)) max = meta.versionMax;
    }
    return max;
  }

  onTableLookup(id: number, outcome: EngineLookup, error: Error | null): void {
    const pending = this.#pending[id];
    assert(pending !== undefined && pending.version !== null, 'lookup: an answer to no lookup');
    if (this.#closed) {
      this.#finish(id, pending, LOOKUP_ABSENT, new ClosedError('the shard is closed'));
      return;
    }
    if (error !== null) {
      this.#onError(error);
      this.#finish(id, pending, LOOKUP_ABSENT, error);
      return;
    }
    this.#best = pending.bestBytes > 0 ? pending.best : null;
    const table = pending.version.tables[pending.index] as TableReader;
    if (outcome === LOOKUP_FOUND) this.#consider(table.found);
    this.#goOn(id, pending);
  }

  #goOn(id: number, pending: PendingLookup): void {
    let outcome: EngineLookup = LOOKUP_ABSENT;
    let failure: Error | null = null;
    try {
      outcome = this.#askOn(id, pending);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#onError(error);
      failure = error;
    }
    if (outcome !== LOOKUP_PENDING) this.#finish(id, pending, outcome, failure);
  }

  #askOn(id: number, pending: PendingLookup): EngineLookup {
    const { keyspace, tokenHi, tokenLo, key, latest } = pending;
    for (;;) {
      const version = pending.version as TableVersion;
      const pendingAt = this.#walk(version, pending.index + 1, keyspace, tokenHi, tokenLo, key, id);
      if (pendingAt >= 0) {
        this.#park(pending, pendingAt);
        return LOOKUP_PENDING;
      }
      if (this.#inMemory(keyspace, tokenHi, tokenLo, key, latest)) return LOOKUP_FOUND;
      if (pending.flushes === this.#tables.flushes)
        return this.#answer(keyspace, tokenHi, tokenLo, key, latest);
      // A memtable became a table since: it may hold a record that was appended meanwhile.
      this.#tables.release(version);
      pending.version = this.#tables.acquire();
      pending.flushes = this.#tables.flushes;
      pending.index = -1;
      this.#best = null;
    }
  }

  /** Asks the tables from `start` on; the place of one that must read first, or -1 at the end. */
  #walk(
    version: TableVersion,
    start: number,
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    id: number,
  ): number {
    const { tables } = version;
    for (let i = start; i < tables.length; i++) {
      const table = tables[i] as TableReader;
      const { meta } = table;
      const best = this.#best;
      if (best !== null && versionAt(best.view, best.offset) > meta.versionMax) return -1;
      if (!covers(meta.range, tokenHi, tokenLo)) continue;
      this.tablesAsked++;
      const outcome = table.lookup(keyspace, tokenHi, tokenLo, key, id, this);
      if (outcome === LOOKUP_PENDING) return i;
      if (outcome === LOOKUP_FOUND) this.#consider(table.found);
    }
    return -1;
  }

  /** `found` stays as it is until control returns, so that it need not be copied before. */
  #consider(found: FoundRecord): void {
    const best = this.#best;
    if (
      best === null ||
      compareRecordAge(found.view, found.bytes, found.offset, best.view, best.bytes, best.offset) > 0
    )
      this.#best = found;
  }

  /** What the tables hold of a key, of which no memtable showed anything in this turn. */
  #answer(
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    latest: boolean,
  ): EngineLookup {
    const best = this.#best;
    if (best === null) return this.#absent();
    const cache = this.#recordCache;
    if (
      cache !== null &&
      keyspace === KEYSPACE_USER &&
      (flagsAt(best.view, best.offset) & FLAG_TOMBSTONE) === 0 &&
      cache.wants(tokenHi, tokenLo) &&
      // An append that is not durable yet has taken the key out of the cache: there it stays out (invariant 6).
      (latest || !this.#memtables.writer.find(keyspace, tokenHi, tokenLo, key, true))
    )
      cache.put(best.view, best.bytes, best.offset);
    this.#show(best.bytes, best.view, best.offset, 0);
    return LOOKUP_FOUND;
  }

  #absent(): EngineLookup {
    if (this.#damage !== null) throw this.#damage;
    return LOOKUP_ABSENT;
  }

  #inMemory(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array, latest: boolean): boolean {
    const { writer, archives } = this.#memtables;
    if (writer.find(keyspace, tokenHi, tokenLo, key, latest)) {
      const { slot, offset, seq } = writer.found;
      const durable = seq <= writer.durableSeq(slot);
      this.#show(
        writer.arenaBytes(slot),
        writer.arenaView(slot),
        offset,
        durable ? 0 : this.#memtables.bySlot(slot).base + seq,
      );
      return true;
    }
    for (const archive of archives) {
      if (!archive.writer.find(keyspace, tokenHi, tokenLo, key, true)) continue;
      const { slot, offset } = archive.writer.found;
      this.#show(archive.writer.arenaBytes(slot), archive.writer.arenaView(slot), offset, 0);
      return true;
    }
    return false;
  }

  #show(bytes: Uint8Array, view: DataView, offset: number, seq: number): void {
    this.found.bytes = bytes;
    this.found.view = view;
    this.found.offset = offset;
    this.found.seq = seq;
  }

  /** Keeps what was found so far until the table at `index` has read. */
  #park(pending: PendingLookup, index: number): void {
    pending.index = index;
    const best = this.#best;
    if (best === null) pending.bestBytes = 0;
    else if (best !== pending.best) {
      const size = recordBytesAt(best.view, best.offset);
      const copy = best.bytes.slice(best.offset, best.offset + size);
      pending.best.bytes = copy;
      pending.best.view = new DataView(copy.buffer, copy.byteOffset, copy.length);
      pending.best.offset = 0;
      pending.bestBytes = size;
    }
    this.#best = null;
  }

  #finish(id: number, pending: PendingLookup, outcome: EngineLookup, error: Error | null): void {
    const { ticket, version } = pending;
    assert(version !== null, 'lookup: ended twice');
    pending.version = null;
    pending.bestBytes = 0;
    this.#best = null;
    this.#listener.onLookup(ticket, outcome, error);
    if (!this.#closed) this.#tables.release(version);
    pending.best.bytes = NO_BYTES;
    pending.key = NO_BYTES;
    this.#free.push(id);
  }

  /** An id that `#take` will give, should the lookup have to wait. */
  #reserve(): number {
    if (this.#free.length === 0) {
      assert(this.#pending.length < PENDING_MAX, () => `lookups: more than ${PENDING_MAX} in flight`);
      this.#free.push(this.#pending.length);
      this.#pending.push(new PendingLookup());
    }
    return this.#free[this.#free.length - 1] as number;
  }
  #take(id: number): PendingLookup {
    this.#free.pop();
    return this.#pending[id] as PendingLookup;
  }

  close(): void {
    this.#closed = true;
  }
}
