import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';
import { checkLinearizable, type Operation } from './linearizability.ts';

type Short = readonly [kind: Operation['kind'], value: string | null, called: number, returned: number];
const op = (
  [kind, value, called, returned]: Short,
  outcome: Operation['outcome'] = 'ok',
  expected: string | null = null,
): Operation => ({ client: 0, kind, value, expected, called, returned, outcome });
const good = (...history: Operation[]) => expect(checkLinearizable(history).linearizable).toBe(true);
const bad = (...history: Operation[]) => expect(checkLinearizable(history).linearizable).toBe(false);

describe('the checker of linearizability', () => {
  it('takes a sequence in which each read finds the last write', () => {
    good(op(['put', 'a', 1, 2]), op(['get', 'a', 3, 4]), op(['delete', null, 5, 6]), op(['get', null, 7, 8]));
  });
  it('refuses a read of an old value', () => {
    bad(op(['put', 'a', 1, 2]), op(['put', 'b', 3, 4]), op(['get', 'a', 5, 6]));
  });
  it('refuses a read that misses an acknowledged write', () => {
    bad(op(['put', 'a', 1, 2]), op(['get', null, 3, 4]));
  });
  it('lets a read beside a write find either value, and no later one go back', () => {
    const write = op(['put', 'a', 1, 10]);
    good(write, op(['get', null, 2, 3]), op(['get', 'a', 4, 5]));
    bad(write, op(['get', 'a', 2, 3]), op(['get', null, 4, 5]));
  });
  it('lets an unknown write take effect at any later time, or never, and once only', () => {
    const lost = op(['put', 'x', 1, 2], 'unknown');
    good(lost, op(['put', 'a', 3, 4]), op(['get', 'a', 5, 6]));
    good(lost, op(['put', 'a', 3, 4]), op(['get', 'x', 5, 6]), op(['get', 'x', 7, 8]));
    bad(lost, op(['put', 'a', 3, 4]), op(['get', 'x', 5, 6]), op(['get', 'a', 7, 8]));
    bad(op(['get', 'x', 1, 2]), op(['put', 'x', 3, 4], 'unknown'));
  });
  it('refuses two conditional writes that both met the same state', () => {
    const put = op(['put', 'a', 1, 2]);
    const first = op(['cas', 'b', 3, 6], 'ok', 'a');
    bad(put, first, op(['cas', 'c', 4, 7], 'ok', 'a'));
    good(put, first, op(['cas', 'c', 4, 7], 'mismatch', 'a'));
    good(put, first, op(['cas', 'c', 4, 7], 'ok', 'b'));
  });
  it('refuses a mismatch where the state was what was demanded', () => {
    bad(op(['put', 'a', 1, 2]), op(['cas', 'b', 3, 4], 'mismatch', 'a'));
    bad(op(['cas', 'b', 3, 4], 'mismatch', null));
  });
  it('knows that an unknown conditional write does nothing where its condition does not hold', () => {
    const lost = op(['cas', 'x', 3, 4], 'unknown', 'b');
    bad(op(['put', 'a', 1, 2]), lost, op(['get', 'x', 5, 6]));
    good(op(['put', 'a', 1, 2]), lost, op(['put', 'b', 5, 6]), op(['get', 'x', 7, 8]));
  });
  it('judges the condition that a key exists', () => {
    bad(op(['exists', 'b', 1, 2]));
    good(op(['exists', 'b', 1, 2], 'mismatch'), op(['put', 'a', 3, 4]), op(['exists', 'b', 5, 6]));
  });
  it('judges a history of thirty lost writes', () => {
    const lost = Array.from({ length: 30 }, (_, i) =>
      op([i % 3 === 0 ? 'delete' : 'put', i % 3 === 0 ? null : `lost${i}`, i, i + 1], 'unknown'),
    );
    good(...lost, op(['put', 'a', 40, 41]), op(['get', null, 50, 51]), op(['get', 'lost7', 52, 53]));
    bad(...lost, op(['put', 'a', 40, 41]), op(['get', 'b', 50, 51]));
    bad(...lost, op(['get', 'lost7', 50, 51]), op(['get', 'lost8', 52, 53]), op(['get', 'lost7', 54, 55]));
  });
  it('tells the longest order it found and where it stuck', () => {
    const verdict = checkLinearizable([op(['put', 'a', 1, 2]), op(['get', 'b', 3, 4])]);
    expect(verdict.longest.map(({ value }) => value)).toEqual(['a']);
    expect(verdict.stuck?.value).toBe('b');
  });

  const seed = Number(process.env.CLUSTER_SEED ?? testSeed());
  it(`takes histories of a real register and sees most of those with one wrong read (seed ${seed})`, () => {
    const random = new Random(seed);
    let refused = 0;
    for (let round = 0; round < 200; round++) {
      const history = record(random, 60);
      expect(checkLinearizable(history).linearizable).toBe(true);
      const reads = history.filter(({ kind }) => kind === 'get');
      const wrong = random.pick(reads);
      const spoilt = history.map((one) => (one === wrong ? { ...one, value: 'never written' } : one));
      expect(checkLinearizable(spoilt).linearizable).toBe(false);
      const other = random.pick(reads).value;
      const swapped = history.map((one) => (one === wrong ? { ...one, value: other } : one));
      if (!checkLinearizable(swapped).linearizable) refused++;
    }
    expect(refused).toBeGreaterThan(40);
  });
});

/** Operations with overlapping intervals, each of which takes effect at one moment within its own. */
function record(random: Random, count: number): Operation[] {
  const moments = Array.from({ length: count }, (_, index) => {
    const at = index * 10 + random.below(10);
    return { at, called: at - random.below(40), returned: at + random.below(40) };
  });
  let state: string | null = null;
  return moments.map(({ at, called, returned }, client): Operation => {
    const base = { client, called, returned, expected: null };
    const lost = random.chance(0.1);
    const kind = random.pick(['get', 'get', 'put', 'delete', 'cas'] as const);
    if (kind === 'get') return { ...base, kind, value: state, outcome: 'ok' };
    const value: string | null = kind === 'delete' ? null : `v${client}-${at}`;
    if (kind === 'cas') {
      const expected: string | null = random.chance(0.6) ? state : 'other';
      const holds = expected === state;
      if (holds && !(lost && random.chance(0.5))) state = value;
      return { ...base, kind, value, expected, outcome: lost ? 'unknown' : holds ? 'ok' : 'mismatch' };
    }
    if (!(lost && random.chance(0.5))) state = value;
    return { ...base, kind, value, outcome: lost ? 'unknown' : 'ok' };
  });
}
