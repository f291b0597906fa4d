import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  isDeadAt,
  RECORD_HEADER_BYTES,
  type RecordFields,
  recordBytes,
  recordBytesAt,
  tokenHiAt,
  valueAt,
  writeRecord,
} from '../../src/base/record.ts';
import {
  MEMTABLE_DEAD,
  MEMTABLE_HIT,
  MEMTABLE_MISS,
  type MemtableSetOptions,
} from '../../src/ipc/contract.ts';
import { MemtableCursor } from '../../src/ipc/memtable-cursor.ts';
import { createMemtableSet, MemtableSlot, SEQ_ALL, slotShape } from '../../src/ipc/memtable-layout.ts';
import { SharedMemtableReader } from '../../src/ipc/memtable-reader.ts';
import { SharedMemtableWriter } from '../../src/ipc/memtable-writer.ts';
import { testSeed } from '../seed.ts';
import { encode, ModelSlot, nameOf } from './memtable-model.ts';

const NOW = 1_000_000;
const VALUE_MAX = 120;
const LAST = 0xffff_ffff;

function recordOf(over: Partial<RecordFields>): RecordFields {
  const base = { tokenHi: 0, tokenLo: 0, keyspace: 0, version: 1, origin: 1, flags: 0, expiresMs: 0 };
  return { ...base, key: Buffer.from('k'), value: Buffer.from('v'), ...over };
}

const small: MemtableSetOptions = { slots: 3, arenaBytes: 16 * 1024, vnodes: 4, shard: 0, shards: 1 };
function setOf(options = small) {
  const memory = createMemtableSet(options);
  const writer = new SharedMemtableWriter(memory);
  return { memory, writer, reader: new SharedMemtableReader(memory) };
}

/** Writer, reader, cursor and model side by side over one random configuration. */
class Comparison {
  readonly random: Random;
  readonly options: MemtableSetOptions;
  readonly set: ReturnType<typeof setOf>;
  /** Newest first, as the order in the control block. */
  readonly model: ModelSlot[] = [];
  readonly pool: RecordFields[];
  readonly times = { HIT: 0, DEAD: 0, MISS: 0, released: 0, full: 0, hidden: 0, adopted: 0, passed: 0 };

