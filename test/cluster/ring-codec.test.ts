import { decode, encode } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { BadRequestError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import { beginJoin, beginReplace, firstRing, nextPhase } from '../../src/cluster/ring-change.ts';
import { decodeRing, encodeRing } from '../../src/cluster/ring-codec.ts';
import { checkRingMessage } from '../../src/cluster/ring-message-check.ts';
import { testSeed } from '../seed.ts';
import { memberOf, ringOf, shapeOf } from './ring-fixtures.ts';

describe('an encoded ring', () => {
  it('comes back as it was, changes included', () => {
    const ring = ringOf(5, 256, 3);
    const copying = beginJoin(ring, memberOf(4_000_000_000, { weight: 0.125, zone: 'zürich' }));
    for (const one of [ring, copying, nextPhase(copying), beginReplace(ring, 2, memberOf(9))])
      expect(decodeRing(encodeRing(one))).toEqual(one);
  });

  it('has these bytes', () => {
    const ring = beginJoin(firstRing({ ...shapeOf(2), clusterName: 'c' }, [memberOf(1)]), memberOf(2));
    expect(Buffer.from(encodeRing(ring)).toString('hex')).toMatchInlineSnapshot(
      `"b90009617601616e02646e616d65616362696478203031323334353637383961626364656630313233343536373839616263646566617102617203616d818701782030303030303030316161616161616161616161616161616161616161616161616b3132372e302e302e313a3260647261636b601903e8616f4400000000616386646a6f696e020067636f7079696e67828701782030303030303030316161616161616161616161616161616161616161616161616b3132372e302e302e313a3260647261636b601903e88702782030303030303030326161616161616161616161616161616161616161616161616b3132372e302e302e313a3360647261636b601903e84400000100"`,
    );
  });

  it('is refused with the reason where a field is wrong', () => {
    const good = encodeRing(beginJoin(ringOf(3, 16), memberOf(4)));
    const wrong = (change: (fields: Record<string, unknown>) => void): (() => unknown) => {
      const fields = decode(good) as Record<string, unknown>;
      change(fields);
      return () => decodeRing(encode(fields));
    };
    expect(wrong((f) => (f.v = 2))).toThrow('format 2');
    expect(wrong((f) => (f.q = 24))).toThrow('24 vnodes: no power of two');
    expect(wrong((f) => (f.q = 131_072))).toThrow('vnodes 131072');
    expect(wrong((f) => (f.r = 0))).toThrow('replicas 0');
    expect(wrong((f) => (f.n = 1.5))).toThrow('number 1.5');
    expect(wrong((f) => (f.id = 'xyz'))).toThrow('cluster id xyz');
    expect(wrong((f) => (f.name = 'n'.repeat(300)))).toThrow('cluster name of 300 bytes');
    expect(wrong((f) => (f.m = []))).toThrow('members of a ring');
    expect(wrong((f) => (f.o = new Uint8Array(30)))).toThrow('owners of a ring are not 32 bytes');
    expect(wrong((f) => (f.o = new Uint8Array(32).fill(9)))).toThrow('vnode 0 is owned by member 2313 of 3');
    expect(wrong((f) => (f.m = [...(f.m as unknown[]), (f.m as unknown[])[0]]))).toThrow(
      'node 1 is in a ring twice',
    );
    expect(wrong((f) => (((f.m as unknown[][])[0] as unknown[])[0] = 7))).toThrow(
      'node 7 is not the first 8 digits',
    );
    expect(wrong((f) => (((f.m as unknown[][])[0] as unknown[])[6] = 1e9))).toThrow('weight in thousandths');
    expect(wrong((f) => ((f.c as unknown[])[0] = 'grow'))).toThrow('kind grow');
    expect(wrong((f) => ((f.c as unknown[])[3] = 'done'))).toThrow('phase done');
    expect(wrong((f) => (f.c = [1]))).toThrow('a change of a ring');
    expect(() => decodeRing(new Uint8Array(9 * 1024 * 1024))).toThrow('the limit is 8388608');
  });

  it('that is damaged is refused or is another ring, and breaks nothing', () => {
    const seed = testSeed();
    console.log(`damaged rings: seed ${seed}`);
    const random = new Random(seed);
    const good = encodeRing(beginJoin(ringOf(3, 16), memberOf(4)));
    let refused = 0;
    for (let run = 0; run < 3000; run++) {
      const bytes = good.slice(0, random.chance(0.2) ? random.below(good.length) : good.length);
      for (let i = random.between(1, 4); i > 0; i--) bytes[random.below(bytes.length)] = random.below(256);
      try {
        decodeRing(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(BadRequestError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });
});

describe('a message about the ring', () => {
  const ballot = { round: 3, node: 7 };
  const ring = encodeRing(ringOf(2, 16));
  it.each([
    { kind: 'ring-prepare', slot: 2, ballot },
    { kind: 'ring-promise', slot: 2, ballot, acceptedAt: { round: 0, node: 0 }, ring: null },
    { kind: 'ring-promise', slot: 2, ballot, acceptedAt: ballot, ring },
    { kind: 'ring-accept', slot: 2, ballot, ring },
    { kind: 'ring-accepted', slot: 2, ballot },
    { kind: 'ring-refused', slot: 2, ballot, promised: ballot },
    { kind: 'ring-decided', ring },
    { kind: 'ring-fetch', have: 0 },
    { kind: 'topology-request', id: 5, operation: { op: 'join', member: memberOf(3) } },
    { kind: 'topology-request', id: 5, operation: { op: 'leave', node: 3 } },
    { kind: 'topology-request', id: 5, operation: { op: 'replace', node: 3, member: memberOf(4) } },
    { kind: 'topology-request', id: 5, operation: { op: 'reweigh', member: memberOf(4, { weight: 2 }) } },
    { kind: 'topology-request', id: 5, operation: { op: 'drain', node: 3 } },
    { kind: 'topology-request', id: 5, operation: { op: 'undo' } },
    { kind: 'topology-answer', id: 5, error: '', warnings: ['careful'] },
  ])('of kind $kind passes through CBOR', (message) => {
    expect(checkRingMessage(decode(encode(message)))).toEqual(message);
  });

  it.each([
    [null, 'no map'],
    [{ kind: 'x' }, 'x is no kind'],
    [{ kind: 'ring-prepare', slot: 0, ballot }, 'slot 0'],
    [{ kind: 'ring-prepare', slot: 1, ballot: { round: 2 ** 50, node: 1 } }, 'ballot.round'],
    [{ kind: 'ring-prepare', slot: 1, ballot: { round: 1, node: 0 } }, 'ballot.node 0'],
    [{ kind: 'ring-accept', slot: 1, ballot, ring: 'bytes' }, 'ring of a message'],
    [{ kind: 'ring-fetch', have: -1 }, 'have -1'],
    [{ kind: 'topology-request', id: 1, operation: { op: 'burn' } }, 'burn is no operation'],
    [{ kind: 'topology-request', id: 1, operation: { op: 'leave', node: 'a' } }, 'node a'],
    [{ kind: 'topology-request', id: 1, operation: { op: 'join', member: {} } }, 'weight undefined'],
    [{ kind: 'topology-answer', id: 1, error: '', warnings: new Array(99).fill('') }, 'up to 16'],
  ])('such as %o is refused', (message, reason) => {
    expect(() => checkRingMessage(message)).toThrow(reason);
  });
});
