import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Encoder } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { POOL_BYTES } from '../../src/base/bytes.ts';
import { KiB, limits, MiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { recordFault } from '../../src/base/record.ts';
import { decodePlain, encodePlain, MessageError, type Plain } from '../../src/cluster/message-bytes.ts';
import { decodeMessage } from '../../src/cluster/message-decode.ts';
import { Kind } from '../../src/cluster/message-kinds.ts';
import * as m from '../../src/cluster/messages.ts';
import { monotonic } from '../base/clocks.ts';
import { testSeed } from '../seed.ts';
import { envelope, NOW_MS, read, recordOf, samples, write } from './message-samples.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bare = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, one) =>
      one instanceof Uint8Array ? hex(one) : one?.type === 'Buffer' ? hex(Buffer.from(one.data)) : one,
    ),
  );
const decode = (bytes: Uint8Array): unknown => bare(decodeMessage(bytes, NOW_MS));
/** Every byte string in a decoded message. */
function* bytesIn(value: unknown): Generator<Uint8Array> {
  if (value instanceof Uint8Array) yield value;
  else if (typeof value === 'object' && value !== null)
    for (const one of Object.values(value)) yield* bytesIn(one);
}

describe('a message', () => {
  it.each(samples)('%s reads back as it was written', (_, bytes, decoded) => {
    expect(decode(bytes)).toEqual(bare(decoded));
  });

  it.each(samples)('%s has the bytes that the documentation shows', (name, bytes) => {
    const text = readFileSync(join(import.meta.dirname, '../../docs/peer-protocol.md'), 'utf8');
    const vectors = new Map(
      [...text.matchAll(/^\| ([a-z ]+) \| `([0-9a-f]+)` \|$/gm)].map((row) => [row[1], row[2]]),
    );
    expect(vectors.get(name)).toBe(hex(bytes));
  });

  it('is told what time its deadline is by the clock of the receiver', () => {
    const late = decodeMessage(m.encodeRead(envelope, read), monotonic(7000.25));
    expect(late).toMatchObject({ request: { deadlineMs: 7500.25 } });
  });

  it('owns its bytes: the next one is not written over it', () => {
    const first = m.encodeRead(envelope, read);
    const before = hex(first);
    for (let i = 0; i < 200; i++) m.encodeWrite({ ...envelope, id: i }, write);
    expect(hex(first)).toBe(before);
  });

  it('of any size owns no more memory than its own and 4 KiB, or a pool, also after the longest', () => {
    const record = recordOf('k', 'v'.repeat(8 * MiB), 1);
    const long = m.encodeWrite(envelope, { ...write, record });
    expect(long.buffer.byteLength).toBeLessThan(long.length + 4 * KiB);
    const head = hex(long.subarray(0, 200));
    expect(decodeMessage(long, NOW_MS)).toMatchObject({ request: { record: { length: record.length } } });
    for (const value of ['', 'v'.repeat(2 * KiB), 'v'.repeat(70 * KiB), 'v'.repeat(300 * KiB)]) {
      const bytes = m.encodeWrite(envelope, { ...write, record: recordOf('k', value, 1) });
      expect(bytes.buffer.byteLength).toBeLessThanOrEqual(Math.max(POOL_BYTES, bytes.length + 4 * KiB));
    }
    expect(hex(long.subarray(0, 200))).toBe(head);
  });

  it('of any plain value has the bytes that a library for CBOR gives it', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const library = new Encoder({ useRecords: false, tagUint8Array: false, variableMapSize: true });
    const edges = [0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER];
    const texts = ['', 'a', 'é'.repeat(12), '語'.repeat(86), '\u{1f600}'.repeat(20), 'x'.repeat(70_000)];
    const lengths = [0, 1, 23, 24, 255, 256, 2100, 65_535, 65_536];
    const pick = <T>(of: readonly T[]): T => of[random.below(of.length)] as T;
    const many = <T>(make: () => T): T[] => Array.from({ length: pick([0, 1, 3, 23, 24, 300]) }, make);
    const plain = (depth: number): Plain => {
      switch (random.below(depth > 3 ? 6 : 8)) {
        case 0:
          return pick([null, true, false]);
        case 1:
          return pick(edges);
        case 2:
          return -1 - pick(edges);
        case 3:
          return pick([0.5, -1e300, Number.POSITIVE_INFINITY, Number.NaN, random.below(2 ** 32) / 7]);
        case 4:
          return pick(texts);
        case 5:
          return Uint8Array.from({ length: pick(lengths) }, (_, i) => i);
        case 6:
          return depth === 0 ? many(() => plain(3)) : Array.from({ length: 3 }, () => plain(depth + 1));
        default:
          return Object.fromEntries(
            (depth === 0 ? many : (make: () => [string, Plain]) => [make(), make()])((): [string, Plain] => [
              `${random.below(2 ** 32)}${pick(['', 'é', 'n'.repeat(30)])}`,
              plain(depth + 1),
            ]),
          );
      }
    };
    for (let i = 0; i < 300; i++) {
      const value = plain(0);
      const [ours, theirs] = [encodePlain(value), library.encode(value)];
      if (Buffer.compare(ours, theirs) !== 0)
        expect.fail(
          `seed ${seed}, value ${i}: ${hex(ours.subarray(0, 200))}, not ${hex(theirs.subarray(0, 200))}`,
        );
    }
  });

  it('beyond the limit is refused by its encoder, before anything is sent', () => {
    expect(() => m.encodeGossip(new Uint8Array(limits.peerMessageBytesMax))).toThrow(
      /a message of \d+ bytes; the limit is \d+/,
    );
    expect(() => decodePlain(new Uint8Array(limits.peerMessageBytesMax + 1))).toThrow(/the limit is/);
  });

  it('decodes to views of its bytes, so that nothing is copied', () => {
    const bytes = m.encodeWrite(envelope, write);
    for (const view of bytesIn(decodeMessage(bytes, NOW_MS))) expect(view.buffer).toBe(bytes.buffer);
  });

  it('with something in it that is not plain is a mistake of this program', () => {
    for (const wrong of [undefined, () => 1, 1n, new Map(), new Date(0), { a: [undefined] }])
      expect(() => m.encodeGossip(wrong)).toThrow(TypeError);
  });

  it('has texts that are cut to what its decoder takes', () => {
    const bytes = m.encodeRefused(1, 2, 7, 'x'.repeat(5000));
    expect(decodeMessage(bytes, NOW_MS)).toMatchObject({
      message: expect.stringMatching(/^x{1021}\.\.\.$/),
    });
  });
});

