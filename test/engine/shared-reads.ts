/** Reads of a front end, beside an engine: memtables first, then the record cache, both in shared memory. */
import { KEYSPACE_USER, valueAt, versionAt } from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { MemtableSetMemory } from '../../src/ipc/contract.ts';
import { type LookupOutcome, MEMTABLE_DEAD, MEMTABLE_HIT, MEMTABLE_MISS } from '../../src/ipc/contract.ts';
import { SharedMemtableReader } from '../../src/ipc/memtable-reader.ts';
import type { RecordCacheMemory } from '../../src/ipc/record-cache-layout.ts';
import { RecordCacheReader } from '../../src/ipc/record-cache-reader.ts';
import { isLive, type Key, type State } from './engine-model-state.ts';

/** Smaller than any that a node has; the memory that `createRecordCache` would give is too large to be filled in a test. */
export type SmallRecordCache = readonly [places: number, arenaBytes: number];
export function smallRecordCache(size: SmallRecordCache | null): RecordCacheMemory | null {
  if (size === null) return null;
  return { index: new SharedArrayBuffer(size[0] * 16), arena: new SharedArrayBuffer(size[1]) };
}

export class SharedReads {
  readonly #memtables: SharedMemtableReader;
  readonly #cache: RecordCacheReader | null;
  /** Of the last `faultOf`. */
  from: 'memtables' | 'record cache' | 'nowhere' = 'nowhere';

  constructor(memtables: MemtableSetMemory, cache: RecordCacheMemory | null) {
    this.#memtables = new SharedMemtableReader(memtables);
    this.#cache = cache === null ? null : new RecordCacheReader(cache);
  }

  /** What the cache alone says. */
  inCache(key: Uint8Array, nowMs: number): LookupOutcome {
    hashToken(key);
    return this.#cache?.lookup(token.hi, token.lo, key, nowMs) ?? MEMTABLE_MISS;
  }
  get cached(): { readonly bytes: Uint8Array; readonly view: DataView } | null {
    return this.#cache;
  }

  /** What is wrong with a read of a key at this moment, '' where nothing is. `latest` has what was appended, `durable` what is durable. */
  faultOf({ bytes, name }: Key, durable: State, latest: State, nowMs: number): string {
    hashToken(bytes);
    const outcome = this.#memtables.lookup(KEYSPACE_USER, token.hi, token.lo, bytes, nowMs);
    if (outcome !== MEMTABLE_MISS) {
      this.from = 'memtables';
      return this.#judge('memtables', outcome, this.#memtables, name, durable, nowMs);
    }
    const cached = this.#cache?.lookup(token.hi, token.lo, bytes, nowMs) ?? MEMTABLE_MISS;
    this.from = cached === MEMTABLE_MISS ? 'nowhere' : 'record cache';
    if (cached === MEMTABLE_MISS) return '';
    // Not only stale answers: an append takes the record out before it is durable.
    if (latest.get(name) !== durable.get(name))
      return `the cache holds ${name}, of which a newer record was appended`;
    return this.#judge('record cache', cached, this.#cache as RecordCacheReader, name, durable, nowMs);
  }

  #judge(
    from: string,
    outcome: LookupOutcome,
    found: { readonly bytes: Uint8Array; readonly view: DataView },
    name: string,
    durable: State,
    nowMs: number,
  ): string {
    const entry = durable.get(name);
    const live = isLive(entry, nowMs);
    if (outcome === MEMTABLE_DEAD) return live ? `${from}: ${name} is dead, and the model has it live` : '';
    if (outcome !== MEMTABLE_HIT || !live) return `${from}: ${name} is live, and the model has it dead`;
    const version = versionAt(found.view, 0);
    if (version !== entry.version)
      return `${from}: ${name} has version ${version}, and the model ${entry.version}`;
    const isSame = Buffer.compare(valueAt(found.view, found.bytes, 0), entry.value) === 0;
    return isSame ? '' : `${from}: ${name} has another value`;
  }
}
