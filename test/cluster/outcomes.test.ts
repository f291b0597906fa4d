import { describe, expect, it } from 'vitest';
import { CorruptionError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { KEYSPACE_OUTCOMES, keyspaceAt, valueAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { encodeRecord, originOf, versionOf, viewOf } from '../../src/cluster/coordinator-records.ts';
import {
  decodeOutcomes,
  encodeOutcomes,
  findOutcome,
  NO_OUTCOMES,
  type Outcomes,
  withFormer,
  withOutcome,
} from '../../src/cluster/outcomes.ts';

const KEY = Buffer.from('k');
const NOW = 1_770_000_000_000;
const request = (name: string, fingerprintHi = 1, fingerprintLo = 2) => ({
  idempotencyKey: Buffer.from(name),
  fingerprintHi,
  fingerprintLo,
});
const add = (outcomes: Outcomes, name: string, version: number, nowMs = NOW): Outcomes => ({
  ...outcomes,
  ...withOutcome(outcomes, request(name), Status.OK, version, nowMs),
});
const encode = (outcomes: Outcomes): Uint8Array =>
  encodeOutcomes(1, 2, KEY, { version: 9000, origin: 7 }, outcomes, NOW);

describe('the record of outcomes', () => {
  it('has the bytes of its table', () => {
    const { list } = withOutcome(NO_OUTCOMES, request('once', 0x01020304, 0x05060708), Status.OK, 5000, NOW);
    const record = encode({
      ...NO_OUTCOMES,
      former: [{ version: 4000, origin: 3 }],
      list,
      droppedVersion: 77,
    });
    expect(keyspaceAt(viewOf(record), 0)).toBe(KEYSPACE_OUTCOMES);
    expect([versionOf(record), originOf(record)]).toEqual([9000, 7]);
    const hex = Buffer.from(valueAt(viewOf(record), record, 0)).toString('hex');
    expect(hex.match(/.{16}/g)).toEqual([
      '0101010000000000',
      '4d00000000000000',
      'a00f000000000000',
      '0300000000000000',
      hex.slice(64, 80),
      '0403020108070605',
      '8813000000000000',
      hex.slice(112, 128),
      '0000000000000000',
    ]);
  });
  it('is read as it was written', () => {
    const written = add(add({ ...NO_OUTCOMES, former: [{ version: 1, origin: 2 }] }, 'a', 10), 'b', 20);
    const { former, list, droppedVersion } = written;
    expect(decodeOutcomes(encode(written))).toEqual({
      version: 9000,
      origin: 7,
      former,
      list,
      droppedVersion,
    });
  });
  it('finds an outcome by its key, until it expires', () => {
    const outcomes = add(NO_OUTCOMES, 'a', 10);
    expect(findOutcome(outcomes, Buffer.from('a'), NOW)?.version).toBe(10);
    expect(findOutcome(outcomes, Buffer.from('b'), NOW)).toBeNull();
    expect(
      findOutcome(outcomes, Buffer.from('a'), NOW + limits.idempotencyTtlMs + 1_200_000 - 1),
    ).not.toBeNull();
    expect(findOutcome(outcomes, Buffer.from('a'), NOW + limits.outcomesTtlMs)).toBeNull();
  });
  it('drops the oldest where there are too many, and remembers up to which version', () => {
    let outcomes = NO_OUTCOMES;
    for (let i = 0; i < limits.outcomesPerKeyMax + 3; i++) outcomes = add(outcomes, `n${i}`, 100 + i);
    expect(outcomes.list.length).toBe(limits.outcomesPerKeyMax);
    expect(outcomes.droppedVersion).toBe(102);
    expect(findOutcome(outcomes, Buffer.from('n2'), NOW)).toBeNull();
    expect(findOutcome(outcomes, Buffer.from('n3'), NOW)?.version).toBe(103);
  });
  it('drops expired ones without counting them', () => {
    const outcomes = add(add(NO_OUTCOMES, 'a', 10), 'b', 20, NOW + limits.outcomesTtlMs);
    expect(outcomes.list.map(({ version }) => version)).toEqual([20]);
    expect(outcomes.droppedVersion).toBe(0);
  });
  it('keeps the latest former versions', () => {
    let former: readonly { version: number; origin: number }[] = [];
    for (let i = 0; i < limits.formerVersionsMax + 2; i++)
      former = withFormer(former, { version: i, origin: 1 });
    expect(former.length).toBe(limits.formerVersionsMax);
    expect(former[0]?.version).toBe(2);
  });
  it('is refused in an unknown format or of a wrong length', () => {
    for (const value of [[2, 0, 0, 0], [], [1, 0, 1]]) {
      const bytes = new Uint8Array(16);
      bytes.set(value);
      const record = encodeRecord({
        tokenHi: 0,
        tokenLo: 0,
        keyspace: KEYSPACE_OUTCOMES,
        key: KEY,
        value: value.length === 0 ? new Uint8Array(3) : bytes,
        version: 1,
        origin: 1,
        flags: 0,
        expiresMs: 0,
      });
      expect(() => decodeOutcomes(record)).toThrow(CorruptionError);
    }
  });
});
