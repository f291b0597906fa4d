/** Reads of a front end and of the peer worker where the record cache holds what no memtable does. */
import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsIn,
  KEYSPACE_OUTCOMES,
  KEYSPACE_USER,
  type RecordFields,
  valueAt,
} from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { MEMTABLE_DEAD, MEMTABLE_HIT, MEMTABLE_MISS } from '../../src/ipc/contract.ts';
import { createDoorbell } from '../../src/ipc/doorbell.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { SharedMemtableWriter } from '../../src/ipc/memtable-writer.ts';
import { createRecordCache, type RecordCacheMemory } from '../../src/ipc/record-cache-layout.ts';
import { RecordCacheWriter } from '../../src/ipc/record-cache-writer.ts';
import { encoded, viewOf } from '../../src/shard/replica-records.ts';
import { RingShardClient } from '../../src/shard/shard-client.ts';
import { connectShard, type ShardConnection } from '../../src/shard/shard-ends.ts';
import { bytes, START_MS } from './harness.ts';

const CACHE_BYTES = 1 << 20;
const shape = { slots: 2, arenaBytes: 64 * 1024, vnodes: 16, shard: 0, shards: 1 };

let open: RingShardClient[] = [];
afterEach(() => {
  for (const client of open) client.close();
  open = [];
});

function recordOf(key: string, value: string, more: Partial<RecordFields> = {}): RecordFields {
  const name = bytes(key);
  hashToken(name);
  return {
    ...{ tokenHi: token.hi, tokenLo: token.lo, keyspace: KEYSPACE_USER, key: name, value: bytes(value) },
    ...{ version: 7, origin: 3, flags: 0, expiresMs: 0 },
    ...more,
  };
}

/** One client with the memory of one shard, which has no thread: the test writes what its engine would. */
class World {
  readonly clock = new ManualClock(START_MS);
  readonly client: RingShardClient;
  readonly #doorbell = createDoorbell();
  #memtables: SharedMemtableWriter | null = null;
  #cache: RecordCacheWriter | null = null;

  constructor() {
    const { clock } = this;
    this.client = new RingShardClient({ shards: 1, vnodes: 16, doorbell: this.#doorbell, clock });
    open.push(this.client);
    this.attach();
  }
  /** The next life of the shard, with memory of its own. */
  attach(): ShardConnection {
    const memory = createMemtableSet(shape);
    const recordCache = createRecordCache(CACHE_BYTES) as RecordCacheMemory;
    this.#memtables = new SharedMemtableWriter(memory);
    this.#memtables.activate(0);
    this.#cache = new RecordCacheWriter(recordCache);
    const ends = connectShard({
      ...{ shard: 0, client: 0, clientDoorbell: this.#doorbell, shardDoorbell: createDoorbell() },
      ...{ memtables: memory, recordCache },
    });
    this.client.attach(ends.client);
    return ends;
  }
  put(record: RecordFields): void {
    const image = encoded(record);
    this.#cache?.put(viewOf(image), image, 0);
  }
  append(record: RecordFields): void {
    this.#memtables?.setDurable(0, this.#memtables.append(record));
  }
  get(record: RecordFields, nowMs = START_MS): number {
    return this.client.getLocal(record.tokenHi, record.tokenLo, record.key, nowMs);
  }
  text(): string {
    const { bytes: found, start, length } = this.client.local;
    return Buffer.from(found.subarray(start, start + length)).toString();
  }
}

describe('a read of a front end', () => {
  it('is answered by the record cache where no memtable has the key, with version and expiry', () => {
    const world = new World();
    const record = recordOf('k', 'cached', { flags: FLAG_EXPIRING, expiresMs: START_MS + 10 });
    expect(world.get(record)).toBe(MEMTABLE_MISS);
    world.put(record);
    expect(world.get(record)).toBe(MEMTABLE_HIT);
    expect(world.text()).toBe('cached');
    expect(world.client.local).toMatchObject({ version: 7, expiresMs: START_MS + 10 });
    expect(world.get(record, START_MS + 10)).toBe(MEMTABLE_DEAD);
    expect(world.client.localReads).toEqual({ memtables: 0, recordCache: 2, missed: 1 });
  });

  it('is answered by a memtable before the record cache', () => {
    const world = new World();
    const record = recordOf('k', 'cached');
    world.put(record);
    world.append({ ...record, value: bytes('written later'), version: 8 });
    expect(world.get(record)).toBe(MEMTABLE_HIT);
    expect(world.text()).toBe('written later');
    expect(world.client.localReads).toEqual({ memtables: 1, recordCache: 0, missed: 0 });
  });

  it('never sees the record cache of a life of the shard before the present one', () => {
    const world = new World();
    const record = recordOf('k', 'cached');
    world.put(record);
    world.client.detach(0);
    // Nothing is acknowledged before the client has turned to the next life.
    expect(world.get(record)).toBe(MEMTABLE_HIT);
    world.attach();
    expect(world.get(record)).toBe(MEMTABLE_MISS);
  });
});

describe('a read of the peer worker', () => {
  it('is answered by the record cache with the whole record, as long as it lives', () => {
    const world = new World();
    const record = recordOf('k', 'cached', { flags: FLAG_EXPIRING, expiresMs: START_MS + 10 });
    const { tokenHi, tokenLo, key } = record;
    const find = (keyspace = KEYSPACE_USER) => world.client.inMemory(keyspace, tokenHi, tokenLo, key);
    world.put(record);
    const found = find();
    expect(found).not.toBeNull();
    if (found !== null) expect(Buffer.from(valueAt(found.view, found.bytes, 0)).toString()).toBe('cached');
    expect(find(KEYSPACE_OUTCOMES)).toBeNull();
    // What is dead a compaction may have forgotten meanwhile: the shard says.
    world.clock.advanceMs(10);
    expect(find()).toBeNull();
    expect(world.client.localReads).toEqual({ memtables: 0, recordCache: 1, missed: 2 });
  });

  it('takes what memtables hold before it, dead or alive', () => {
    const world = new World();
    const record = recordOf('k', 'cached');
    world.put(record);
    world.append({ ...record, value: bytes(''), flags: FLAG_TOMBSTONE, version: 8 });
    const found = world.client.inMemory(KEYSPACE_USER, record.tokenHi, record.tokenLo, record.key);
    expect(found === null ? 0 : flagsIn(found.bytes)).toBe(FLAG_TOMBSTONE);
  });
});
