import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import {
  KEYSPACE_IDEMPOTENCY,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
} from '../../src/base/record.ts';
import { ShownVersions } from '../../src/shard/shown-versions.ts';
import { encode, recordOf, viewOf } from '../cluster/records.ts';
import { testSeed } from '../seed.ts';
import { START_MS } from './replica-store-harness.ts';

const seed = testSeed();
const KEPT_MS = limits.shownVersionsKeptMs;
const NOW_US = START_MS * 1000;

const viewAt = (key: string, version: number, keyspace = KEYSPACE_USER): DataView =>
  viewOf(recordOf({ key, version, keyspace }));
const promiseOf = (key: string, version: number) => {
  const bytes = recordOf({ key, version, keyspace: KEYSPACE_PROMISES });
  return { bytes, view: viewOf(bytes), seq: 1 };
};

function newShown(isRestart = false) {
  const clock = new ManualClock(START_MS);
  const shown = new ShownVersions(clock, isRestart);
  const copy = (key: string, version: number, keyspace = KEYSPACE_USER): void =>
    shown.onCopy(viewAt(key, version, keyspace));
  /** That nobody was shown it. */
  const isHidden = (key: string, version: number): boolean => !shown.mayBeShown(viewAt(key, version), null);
  return { clock, shown, copy, isHidden };
}

describe(`what a replica remembers of copies (seed ${seed})`, () => {
  it('is remembered for as long as a write may take at least, and forgotten after twice that, in whatever steps time passes', () => {
    expect(KEPT_MS).toBeGreaterThan(limits.requestTimeoutMsMax);
    for (let round = 0; round < 30; round++) {
      const random = new Random(seed + round);
      const { clock, copy, isHidden } = newShown();
      const stepMax = random.pick([100, 700, 5000]);
      let passed = 0;
      const step = (): void => {
        const ms = random.between(1, stepMax);
        clock.advanceMs(ms);
        passed += ms;
        // A wall clock that is set has no say in how long that is.
        if (random.chance(0.05)) clock.jumpMs(random.between(-1_000_000, 1_000_000));
      };
      const before = random.between(0, 3 * KEPT_MS);
      while (passed < before) {
        step();
        isHidden('other', NOW_US);
      }
      const was = clock.nowMs() * 1000;
      copy('a', was);
      passed = 0;
      for (;;) {
        const hidden = isHidden('a', was);
        const label = `round ${round}, ${passed} ms after the copy, in steps of up to ${stepMax}`;
        if (passed < KEPT_MS) expect(hidden, label).toBe(false);
        // A period ends with the first call after it.
        if (passed >= 2 * (KEPT_MS + stepMax)) expect(hidden, label).toBe(true);
        if (hidden) break;
        step();
      }
    }
  });

  it('is remembered by the copy that came last, where one came again', () => {
    const { clock, copy, isHidden } = newShown();
    for (let i = 0; i < 10; i++) {
      copy('a', NOW_US);
      clock.advanceMs(KEPT_MS - 1);
      expect(isHidden('a', NOW_US)).toBe(false);
    }
  });

  it('is not forgotten by one long stop, though minutes pass without a call', () => {
    for (const stopMs of [KEPT_MS, 2 * KEPT_MS, 10 * 60_000]) {
      const { clock, copy, isHidden } = newShown();
      clock.advanceMs(KEPT_MS / 2);
      copy('a', NOW_US);
      clock.advanceMs(stopMs);
      // What came in before the stop, and is looked at after it.
      expect(isHidden('a', NOW_US)).toBe(false);
      clock.advanceMs(KEPT_MS - 1);
      expect(isHidden('a', NOW_US)).toBe(false);
      clock.advanceMs(1);
      expect(isHidden('a', NOW_US)).toBe(true);
    }
  });

  it('is of one key and one version: others are taken for it in less than one of a hundred cases', () => {
    const random = new Random(seed);
    const { copy, isHidden } = newShown();
    const entries: { key: string; version: number }[] = [];
    const copied = new Set<string>();
    for (let i = 0; i < 1000; i++) {
      // Some keys have many, close together, as nodes give them for a key that changes often.
      const key = random.chance(0.5) ? `hot-${random.below(3)}` : `key-${i}`;
      const version = NOW_US + random.below(100_000) * limits.versionSlots;
      entries.push({ key, version });
      copied.add(`${key} ${version}`);
      copy(key, version);
    }
    for (const { key, version } of entries) expect(isHidden(key, version), `${key} ${version}`).toBe(false);
    const others = {
      'another version of the key, a slot or a few beside it': (key: string, version: number) => ({
        key,
        version: version + random.pick([-1, 1]) * random.between(1, 3 * limits.versionSlots),
      }),
      'another version of the key, of any time': (key: string) => ({
        key,
        version: NOW_US - random.below(2 ** 32) * random.between(1, 4),
      }),
      'the same version of another key': (key: string, version: number) => ({
        key: `${key}-${random.uint32()}`,
        version,
      }),
      'anything else': () => ({ key: `${random.uint32()}`, version: NOW_US + random.uint32() }),
    };
    for (const [name, otherOf] of Object.entries(others)) {
      let asked = 0;
      let wrong = 0;
      for (let round = 0; round < 5; round++)
        for (const entry of entries) {
          const { key, version } = otherOf(entry.key, entry.version);
          if (copied.has(`${key} ${version}`)) continue;
          asked++;
          if (!isHidden(key, version)) wrong++;
        }
      expect(asked, name).toBeGreaterThan(4000);
      expect(wrong / asked, `${name} (seed ${seed})`).toBeLessThan(0.01);
    }
  });

  it('tells apart what has a word of the token or of the version in common', () => {
    const random = new Random(seed);
    const { shown } = newShown();
    const viewOfToken = (tokenHi: number, tokenLo: number, version = NOW_US): DataView => {
      const key = Buffer.from('a');
      const fields = { tokenHi, tokenLo, keyspace: KEYSPACE_USER, key, value: new Uint8Array(0), origin: 1 };
      return viewOf(encode({ ...fields, version, flags: 0, expiresMs: 0 }));
    };
    let wrong = 0;
    for (let i = 0; i < 1000; i++) {
      const [hi, lo] = [random.uint32(), random.uint32()];
      shown.onCopy(viewOfToken(hi, lo));
      const other = 1 + random.below(0xffff_ffff);
      for (const view of [
        viewOfToken((hi ^ other) >>> 0, lo),
        viewOfToken(hi, (lo ^ other) >>> 0),
        viewOfToken(hi, lo, NOW_US - 2 ** 32 * random.between(1, 1000)),
        viewOfToken(hi, lo, NOW_US + random.between(1, 1000)),
      ])
        if (shown.mayBeShown(view, null)) wrong++;
      expect(shown.mayBeShown(viewOfToken(hi, lo), null)).toBe(true);
    }
    expect(wrong).toBeLessThan(40);
  });

  it('is one by one nothing that is older than every write that may be under way: nothing is known of any so old', () => {
    const { clock, copy, isHidden } = newShown();
    const oldest = NOW_US - limits.peerClockDriftUsMax - 2 * KEPT_MS * 1000;
    expect(isHidden('a', oldest - 1)).toBe(true);
    copy('a', oldest);
    expect([isHidden('a', oldest), isHidden('b', oldest), isHidden('a', oldest - 1)]).toEqual([
      false,
      true,
      true,
    ]);
    copy('b', oldest - 2);
    copy('b', oldest - 9);
    expect([isHidden('a', oldest - 1), isHidden('a', oldest - 2), isHidden('c', oldest - 3)]).toEqual([
      true,
      false,
      false,
    ]);
    // For good, and whatever the clock is set to: by how much it was ahead when the copy came, nobody knows.
    clock.advanceMs(10 * KEPT_MS);
    clock.jumpMs(-1_000_000);
    expect([isHidden('a', oldest - 1), isHidden('a', oldest - 2)]).toEqual([true, false]);
    // One that is ahead by what is allowed, and by more.
    for (const version of [NOW_US + limits.peerClockDriftUsMax, NOW_US + 2 * limits.peerClockDriftUsMax]) {
      copy('a', version);
      expect(isHidden('a', version)).toBe(false);
    }
  });

  it('is nothing of other keyspaces', () => {
    const { copy, isHidden } = newShown();
    for (const keyspace of [KEYSPACE_PROMISES, KEYSPACE_OUTCOMES, KEYSPACE_IDEMPOTENCY])
      copy('a', NOW_US, keyspace);
    expect(isHidden('a', NOW_US)).toBe(true);
    copy('a', NOW_US);
    expect(isHidden('a', NOW_US)).toBe(false);
  });
});