describe('a malformed message', () => {
  const items = (index: number): Plain[] => [
    ...(decodePlain(samples[index]?.[1] ?? new Uint8Array(0)) as Plain[]),
  ];
  const named = (name: string): Plain[] => items(samples.findIndex(([one]) => one === name));
  const change = (name: string, at: number, to: unknown): Uint8Array =>
    encodePlain(named(name).with(at, to as Plain));

  it.each([
    ['write', 1, 'x', /write: field 1, generation, is a string, no integer/],
    ['write', 2, -1, /field 2, id, is -1, not within 0 to 9007199254740991/],
    ['write', 3, 1.5, /field 3, ring, is 1.5, no integer/],
    ['write', 4, limits.administrationMsMax + 1, /field 4, remainingMs, is 86400001, not within 0 to/],
    ['write', 5, 3, /field 5, mode, is 3, not within 1 to 2/],
    ['write', 6, null, /field 6, record, is null, no byte string/],
    ['write', 6, new Uint8Array(39), /field 6, record, is no record: 39 bytes left/],
    ['write', 6, Buffer.alloc(48), /field 6, record, is no record: empty key/],
    ['write', 6, Buffer.concat([recordOf('k', '', 1), Buffer.alloc(8)]), /has 56 bytes, its record takes 48/],
    ['write', 7, recordOf('k', '', 1, 0, 3), /field 7, also, is a record of another token/],
    ['read', 5, 2 ** 32, /field 5, tokenHi, is 4294967296, not within/],
    ['read', 7, 256, /field 7, keyspace, is 256/],
    ['read', 8, 1, /field 8, headOnly, is 1, no boolean/],
    ['read', 9, new Uint8Array(0), /field 9, key, has 0 bytes, not 1 to/],
    ['prepare', 7, 2 ** 53, /field 7, ballot version, is 9007199254740992, no integer/],
    ['page', 11, 0, /field 11, recordsMax, is 0/],
    ['page', 14, [1, 2, 3], /field 14, after, is an array of 3, no array of 4/],
    ['page', 14, [1, 2, 256, new Uint8Array(1)], /field 14, after, is no place/],
    ['tree', 7, [65_536], /field 7, vnodes, holds 65536/],
    ['tree nodes', 7, 4, /field 7, level, is 4/],
    ['tree nodes', 8, [16], /field 8, indexes, holds 16, no integer within 0 to 15/],
    ['tree nodes', 8, [3, 3], /field 8, indexes, are not ascending: 3 after 3/],
    ['hint', 5, 0, /field 5, target, is 0/],
    ['write answer', 3, 256, /field 3, status, is 256/],
    ['write answer', 7, 'x'.repeat(1025), /field 7, message, has 1025 characters; the limit is 1024/],
    ['page answer', 4, Buffer.alloc(41), /field 4, records, holds no record at byte 0/],
    ['page answer', 4, recordOf('k', '', 1).subarray(0, 41), /field 4, records, ends inside the padding/],
    ['tree nodes answer', 4, new Uint8Array(7), /field 4, hashes, has 7 bytes, no multiple of 8/],
    ['refused', 0, 50, /unknown kind 50/],
    ['write', 5, 4, /field 5, mode, is 4, not within 1 to 2/],
    ['hint', 6, 4, /field 6, mode, is 4, not within 1 to 2/],
    ['written', 4, -1, /written: field 4, remainingMs, is -1, not within 0 to/],
    ['written', 5, 'x', /written: field 5, version, is a string, no integer/],
    ['written', 5, 0.5, /written: field 5, version, is 0.5, no integer/],
    ['written', 5, 2 ** 53, /written: field 5, version, is 9007199254740992, no integer/],
    ['written', 5, -1, /written: field 5, version, is -1, not within 0 to/],
    ['written answer', 2, -1, /written answer: field 2, id, is -1, not within/],
    ['written answer', 3, null, /written answer: field 3, version, is null, no integer/],
    ['write', 0, 25, /unknown kind 25/],
    ['write', 0, 26, /unknown kind 26/],
    ['written answer', 0, 41, /unknown kind 41/],
    ['ring', 0, 4, /unknown kind 4/],
    ['ring', 0, 'x', /does not begin with its kind/],
  ])('%s with field %i = %s is refused with a message that names it', (name, at, to, message) => {
    const wrong = change(name, at, to);
    expect(() => decodeMessage(wrong, NOW_MS)).toThrow(MessageError);
    expect(() => decodeMessage(wrong, NOW_MS)).toThrow(message);
  });

  it('with a field more or less is refused', () => {
    for (const [name] of samples) {
      const wrong = [encodePlain([...named(name), 0]), encodePlain(named(name).slice(0, -1))];
      for (const bytes of wrong) expect(() => decodeMessage(bytes, NOW_MS)).toThrow(/fields instead of/);
    }
  });

  it('cut off anywhere, or with a byte behind it, is refused', () => {
    for (const [, bytes] of samples) {
      for (let end = 0; end < bytes.length; end++)
        expect(() => decodeMessage(bytes.subarray(0, end), NOW_MS)).toThrow(MessageError);
      expect(() => decodeMessage(Buffer.concat([bytes, Buffer.alloc(1)]), NOW_MS)).toThrow(/1 bytes follow/);
    }
  });

  it('with a part of CBOR that messages do not use is refused before cbor-x sees it', () => {
    const other = new Encoder();
    for (const value of [{ a: 1 }, new Date(), 2n ** 40n, new Set([1]), /a/, new Float32Array(2)])
      expect(() => decodePlain(other.encode([Kind.GOSSIP, [value, value]]))).toThrow(MessageError);
    for (const [bytes, message] of [
      ['9fff', /indefinite length/],
      ['f7', /simple value/],
      ['fa00000000', /simple value/],
      ['1b0000000000000001', /integer of 8 bytes/],
      ['5b7fffffffffffffff', /string of \d+ bytes at byte 0, and 0 are left/],
      ['9affffffff', /array of 4294967295 items/],
      ['baffffffff', /map of 4294967295 pairs/],
      ['a10102', /a key that is no text at byte 1/],
      ['c100', /major type 6/],
      ['', /cut off at byte 0/],
      ['81'.repeat(17), /nested deeper than 16/],
      ['a16161'.repeat(17), /nested deeper than 16/],
    ] as const)
      expect(() => decodePlain(Buffer.from(bytes, 'hex'))).toThrow(message);
  });

  it('cannot reach the prototype of what it decodes to', () => {
    const bytes = Buffer.from('a1695f5f70726f746f5f5fa1616101', 'hex');
    const value = decodePlain(bytes) as Record<string, unknown>;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(value.a).toBeUndefined();
  });

  const seed = testSeed();
  it(`with mutated bytes is refused as such or is whole in every field (seed ${seed})`, () => {
    const random = new Random(seed);
    let refused = 0;
    let taken = 0;
    for (let round = 0; round < 40_000; round++) {
      const [, original] = random.pick(samples);
      const bytes = Uint8Array.from(original);
      const view = bytes.subarray(0, random.chance(0.2) ? random.below(bytes.length + 1) : bytes.length);
      for (let n = random.between(1, 4); n > 0 && view.length > 0; n--) {
        // Most of it hits the heads of items, which come first.
        const at = random.chance(0.7) ? random.below(Math.min(view.length, 24)) : random.below(view.length);
        view[at] = random.chance(0.5) ? random.below(256) : (view[at] as number) ^ (1 << random.below(8));
      }
      try {
        const message = decodeMessage(view, NOW_MS) as { request?: { record?: Uint8Array } };
        taken++;
        for (const part of bytesIn(message)) {
          expect(part.buffer).toBe(view.buffer);
          expect(part.byteOffset + part.length).toBeLessThanOrEqual(view.byteOffset + view.length);
        }
        const record = message.request?.record;
        if (record !== undefined) expect(recordFault(record, 0, record.length)).toBe('');
      } catch (error) {
        if (!(error instanceof MessageError)) throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(1000);
    expect(taken).toBeGreaterThan(1000);
  });
});
