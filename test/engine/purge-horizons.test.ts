import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  keyAt,
  valueLengthAt,
  versionAt,
} from '../../src/base/record.ts';
import { hashToken, token, vnodeOf } from '../../src/base/token.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';
import { EngineHarness, fieldsOf, ownKeys, type Put, SHAPE, type Shape } from './engine-harness.ts';

const seed = testSeed();
const NOTHING: Shape = { ...SHAPE, gcGraceMs: 0, purgeBefore: 0 };
const NO_BYTES = new Uint8Array(0);
const ALL = { firstHi: 0, lastHi: 0xffff_ffff };
const HOUR_MS = 3_600_000;

const vnodeOfKey = (key: Uint8Array, { vnodes }: Shape): number => {
  hashToken(key);
  return vnodeOf(token.hi, vnodes);
};
const nameOf = (key: Uint8Array): string => Buffer.from(key).toString();

/** What the engine holds, whatever its state: name to `version`, and what it is. */
function held(harness: EngineHarness): Map<string, string> {
  const all = new Map<string, string>();
  harness.engine.rawPage(
    {
      from: { tokenHi: ALL.firstHi, tokenLo: 0, keyspace: 0, key: NO_BYTES },
      exclusive: false,
      lastHi: ALL.lastHi,
      lastLo: 0xffff_ffff,
      recordsMax: 100_000,
      bytesMax: 1e9,
    },
    (view, bytes, offset) => {
      const flags = flagsAt(view, offset);
      const kind =
        (flags & FLAG_TOMBSTONE) !== 0 ? 'dead' : (flags & FLAG_EXPIRING) !== 0 ? 'expiring' : 'live';
      if (kind === 'dead') expect(valueLengthAt(view, offset)).toBe(0);
      all.set(nameOf(keyAt(view, bytes, offset)), `${kind} ${versionAt(view, offset)}`);
      return true;
    },
  );
  return all;
}
const put = (harness: EngineHarness, record: Put): void =>
  expect(harness.engine.append(fieldsOf(record), null)).toBeGreaterThan(0);
const compact = (harness: EngineHarness): Promise<void> => harness.wait(harness.engine.compactAll());
const raiseAll = (harness: EngineHarness, version: number): void => {
  for (let vnode = 0; vnode < harness.shape.vnodes; vnode++) harness.engine.setPurgeBefore(vnode, version);
};

