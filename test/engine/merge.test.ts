import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { FLAG_TOMBSTONE, flagsAt, keyAt, recordBytesAt, versionAt } from '../../src/base/record.ts';
import { MergeCursor } from '../../src/engine/merge-cursor.ts';
import { OutsideSources } from '../../src/engine/merge-outside.ts';
import { FATE_BURY, FATE_DROP, FATE_KEEP, MergeRules } from '../../src/engine/merge-rules.ts';
import { formRuns } from '../../src/engine/merge-run.ts';
import { compareTokens, rangesOverlap } from '../../src/engine/token-range.ts';
import type { RecordCursor } from '../../src/ipc/contract.ts';
import { testSeed } from '../seed.ts';
import {
  ALL_TOKENS,
  type Encoded,
  encoded,
  GRACE_MS,
  imageOf,
  inOrder,
  nameAt,
  newestOf,
  newHarness,
  recordOf,
  START_MS,
  type Write,
} from './job-harness.ts';

const seed = testSeed();

class ListCursor implements RecordCursor {
  readonly #records: readonly Encoded[];
  #at = 0;
  constructor(records: readonly Encoded[]) {
    this.#records = records;
  }
  get valid(): boolean {
    return this.#at < this.#records.length;
  }
  get bytes(): Uint8Array {
    return (this.#records[this.#at] as Encoded).bytes;
  }
  get view(): DataView {
    return (this.#records[this.#at] as Encoded).view;
  }
  readonly offset = 0;
  next(): void {
    this.#at++;
  }
}
/** One record a key, in order: what a table may hold. */
const sourceOf = (records: readonly Encoded[]): Encoded[] => inOrder(newestOf(records).values());
function drain(cursor: RecordCursor): Encoded[] {
  const out: Encoded[] = [];
  for (; cursor.valid; cursor.next()) {
    const { bytes, view, offset } = cursor;
    const copy = bytes.slice(offset, offset + recordBytesAt(view, offset));
    out.push({ bytes: copy, view: new DataView(copy.buffer) });
  }
  return out;
}
function randomRecord(random: Random): Encoded {
  return encoded(
    recordOf({
      key: `k${random.below(40)}`,
      value: random.chance(0.2) ? null : `v${random.below(3)}`,
      version: random.between(1, 30),
      origin: random.between(1, 2),
      keyspace: random.below(2),
      ...(random.chance(0.2) ? { expiresMs: random.between(1, 3) } : {}),
      // Many keys under few tokens, so that the order of keys counts.
      tokenHi: random.below(3),
    }),
  );
}

describe(`the merge cursor (seed ${seed})`, () => {
  it('gives each key once, the newest record by age, in order, from any number of sources', () => {
    const random = new Random(seed);
    for (let round = 0; round < 400; round++) {
      const sources = Array.from({ length: random.below(12) }, () =>
        sourceOf(Array.from({ length: random.below(40) }, () => randomRecord(random))),
      );
      const all = sources.flat();
      const cursor = new MergeCursor(sources.map((records) => new ListCursor(records)));
      const expected = imageOf(inOrder(newestOf(all).values()));
      expect(imageOf(drain(cursor)), `seed ${seed} round ${round}`).toBe(expected);
      expect(cursor.passed).toBe(all.length);
    }
  });

  it('takes the higher version from an older source too', () => {
    const newer = sourceOf([encoded(recordOf({ key: 'a', value: 'old', version: 5 }))]);
    const older = sourceOf([encoded(recordOf({ key: 'a', value: 'new', version: 9 }))]);
    for (const sources of [
      [newer, older],
      [older, newer],
    ]) {
      const cursor = new MergeCursor(sources.map((records) => new ListCursor(records)));
      expect(versionAt(cursor.view, cursor.offset)).toBe(9);
      cursor.next();
      expect(cursor.valid).toBe(false);
    }
  });
});

describe('sources outside', () => {
  it('give the lowest version of those that cover a token, in one sweep', () => {
    const random = new Random(seed);
    for (let round = 0; round < 200; round++) {
      const sources = Array.from({ length: random.below(20) }, () => {
        const [a, b] = [random.below(50), random.below(50)];
        return {
          firstHi: Math.min(a, b),
          firstLo: 5,
          lastHi: Math.max(a, b),
          lastLo: 5 + random.below(5),
          versionMin: random.between(1, 100),
        };
      });
      const sweep = new OutsideSources(sources);
      for (let hi = 0; hi < 50; hi++)
        for (const lo of [0, 4, 5, 7, 9, 10]) {
          if (random.chance(0.5)) continue;
          const covering = sources.filter(
            (one) =>
              compareTokens(one.firstHi, one.firstLo, hi, lo) <= 0 &&
              compareTokens(hi, lo, one.lastHi, one.lastLo) <= 0,
          );
          const expected = Math.min(...covering.map(({ versionMin }) => versionMin));
          expect(sweep.versionMinAt(hi, lo), `seed ${seed} round ${round} token ${hi}/${lo}`).toBe(expected);
        }
    }
  });
});

describe('runs of tables', () => {
  it('do not overlap, hold each table once, and are as few as overlap', () => {
    const random = new Random(seed);
    const harness = newHarness();
    const meta = harness.tableOf({ key: 'a', value: '', version: 1 });
    for (let round = 0; round < 200; round++) {
      const tables = Array.from({ length: random.below(30) }, (_, number) => {
        const [a, b] = [random.below(40), random.below(40)];
        const range = { firstHi: Math.min(a, b), firstLo: 0, lastHi: Math.max(a, b), lastLo: 0 };
        return { ...meta, number, range };
      });
      const runs = formRuns(tables);
      expect(
        runs
          .flat()
          .map(({ number }) => number)
          .sort((a, b) => a - b),
      ).toEqual(tables.map(({ number }) => number));
      for (const run of runs)
        for (const [i, table] of run.entries())
          for (const other of run.slice(i + 1)) expect(rangesOverlap(table.range, other.range)).toBe(false);
      const depth = Array.from(
        { length: 40 },
        (_, hi) => tables.filter(({ range }) => range.firstHi <= hi && hi <= range.lastHi).length,
      );
      expect(runs.length, `seed ${seed} round ${round}`).toBe(Math.max(0, ...depth));
    }
  });
});

describe('the fate of the newest record of a key', () => {
  const nowMs = START_MS;
  const us = (ms: number): number => ms * 1000;
  const job = {
    nowMs,
    gcGraceMs: GRACE_MS,
    ownership: { vnodes: 16, shards: 1, shard: 0 },
    outside: [] as { firstHi: number; firstLo: number; lastHi: number; lastLo: number; versionMin: number }[],
  };
  const fateOf = (write: Write, others: Partial<typeof job> = {}): number => {
    const { view, bytes } = encoded(recordOf(write));
    return new MergeRules({ ...job, ...others }).fateOf(view, bytes, 0);
  };
  const old = us(nowMs - GRACE_MS);

  it('is to stay while it is live', () => {
    expect(fateOf({ key: 'a', value: 'v', version: 1 })).toBe(FATE_KEEP);
    expect(fateOf({ key: 'a', value: 'v', version: 1, expiresMs: nowMs + 1 })).toBe(FATE_KEEP);
  });
  it('is to go as a tombstone at gc_grace, not a millisecond before', () => {
    expect(fateOf({ key: 'a', value: null, version: old })).toBe(FATE_DROP);
    expect(fateOf({ key: 'a', value: null, version: old + 1000 })).toBe(FATE_KEEP);
  });
  it('is to stay as a tombstone while a source outside may hold what it hides', () => {
    const outside = (versionMin: number) => ({ outside: [{ ...ALL_TOKENS, versionMin }] });
    const write = { key: 'a', value: null, version: old };
    expect(fateOf(write, outside(old - 1))).toBe(FATE_KEEP);
    expect(fateOf(write, outside(old))).toBe(FATE_KEEP);
    expect(fateOf(write, outside(old + 1))).toBe(FATE_DROP);
    const { tokenHi } = recordOf(write);
    const beside = [{ ...ALL_TOKENS, firstHi: tokenHi + 1, versionMin: 1 }];
    expect(fateOf(write, { outside: beside })).toBe(FATE_DROP);
  });
  it('is to become a tombstone when it has expired, and to go gc_grace after its expiry', () => {
    const write = { key: 'a', value: 'v', version: 1 };
    expect(fateOf({ ...write, expiresMs: nowMs })).toBe(FATE_BURY);
    expect(fateOf({ ...write, expiresMs: nowMs - GRACE_MS + 1 })).toBe(FATE_BURY);
    expect(fateOf({ ...write, expiresMs: nowMs - GRACE_MS })).toBe(FATE_DROP);
    const outside = [{ ...ALL_TOKENS, versionMin: 1 }];
    expect(fateOf({ ...write, expiresMs: nowMs - GRACE_MS }, { outside })).toBe(FATE_BURY);
  });
  it('is to go at once as an idempotency outcome that has expired', () => {
    const write = { key: 'a', value: 'v', version: 1, keyspace: 1 };
    const outside = [{ ...ALL_TOKENS, versionMin: 0 }];
    expect(fateOf({ ...write, expiresMs: nowMs }, { outside })).toBe(FATE_DROP);
    expect(fateOf({ ...write, expiresMs: nowMs + 1 }, { outside })).toBe(FATE_KEEP);
  });
  it('is to go where its vnode belongs to another shard', () => {
    const ownership = { vnodes: 2, shards: 2, shard: 1 };
    expect(fateOf({ key: 'a', value: 'v', version: 1, tokenHi: 0x7fff_ffff }, { ownership })).toBe(FATE_DROP);
    expect(fateOf({ key: 'a', value: 'v', version: 1, tokenHi: 0x8000_0000 }, { ownership })).toBe(FATE_KEEP);
  });
  it('leaves a tombstone with the version, origin, keyspace and key of what expired', () => {
    const write = { key: 'a key', value: 'v'.repeat(99), version: 77, origin: 9 };
    const rules = new MergeRules(job);
    // Twice, the longer key first: nothing of it may be left behind.
    const longer = encoded(recordOf({ ...write, key: `${'x'.repeat(500)}`, expiresMs: nowMs - 1 }));
    expect(rules.fateOf(longer.view, longer.bytes, 0)).toBe(FATE_BURY);
    const { view, bytes } = encoded(recordOf({ ...write, expiresMs: nowMs - 1 }));
    expect(rules.fateOf(view, bytes, 0)).toBe(FATE_BURY);
    const expected = encoded(recordOf({ ...write, value: null }));
    const size = recordBytesAt(rules.tombstoneView, 0);
    expect(rules.tombstone.slice(0, size)).toEqual(expected.bytes);
    expect(flagsAt(rules.tombstoneView, 0)).toBe(FLAG_TOMBSTONE);
    expect(nameAt({ view: rules.tombstoneView, bytes: rules.tombstone })).toBe(nameAt(expected));
    expect(Buffer.from(keyAt(rules.tombstoneView, rules.tombstone, 0)).toString()).toBe('a key');
  });
});
