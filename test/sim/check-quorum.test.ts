import { describe, expect, it } from 'vitest';
import { Status } from '../../src/base/status.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import { NOTHING_WRITTEN } from '../../src/cluster/coordinator-errors.ts';
import { Condition } from '../../src/shard/contract.ts';
import { checkQuorum } from './check-quorum.ts';
import { History, type Operation, type Seen } from './history.ts';

const seen = (value: string, version: number): Seen => ({ value, version, expiresMs: 0 });

/** One after another, each 10 us long, but for what `changes` say. */
function broken(...changes: readonly Partial<Operation>[]): string[] {
  const history = new History();
  for (const [index, change] of changes.entries())
    history.add({
      ...{ id: index + 1, client: 1, node: 'n1', kind: 'put', key: 'k', consistency: Consistency.QUORUM },
      ...{ sloppyAllowed: undefined, condition: Condition.NONE, expected: null, idempotencyKey: '' },
      ...{ value: null, expiresMs: 0, invokedUs: index * 20, dueUs: index * 20 + 10, invokedMs: 0 },
      ...{ endedUs: index * 20 + 10, endedMs: 0, status: Status.OK, version: 0, sloppy: false },
      ...{ found: null, page: new Map(), message: '' },
      ...change,
    });
  return checkQuorum(history, 0).map(({ promise }) => promise);
}

const REFUSED = 'e: nothing is found whose client was told that it was not written';
const PASSED = 'c: no conditional write passes over what a QUORUM read found';
const first = { value: 'a', version: 10 };
const finds = (value: string, version: number): Partial<Operation> => ({
  kind: 'get',
  found: seen(value, version),
});
const conditional = {
  consistency: Consistency.SERIAL,
  condition: Condition.VERSION,
  expected: seen('a', 10),
} as const;

describe('the check of what reads at QUORUM find', () => {
  const refused = { ...conditional, value: 'b', status: Status.VERSION_MISMATCH, version: 30 };

  it('reports a value whose conditional write was refused', () => {
    expect(broken(first, refused, finds('b', 20))).toEqual([REFUSED]);
  });
  it('reports a value of a write that failed with the word that nothing was written', () => {
    const status = Status.UNAVAILABLE;
    const failed = { value: 'b', status, message: `too few replicas are up${NOTHING_WRITTEN}` };
    expect(broken(first, failed, finds('b', 20))).toEqual([REFUSED]);
  });
  it('reports it also where an earlier attempt under the same idempotency key was told nothing', () => {
    const attempt = { ...conditional, value: 'b', idempotencyKey: 'once' };
    const unknown = { ...attempt, status: Status.TIMEOUT };
    const repeat = { ...attempt, status: Status.VERSION_MISMATCH };
    expect(broken(first, unknown, finds('b', 20), repeat)).toEqual([REFUSED]);
  });
  it('takes a value of a write whose outcome is unknown, and one that a read at ONE finds', () => {
    const status = Status.TIMEOUT;
    expect(broken(first, { ...conditional, value: 'b', status }, finds('b', 20))).toEqual([]);
    expect(broken(first, refused, { ...finds('b', 20), consistency: Consistency.ONE })).toEqual([]);
  });
});

describe('the check of what conditional writes pass over', () => {
  const unknown = { value: 'b', status: Status.TIMEOUT };

  it('reports what a read found between the record that was demanded and the write', () => {
    expect(broken(first, unknown, finds('b', 20), { ...conditional, value: 'c', version: 30 })).toEqual([
      PASSED,
    ]);
  });
  it('takes what was found before the demanded record, after the write, and the demanded value itself', () => {
    const write = { ...conditional, value: 'c', version: 15 };
    expect(broken(first, unknown, write, finds('b', 20))).toEqual([]);
    expect(broken(first, finds('a', 12), write)).toEqual([]);
    expect(broken(first, unknown, write, { ...finds('b', 12), consistency: Consistency.ONE })).toEqual([]);
  });
});