describe(`the horizon of a vnode (seed ${seed})`, () => {
  const [deleted, expired] = ownKeys(2, SHAPE) as [Uint8Array, Uint8Array];

  it('keeps all that is dead in an engine that starts with none, and lets what lies below it go when it is told', async () => {
    const harness = new EngineHarness(newDisk(), NOTHING);
    await harness.open();
    put(harness, { key: deleted, version: 5, deleted: true });
    put(harness, { key: expired, version: 6, value: Buffer.from('v'), expiresMs: 1000 });
    await compact(harness);
    expect(held(harness)).toEqual(
      new Map([
        [nameOf(deleted), 'dead 5'],
        [nameOf(expired), 'dead 6'],
      ]),
    );
    raiseAll(harness, 5);
    await compact(harness);
    expect(held(harness).size).toBe(2);
    raiseAll(harness, 6);
    await compact(harness);
    expect([...held(harness).keys()]).toEqual([nameOf(expired)]);
    raiseAll(harness, 7);
    await compact(harness);
    expect(held(harness).size).toBe(0);
    await harness.close();
  });

  it('is gone with a restart: nothing goes until it is told again', async () => {
    const harness = new EngineHarness(newDisk(), NOTHING);
    await harness.open();
    raiseAll(harness, 100);
    await harness.close();
    await harness.open();
    put(harness, { key: deleted, version: 5, deleted: true });
    await compact(harness);
    expect(held(harness).size).toBe(1);
    raiseAll(harness, 100);
    await compact(harness);
    expect(held(harness).size).toBe(0);
    await harness.close();
  });

  it('leaves it to their age alone where the engine starts without any', async () => {
    const harness = new EngineHarness(newDisk(), { ...NOTHING, purgeBefore: Number.POSITIVE_INFINITY });
    await harness.open();
    put(harness, { key: deleted, version: 5, deleted: true });
    await compact(harness);
    expect(held(harness).size).toBe(0);
    await harness.close();
  });

  it('and gc_grace both must be behind a dead record, for every vnode by itself', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 12; round++) {
      const shape: Shape = {
        ...NOTHING,
        vnodes: random.pick([2, 16, 64]),
        gcGraceMs: random.pick([0, HOUR_MS]),
        dial: random.between(-10, 10),
      };
      const harness = new EngineHarness(newDisk(), shape, random);
      await harness.open();
      const nowMs = harness.clock.nowMs();
      const graceUs = shape.gcGraceMs * 1000;
      // Around the moment before which gc_grace has passed, so that both rules decide.
      const versions = (): number => nowMs * 1000 - graceUs + random.between(-1000, 1000) * 1000;
      const horizons = Array.from({ length: shape.vnodes }, () =>
        random.pick([0, versions(), versions(), Number.POSITIVE_INFINITY]),
      );
      for (const [vnode, horizon] of horizons.entries()) harness.engine.setPurgeBefore(vnode, horizon);
      const expected = new Map<string, string>();
      const either = new Set<string>();
      for (const key of ownKeys(400, shape)) {
        const version = versions();
        const mayGo = version < (horizons[vnodeOfKey(key, shape)] as number);
        const kind = random.pick(['live', 'deleted', 'expires', 'expired'] as const);
        // An older record below, which must not come back.
        if (random.chance(0.5)) put(harness, { key, version: version - 1, value: Buffer.from('old') });
        if (random.chance(0.02)) await harness.wait(harness.engine.flush());
        const diesMs = nowMs - shape.gcGraceMs + random.pick([-1, 0, 1]);
        if (kind === 'deleted') {
          put(harness, { key, version, deleted: true });
          const isOld = nowMs - version / 1000 >= shape.gcGraceMs;
          if (!isOld || !mayGo) expected.set(nameOf(key), `dead ${version}`);
        } else if (kind === 'expired' && diesMs <= nowMs) {
          put(harness, { key, version, value: Buffer.from('v'), expiresMs: diesMs });
          const isOld = nowMs - diesMs >= shape.gcGraceMs && nowMs - version / 1000 >= shape.gcGraceMs;
          // A tombstone's age counts from its version: one compaction makes the tombstone, and another may take it.
          if (mayGo && !isOld) either.add(nameOf(key));
          else if (!mayGo) expected.set(nameOf(key), `dead ${version}`);
        } else if (kind === 'live') {
          put(harness, { key, version, value: Buffer.from('v') });
          expected.set(nameOf(key), `live ${version}`);
        } else {
          put(harness, { key, version, value: Buffer.from('v'), expiresMs: nowMs + HOUR_MS });
          expected.set(nameOf(key), `expiring ${version}`);
        }
      }
      await compact(harness);
      const found = [...held(harness)].filter(([name]) => !either.has(name));
      expect(new Map(found.sort())).toEqual(new Map([...expected].sort()));
      await harness.close();
    }
  });

  /** Tables with nothing but tombstones of the first vnode, which are garbage by their age. */
  async function withGarbage(shape: Shape): Promise<EngineHarness> {
    const harness = new EngineHarness(newDisk(), { ...shape, dial: 10 });
    await harness.open();
    const keys = ownKeys(2000, shape).filter((key) => vnodeOfKey(key, shape) === 0);
    for (const [i, key] of keys.entries()) put(harness, { key, version: i + 1, deleted: true });
    await harness.wait(harness.engine.flush());
    return harness;
  }

  it('makes no table be written again and again for garbage that may not go', async () => {
    const harness = await withGarbage(NOTHING);
    await harness.settle();
    expect(harness.engine.stats().compactions).toBe(0);
    expect(held(harness).size).toBeGreaterThan(100);
    await harness.close();
  });

  it('is a reason to look at the tables when it rises', async () => {
    const harness = await withGarbage(NOTHING);
    await harness.settle();
    raiseAll(harness, 1_000_000);
    await harness.settle();
    expect(harness.engine.stats().compactions).toBe(1);
    expect(held(harness).size).toBe(0);
    await harness.close();
  });

  it('puts a table off whose garbage lies in a vnode that is behind the others', async () => {
    const harness = await withGarbage(NOTHING);
    for (let vnode = 1; vnode < NOTHING.vnodes; vnode++) harness.engine.setPurgeBefore(vnode, 1_000_000);
    await harness.settle();
    expect(harness.engine.stats().compactions).toBe(1);
    const { size } = held(harness);
    expect(size).toBeGreaterThan(100);
    // Whatever makes the engine look at its tables: nothing happens before its time.
    harness.engine.setPurgeBefore(1, 1_000_001);
    await harness.settle();
    expect(harness.engine.stats().compactions).toBe(1);
    harness.engine.setPurgeBefore(0, 1_000_000);
    harness.advance(limits.garbageRetryMs);
    harness.engine.setPurgeBefore(1, 1_000_002);
    await harness.settle();
    expect(harness.engine.stats().compactions).toBe(2);
    expect(held(harness).size).toBe(0);
    await harness.close();
  });
});
