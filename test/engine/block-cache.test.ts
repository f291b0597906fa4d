import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { BlockCache } from '../../src/engine/block-cache.ts';
import { testSeed } from '../seed.ts';

const KiB = 1024;

/** Puts a payload of a content that follows from its key. */
function put(cache: BlockCache, table: number, position: number, length: number): number {
  const slot = cache.insert(table, position, length);
  if (slot !== 0)
    cache.bytes.fill((table * 31 + position / 8) & 0xff, cache.startOf(slot), cache.endOf(slot));
  return slot;
}
function isRight(cache: BlockCache, slot: number, table: number, position: number, length: number): boolean {
  const start = cache.startOf(slot);
  if (start % 8 !== 0 || cache.endOf(slot) - start !== length) return false;
  const expected = (table * 31 + position / 8) & 0xff;
  for (let at = start; at < start + length; at++) if (cache.bytes[at] !== expected) return false;
  return true;
}

describe('the block cache', () => {
  for (const cacheBytes of [16 * KiB, 100 * KiB, 1000 * KiB]) {
    const seed = testSeed();
    it(`of ${cacheBytes} bytes gives what was put there, never moves what is pinned, keeps its bound (seed ${seed})`, () => {
      const random = new Random(seed);
      const cache = new BlockCache(cacheBytes);
      expect(cache.memoryBytes).toBeLessThanOrEqual(cacheBytes);
      const tables = [cache.openTable(), cache.openTable(), cache.openTable()];
      const lengths = new Map<string, number>();
      const pinned: { slot: number; table: number; position: number; length: number; start: number }[] = [];
      let inserted = 0;
      for (let step = 0; step < 30_000; step++) {
        const table = random.pick(tables);
        const position = 8 * Math.floor(random.below(40) ** 2 / (1 + random.below(8)));
        const name = `${table} ${position}`;
        let slot = cache.find(table, position);
        if (slot === 0) {
          const length = random.pick([1, 100, 500, 2000, random.between(1, 4000)]);
          slot = put(cache, table, position, length);
          if (slot !== 0) {
            lengths.set(name, length);
            inserted++;
          }
        }
        const length = lengths.get(name) ?? 0;
        if (slot !== 0 && !isRight(cache, slot, table, position, length))
          expect.fail(`wrong bytes at step ${step}`);
        if (slot !== 0 && random.chance(0.1) && pinned.length < 4) {
          cache.pin(slot);
          pinned.push({ slot, table, position, length, start: cache.startOf(slot) });
        } else if (random.chance(0.1)) {
          const one = pinned.shift();
          if (one !== undefined) cache.unpin(one.slot);
        } else if (slot !== 0 && random.chance(0.02) && pinned.every((one) => one.slot !== slot)) {
          cache.drop(slot);
          expect(cache.find(table, position)).toBe(0);
        }
        for (const one of pinned) {
          if (cache.startOf(one.slot) !== one.start) expect.fail(`pinned slot moved at step ${step}`);
          if (!isRight(cache, one.slot, one.table, one.position, one.length))
            expect.fail(`pinned bytes at step ${step}`);
        }
        if (cache.usedBytes > cacheBytes) expect.fail(`${cache.usedBytes} bytes held`);
        if (random.chance(0.0005)) {
          const at = random.below(3);
          const closing = tables[at] as number;
          if (pinned.every((one) => one.table !== closing)) {
            cache.closeTable(closing);
            tables[at] = cache.openTable();
          }
        }
      }
      expect(inserted).toBeGreaterThan(500);
    });
  }

  it('keeps what is in use through a scan ten times its size', () => {
    const cache = new BlockCache(1000 * KiB);
    const table = cache.openTable();
    const touch = (position: number): boolean => {
      if (cache.find(table, position) !== 0) return true;
      put(cache, table, position, 4000);
      return false;
    };
    for (let round = 0; round < 5; round++) for (let i = 0; i < 100; i++) touch(8 * i);
    let kept = 0;
    for (let i = 0; i < 2500; i++) touch(8 * (10_000 + i));
    for (let i = 0; i < 100; i++) if (touch(8 * i)) kept++;
    expect(kept).toBeGreaterThan(90);
  });

  it('holds nothing, and says so, where it has no room or the payload is too large', () => {
    const none = new BlockCache(0);
    expect(none.insert(none.openTable(), 0, 10)).toBe(0);
    expect(none.memoryBytes).toBeLessThan(100);
    const cache = new BlockCache(100 * KiB);
    expect(cache.insert(cache.openTable(), 0, 50 * KiB)).toBe(0);
    expect(cache.usedBytes).toBe(0);
  });

  it('gives no room while pins fill it, and does again when they are gone', () => {
    const cache = new BlockCache(64 * KiB);
    const table = cache.openTable();
    const pinned: number[] = [];
    for (let i = 0; i < 1000; i++) {
      const slot = put(cache, table, 8 * i, 1500);
      if (slot === 0) continue;
      cache.pin(slot);
      pinned.push(slot);
    }
    expect(pinned.length).toBeGreaterThan(2);
    expect(put(cache, table, 80_000, 1500)).toBe(0);
    for (const slot of pinned) cache.unpin(slot);
    for (let i = 0; i < 1000; i++) expect(put(cache, table, 8 * (20_000 + i), 1500)).not.toBe(0);
  });

  it('forgets closed tables before what is in use', () => {
    const cache = new BlockCache(1000 * KiB);
    const [old, live] = [cache.openTable(), cache.openTable()];
    const touch = (table: number, position: number): boolean => {
      if (cache.find(table, position) !== 0) return true;
      put(cache, table, position, 4000);
      return false;
    };
    for (let round = 0; round < 6; round++)
      for (let i = 0; i < 110; i++) {
        touch(old, 8 * i);
        touch(live, 8 * i);
      }
    cache.closeTable(old);
    for (let round = 0; round < 6; round++) for (let i = 200; i < 290; i++) touch(live, 8 * i);
    let kept = 0;
    for (let i = 0; i < 110; i++) if (cache.find(live, 8 * i) !== 0) kept++;
    expect(kept).toBeGreaterThan(100);
  });
});