describe('a shard that was restarted', () => {
  it('knows of no version that it is hidden for as long as a copy is remembered, and then of all', () => {
    const { clock, isHidden } = newShown(true);
    for (let ms = 0; ms < KEPT_MS; ms += KEPT_MS / 8) {
      expect(isHidden('a', NOW_US), `${ms} ms after its start`).toBe(false);
      clock.jumpMs(KEPT_MS);
      clock.advanceMs(KEPT_MS / 8 - 1);
      expect(isHidden('b', NOW_US)).toBe(false);
      clock.advanceMs(1);
    }
    expect(isHidden('a', NOW_US)).toBe(true);
    clock.jumpMs(-1_000_000);
    expect(isHidden('a', NOW_US)).toBe(true);
  });
  it('remembers what it is told from then on as any other does', () => {
    const { clock, copy, isHidden } = newShown(true);
    clock.advanceMs(KEPT_MS - 1);
    copy('a', NOW_US);
    clock.advanceMs(1);
    expect([isHidden('a', NOW_US), isHidden('b', NOW_US)]).toEqual([false, true]);
  });
  it('knows at once in its first life', () => {
    expect(newShown().isHidden('a', NOW_US)).toBe(true);
  });
});

describe('a promise of the key', () => {
  it('at the version or above it may have shown it; one below it has not', () => {
    const { shown } = newShown();
    const mayBeShown = (version: number): boolean =>
      shown.mayBeShown(viewAt('a', NOW_US), promiseOf('a', version));
    expect([NOW_US - 1, NOW_US, NOW_US + 1, NOW_US + 2_000_000].map(mayBeShown)).toEqual([
      false,
      true,
      true,
      true,
    ]);
  });
});