  constructor(seed: number) {
    this.random = new Random(seed);
    const { random } = this;
    const vnodes = 2 ** random.below(9);
    const shards = random.between(1, Math.min(vnodes, 5));
    const arenaBytes = 64 * random.pick([8, 40, 256, 4096]);
    const shard = random.below(shards);
    this.options = { slots: random.between(2, 4), arenaBytes, vnodes, shard, shards };
    this.set = setOf(this.options);
    // Few tokens for many keys: equal tokens, equal upper halves, ends of vnodes.
    const tokens = Array.from({ length: random.between(1, 30) }, () => {
      const width = 2 ** 32 / vnodes;
      const start = width * (shard + shards * random.below(Math.ceil((vnodes - shard) / shards)));
      const tokenHi = start + random.pick([0, width - 1, random.below(width), random.below(width)]);
      return { tokenHi, tokenLo: random.pick([0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) };
    });
    this.pool = Array.from({ length: random.between(1, 60) }, () => {
      const key = random.bytes(random.pick([1, 2, 2, 3, 30]));
      for (let i = 0; i < key.length; i++) key[i] = random.pick([0, 1, 127, 128, 255]);
      return recordOf({ ...random.pick(tokens), keyspace: random.below(2), key });
    });
  }

  get active(): ModelSlot | undefined {
    return this.set.writer.active === -1 ? undefined : this.model[0];
  }

  randomRecord(version: number): RecordFields {
    const { random } = this;
    const value = random.bytes(random.below(VALUE_MAX));
    const kind = random.below(10);
    const flags = kind === 0 ? FLAG_TOMBSTONE : kind < 3 ? FLAG_EXPIRING : 0;
    const expiresMs = flags === FLAG_EXPIRING ? NOW + random.pick([-1, 0, 1]) : 0;
    return { ...random.pick(this.pool), value, version, flags, expiresMs };
  }

  write(version: number): void {
    const { writer } = this.set;
    const record = this.randomRecord(version);
    const size = recordBytes(record.key.length, record.value.length);
    if (this.active === undefined || !writer.fits(size, 0)) {
      this.times.full++;
      if (this.active !== undefined) expect(writer.head + size).toBeGreaterThan(this.options.arenaBytes);
      return;
    }
    const seq = this.active.append(record);
    const at = writer.head;
    if (this.random.chance(0.3)) {
      writeRecord(writer.arenaBytes(writer.active), at, record);
      expect(writer.adopt(at)).toBe(seq);
      this.times.adopted++;
    } else expect(writer.append(record)).toBe(seq);
    expect(writer.head).toBe(at + size);
    expect(writer.lastSeq(writer.active)).toBe(seq);
  }

  turn(): void {
    const { writer } = this.set;
    const base = 64 * this.random.below(3);
    if (this.active !== undefined) writer.freeze();
    if (this.model.length === this.options.slots) expect(writer.activate(base)).toBe(false);
    else {
      expect(writer.activate(base)).toBe(true);
      this.model.unshift(new ModelSlot(writer.active));
      expect(writer.head).toBe(base);
    }
  }

  release(): void {
    const oldest = this.model.at(-1);
    if (oldest === undefined || oldest === this.active) return;
    this.set.writer.release(oldest.index);
    this.model.pop();
    this.times.released++;
  }

  makeDurable(): void {
    const slot = this.model[this.random.below(Math.max(1, this.model.length))];
    if (slot === undefined) return;
    slot.durableSeq = this.random.between(slot.durableSeq, slot.entries.length);
    this.set.writer.setDurable(slot.index, slot.durableSeq);
  }

  skip(): void {
    const { writer } = this.set;
    const at = writer.head;
    const fits = at + 8 <= this.options.arenaBytes;
    expect(writer.skip(8)).toBe(fits ? at : -1);
    expect(writer.head).toBe(fits ? at + 8 : at);
  }

  compareLookup(probe: RecordFields): void {
    const { writer, reader } = this.set;
    const { keyspace, tokenHi, tokenLo, key } = probe;
    const name = nameOf(keyspace, tokenHi, tokenLo, key);
    for (const latest of [true, false]) {
      const at = this.model.find((slot) => slot.newest(name, latest ? SEQ_ALL : slot.durableSeq));
      const entry = at?.newest(name, latest ? SEQ_ALL : at.durableSeq);
      expect(writer.find(keyspace, tokenHi, tokenLo, key, latest)).toBe(entry !== undefined);
      if (at !== undefined && entry !== undefined) {
        expect([writer.found.slot, writer.found.seq]).toEqual([at.index, entry.seq]);
        const bytes = writer.arenaBytes(at.index).subarray(writer.found.offset);
        expect(Buffer.compare(bytes.subarray(0, entry.bytes.length), entry.bytes)).toBe(0);
      }
      if (latest) continue;
      if (this.model.some((slot) => slot.newest(name, SEQ_ALL)) && entry === undefined) this.times.hidden++;
      const outcome = reader.lookup(keyspace, tokenHi, tokenLo, key, NOW);
      if (entry === undefined || at === undefined) {
        expect(outcome).toBe(MEMTABLE_MISS);
        this.times.MISS++;
      } else if (outcome === MEMTABLE_MISS) {
        // Allowed for one reason only: too many versions that are not durable stand before it, in its own
        // memtable or in a newer one.
        const passed = this.model.slice(0, this.model.indexOf(at) + 1).map((slot) => slot.notDurable(name));
        expect(Math.max(...passed)).toBeGreaterThan(64);
        this.times.passed++;
      } else if (isDeadAt(entry.view, 0, NOW)) {
        expect(outcome).toBe(MEMTABLE_DEAD);
        this.times.DEAD++;
      } else {
        expect(outcome).toBe(MEMTABLE_HIT);
        this.times.HIT++;
        expect(recordBytesAt(reader.view, 0)).toBe(entry.bytes.length);
        expect(Buffer.compare(reader.bytes.subarray(0, entry.bytes.length), entry.bytes)).toBe(0);
      }
    }
  }

  compareCursor(): void {
    const slot = this.model[this.random.below(Math.max(1, this.model.length))];
    if (slot === undefined) return;
    const bound = this.random.pick([SEQ_ALL, slot.durableSeq, this.random.below(slot.entries.length + 1)]);
    let from: RecordFields | null = this.random.pick([null, ...this.pool]);
    // A place of no record, in any vnode, also one of another shard.
    if (from !== null && this.random.chance(0.3)) from = { ...from, tokenHi: this.random.uint32() };
    const last = this.random.pick([LAST, this.random.uint32(), this.random.pick(this.pool).tokenHi]);
    const expected = slot.ordered(from === null ? null : encode(from), bound);
    const cursor = new MemtableCursor(this.set.memory, slot.index, from, bound, last);
    for (const entry of expected) {
      // It may end behind the last token that was asked for.
      if (!cursor.valid && tokenHiAt(entry.view, 0) > last) return;
      expect(cursor.valid).toBe(true);
      const bytes = cursor.bytes.subarray(cursor.offset, cursor.offset + entry.bytes.length);
      expect(Buffer.compare(bytes, entry.bytes)).toBe(0);
      cursor.next();
    }
    expect(cursor.valid).toBe(false);
  }

  run(steps: number): void {
    this.turn();
    for (let step = 1; step <= steps; step++) {
      const kind = this.random.below(100);
      if (kind < 60) this.write(step);
      else if (kind < 62) this.turn();
      else if (kind < 64) this.release();
      else if (kind < 72) this.makeDurable();
      else if (kind < 96) this.compareLookup(this.random.pick(this.pool));
      else if (kind < 98 && this.active !== undefined) this.skip();
      else this.compareCursor();
    }
    for (const probe of this.pool) this.compareLookup(probe);
    this.compareCursor();
  }
}

describe('a memtable set', () => {
  const seed = testSeed();
  it(`does what maps and arrays do, over random configurations (seed ${seed})`, () => {
    const total = { HIT: 0, DEAD: 0, MISS: 0, released: 0, full: 0, hidden: 0, adopted: 0, passed: 0 };
    for (let i = 0; i < 60; i++) {
      const comparison = new Comparison(seed + i);
      comparison.run(1200);
      for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += comparison.times[name];
    }
    // Every path was taken many times: none of the comparisons above is empty.
    for (const name of ['HIT', 'DEAD', 'MISS', 'released', 'full', 'hidden', 'adopted'] as const)
      expect(total[name], name).toBeGreaterThan(100);
  });

  it('keeps the order of tokens over buckets, for every shard', () => {
    const random = new Random(seed);
    for (const [vnodes, shards] of [
      [1, 1],
      [2, 2],
      [1024, 3],
      [65_536, 256],
    ] as const)
      for (const shard of [0, shards - 1]) {
        const options = { slots: 2, arenaBytes: 64 * 1024, vnodes, shard, shards };
        const slot = new MemtableSlot(createMemtableSet(options), 0);
        const width = 2 ** 32 / vnodes;
        const mine = Array.from({ length: 500 }, () => random.uint32()).sort((a, b) => a - b);
        const owned = mine.filter((hi) => Math.floor(hi / width) % shards === shard);
        const buckets = owned.map((hi) => slot.bucketOf(hi));
        expect(buckets).toEqual([...buckets].sort((a, b) => a - b));
        for (const bucket of buckets) expect(bucket).toBeLessThan(slotShape(options).buckets);
        expect(slot.bucketFrom(shard * width)).toBe(0);
      }
  });

  it('refuses a token of another shard', () => {
    const { writer } = setOf({ ...small, shards: 2, shard: 1 });
    writer.activate(0);
    expect(() => writer.append(recordOf({ tokenHi: 0 }))).toThrow('another shard');
  });

  it('shows a record to readers only when it is durable, and the one before it until then', () => {
    const { writer, reader } = setOf();
    const key = Buffer.from('k');
    writer.activate(64);
    writer.append(recordOf({ value: Buffer.from('one') }));
    expect(reader.lookup(0, 0, 0, key, NOW)).toBe(MEMTABLE_MISS);
    writer.setDurable(writer.active, 1);
    writer.append(recordOf({ value: Buffer.from('two'), version: 2 }));
    expect(reader.lookup(0, 0, 0, key, NOW)).toBe(MEMTABLE_HIT);
    expect(Buffer.from(valueAt(reader.view, reader.bytes, 0)).toString()).toBe('one');
    writer.setDurable(writer.active, 2);
    expect(reader.lookup(0, 0, 0, key, NOW)).toBe(MEMTABLE_HIT);
    expect(Buffer.from(valueAt(reader.view, reader.bytes, 0)).toString()).toBe('two');
  });

  it('returns records larger than the reader expected', () => {
    const { writer, reader } = setOf({ ...small, arenaBytes: 4 << 20 });
    writer.activate(0);
    const value = Buffer.alloc(1 << 20, 7);
    writer.append(recordOf({ value }));
    writer.setDurable(writer.active, 1);
    expect(reader.lookup(0, 0, 0, Buffer.from('k'), NOW)).toBe(MEMTABLE_HIT);
    expect(value.equals(valueAt(reader.view, reader.bytes, 0))).toBe(true);
  });

  it('answers MISS, not garbage, where more versions wait for the disk than a reader passes', () => {
    const { writer, reader } = setOf();
    writer.activate(0);
    for (let version = 1; version <= 100; version++) writer.append(recordOf({ version }));
    writer.setDurable(writer.active, 1);
    expect(reader.lookup(0, 0, 0, Buffer.from('k'), NOW)).toBe(MEMTABLE_MISS);
    writer.setDurable(writer.active, 99);
    expect(reader.lookup(0, 0, 0, Buffer.from('k'), NOW)).toBe(MEMTABLE_HIT);
  });

  it('comes back without an exception from whatever bytes a recycled slot holds', () => {
    const random = new Random(seed);
    const { memory, writer, reader } = setOf({ ...small, arenaBytes: 1024 });
    writer.activate(0);
    const target = new Int32Array(memory.slots[writer.active] as SharedArrayBuffer);
    for (let round = 0; round < 3000; round++) {
      const low = random.chance(0.8);
      for (let i = 0; i < target.length; i++) target[i] = low ? random.below(40) : random.uint32();
      const key = Buffer.from(target.buffer.slice(0, 1));
      const outcome = reader.lookup(0, random.uint32(), random.below(3), key, NOW);
      expect([MEMTABLE_MISS, MEMTABLE_HIT, MEMTABLE_DEAD]).toContain(outcome);
    }
  });

  it('releases the oldest slot only, so that no older version of a key comes back', () => {
    const { writer } = setOf();
    for (let i = 0; i < 3; i++) {
      expect(writer.activate(0)).toBe(true);
      writer.freeze();
    }
    expect(writer.activate(0)).toBe(false);
    const [newest, , oldest] = writer.frozen();
    expect(() => writer.release(newest as number)).toThrow('not the oldest');
    writer.release(oldest as number);
    expect(writer.frozen()).toHaveLength(2);
  });

  it('closes a memtable before many keys under one token make its tree too deep', () => {
    const { memory, writer, reader } = setOf({ ...small, arenaBytes: 1 << 20 });
    writer.activate(0);
    const key = Buffer.alloc(4);
    let count = 0;
    for (; writer.fits(recordBytes(4, 0), 0); count++) {
      key.writeUInt32BE(count);
      writer.append(recordOf({ key, value: new Uint8Array(0) }));
    }
    expect(count).toBeLessThan((1 << 20) / (RECORD_HEADER_BYTES + 8));
    writer.setDurable(writer.active, count);
    for (const probe of [0, count >> 1, count - 1]) {
      key.writeUInt32BE(probe);
      expect(reader.lookup(0, 0, 0, key, NOW)).toBe(MEMTABLE_HIT);
    }
    let seen = 0;
    for (const cursor = new MemtableCursor(memory, writer.active, null, SEQ_ALL); cursor.valid; cursor.next())
      expect(
        Buffer.from(cursor.bytes.buffer, cursor.bytes.byteOffset + cursor.offset + 40).readUInt32BE(),
      ).toBe(seen++);
    expect(seen).toBe(count);
  });

  it('lets a cursor go on over appends that come after it', () => {
    const { memory, writer } = setOf();
    writer.activate(0);
    const token = (i: number): Partial<RecordFields> => ({ tokenHi: i * 1000, tokenLo: i });
    for (let i = 0; i < 40; i++) writer.append(recordOf({ ...token(i), value: Buffer.from('old') }));
    const bound = writer.lastSeq(writer.active);
    const cursor = new MemtableCursor(memory, writer.active, null, bound);
    for (let i = 0; i < 40; i++) {
      for (const j of [0, i, (i + 1) % 40, 39])
        writer.append(recordOf({ ...token(j), value: Buffer.from('new'), version: 2 + i }));
      writer.append(recordOf({ tokenHi: i * 1000 + 500, value: Buffer.from('new') }));
      expect(cursor.valid).toBe(true);
      expect(cursor.view.getUint32(cursor.offset + 12, true)).toBe(i);
      expect(Buffer.from(valueAt(cursor.view, cursor.bytes, cursor.offset)).toString()).toBe('old');
      cursor.next();
    }
    expect(cursor.valid).toBe(false);
  });
});
