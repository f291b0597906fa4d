import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BadRequestError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { checkChange } from '../../src/cluster/change-check.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const VNODES = 64;
const CHANGES = ['join', 'decommission', 'replace', 'reweigh', 'repair', 'drain', 'undo'];
const FIELDS = ['node', 'by', 'weight', 'rack', 'vnodes', 'seeds'];

describe(`a change of a cluster, seed ${seed},`, () => {
  it.each([
    { do: 'join', seeds: ['127.0.0.1:9080'] },
    { do: 'decommission' },
    { do: 'decommission', node: '1F3a' },
    { do: 'replace', node: '1f3a77c0', by: 'a'.repeat(32) },
    { do: 'reweigh', node: '1f3a', weight: 0 },
    { do: 'reweigh', node: '1f3a', weight: limits.ringWeightMax, rack: 'zone/rack' },
    { do: 'reweigh', node: '1f3a', rack: `${'z'.repeat(64)}/${'r'.repeat(64)}` },
    { do: 'reweigh', node: '1f3a', weight: 0.001 },
    { do: 'repair' },
    { do: 'repair', vnodes: [0, VNODES - 1] },
    { do: 'drain' },
    { do: 'undo' },
  ])('passes as it is: %j', (change) => {
    expect(checkChange(change, VNODES)).toEqual(change);
  });

  it.each([
    [{ do: 'reweigh', node: '1f3a', rack: 5 }, 'rack 5 is not RACK or ZONE/RACK'],
    [{ do: 'reweigh', node: '1f3a', rack: null }, 'rack null is not RACK'],
    [{ do: 'reweigh', node: '1f3a', rack: 'a/' }, 'rack "a/" is not RACK'],
    [{ do: 'reweigh', node: '1f3a', rack: 'r'.repeat(65) }, 'dashes and underscores, at most 64 each'],
    [{ do: 'reweigh', node: '1f3a', rack: 'a\tb\nc' }, 'of letters, digits, dots, dashes and underscores'],
    [{ do: 'reweigh', node: '1f3a', rack: 'a/b/c' }, 'is not RACK or ZONE/RACK'],
    [
      { do: 'reweigh', node: '1f3a', weight: limits.ringWeightMax + 0.001 },
      'weight 100.001 is no number from 0',
    ],
    [{ do: 'reweigh', node: '1f3a', weight: -0.001 }, 'weight -0.001'],
    [{ do: 'reweigh', node: '1f3a', weight: 1 / 3 }, 'in steps of 1/1000'],
    [{ do: 'reweigh', node: '1f3a' }, 'needs the field weight'],
    [{ do: 'repair', vnodes: Array.from({ length: VNODES + 1 }, () => 0) }, 'no array of 1 to 64 numbers'],
    [{ do: 'repair', vnodes: [VNODES] }, 'vnode 64 is no whole number from 0 to 63'],
    [{ do: 'join', seeds: ['a:1', 'nowhere'] }, '"nowhere" is no address: use host:port'],
    [{ do: 'join', seeds: ['a:0'] }, '"a:0" is no address'],
    [{ do: 'join', seeds: Array.from({ length: limits.seedsMax + 1 }, () => 'a:1') }, 'no array of 1 to 64'],
    [{ do: 'decommission', node: '1'.repeat(33) }, '4 to 32 hexadecimal digits'],
    [{ do: 'decommission', node: '3' }, 'node "3" is no id of a node: 4 to 32'],
    [{ do: 'decommission', nodes: '1' }, '"decommission" has no field "nodes": it has node'],
    [{ do: 'undo', node: '1f3a' }, '"undo" has no field "node": it has none'],
    [{ do: 'remove' }, '"remove" is no change of a cluster'],
    [{}, 'nothing is no change of a cluster'],
  ] as readonly (readonly [Record<string, unknown>, string])[])(
    'is refused for what is wrong: %j',
    (change, says) => {
      expect(() => checkChange(change, VNODES)).toThrow(BadRequestError);
      expect(() => checkChange(change, VNODES)).toThrow(says);
    },
  );

  it('names a vnode twice to the same effect as once', () => {
    expect(checkChange({ do: 'repair', vnodes: [3, 3, 5] }, VNODES)).toEqual({
      do: 'repair',
      vnodes: [3, 5],
    });
  });

  it('of whatever fields and values is taken whole, or refused for what is wrong with it', () => {
    const value = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom('1f3a', '', 'a/b', 0, 1, 101, 0.5, [1], ['a:1'], null),
    );
    const fields = fc.dictionary(fc.oneof(fc.constantFrom(...FIELDS), fc.string()), value, { maxKeys: 4 });
    const change = fc.oneof(fc.constantFrom<unknown>(...CHANGES), fc.jsonValue());
    let taken = 0;
    let refused = 0;
    fc.assert(
      fc.property(change, fields, (what, given) => {
        const asked = { ...given, do: what };
        try {
          expect(Object.keys(checkChange(asked, VNODES)).sort()).toEqual(Object.keys(asked).sort());
          taken++;
        } catch (error) {
          if (!(error instanceof BadRequestError)) throw error;
          expect(error.message.length).toBeLessThan(400);
          refused++;
        }
      }),
      { numRuns: 5000, seed },
    );
    expect([taken > 50, refused > 50]).toEqual([true, true]);
  });
});
