import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { CborReader, MalformedError } from '../../src/front/cbor-reader.ts';
import { AnswerMessage, encodeLimits } from '../../src/front/ws-answers.ts';
import { NONE, PolicyError, WsRequests } from '../../src/front/ws-request.ts';
import { testSeed } from '../seed.ts';
import { answersOf, decode, encode, head, type Item } from './ws-client.ts';
import { vectors } from './ws-vectors.ts';

const seed = testSeed();
const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('the reader of CBOR', () => {
  const reader = new CborReader();
  // RFC 8949, appendix A.
  it.each<[string, number]>([
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['1903e8', 1000],
    ['1a000f4240', 1_000_000],
    ['1b000000e8d4a51000', 1_000_000_000_000],
    ['1bffffffffffffffff', 2 ** 64],
    ['20', -1],
    ['3903e7', -1000],
    ['f90000', 0],
    ['f98000', -0],
    ['f93c00', 1],
    ['f93e00', 1.5],
    ['f97bff', 65_504],
    ['f90001', 2 ** -24],
    ['f90400', 2 ** -14],
    ['f9c400', -4],
    ['fa47c35000', 100_000],
    ['fa7f7fffff', 3.4028234663852886e38],
    ['fb3ff199999999999a', 1.1],
    ['fbc010666666666666', -4.1],
  ])('reads %s as %d', (text, value) => {
    reader.load(hex(text));
    expect(reader.number('n')).toBe(value);
    reader.finish();
  });
  it.each([
    'f97c00',
    'f97e00',
    'f9fc00',
    'fa7f800000',
    'fb7ff8000000000000',
    'f4',
    'f6',
    '61',
    '40',
    '80',
    'c101',
    '1c',
    '1f',
    'ff',
    '',
  ])('has no number in %s', (text) => {
    reader.load(hex(text));
    expect(() => reader.number('n')).toThrow(MalformedError);
  });
  it.each(['18', '19 00', '1a 000000', '1b 00000000000000', 'f9 00', 'fa 000000', 'fb 00'])(
    'is told that %s ends early',
    (text) => {
      reader.load(hex(text));
      expect(() => reader.number('n')).toThrow('the message ends within n');
    },
  );
  it('passes over one tag 64 before bytes, and over no other tag', () => {
    reader.load(hex('d840 43 010203'));
    reader.byteString('b');
    expect([reader.start, reader.end]).toEqual([3, 6]);
    reader.load(hex('d840 d840 43 010203'));
    expect(() => reader.byteString('b')).toThrow('b is a tag, not a byte string');
    reader.load(hex('d841 43 010203'));
    expect(() => reader.byteString('b')).toThrow('tag 65');
  });
});

describe('a message of requests', () => {
  const requests = new WsRequests();
  const read = (item: Item): WsRequests => {
    requests.decode(encode(item));
    return requests;
  };
  const base = { ids: [1, 2], ops: [1, 1], keys: ['a', 'b'] };

  it('forgets what the one before had', () => {
    read({
      ...base,
      versions: 5,
      ttls: [1, 2],
      values: [hex('00'), hex('01')],
      idempotencyKeys: ['x', null],
    });
    expect([requests.versions.at(1), requests.ttls.at(1), requests.hasOptions]).toEqual([5, 2, true]);
    expect([requests.idempotencyKeys.has(0), requests.idempotencyKeys.has(1)]).toEqual([true, false]);
    read(base);
    expect([requests.versions.at(1), requests.ttls.at(1), requests.hasOptions]).toEqual([NONE, NONE, false]);
    expect([requests.values.has(0), requests.idempotencyKeys.has(0)]).toEqual([false, false]);
  });
  it('may be empty', () => {
    expect(read({ ids: [], ops: [], keys: [] }).count).toBe(0);
  });
  it.each<[string, Item, string]>([
    ['an id of 2^53', { ...base, ids: [1, 2 ** 53] }, 'id 9007199254740992 is not an integer'],
    ['an id with a fraction', { ...base, ids: [1, 1.5] }, 'id 1.5 is not an integer'],
    ['one id for all', { ...base, ids: 1 }, 'ids is a number, not an array'],
    ['one key for all', { ...base, keys: 'a' }, 'keys is a text, not an array'],
    ['one value for all', { ...base, values: hex('00') }, 'values is a byte string, not an array'],
    ['an op of null', { ...base, ops: [1, null] }, 'ops is null, not a number'],
    ['a key of null', { ...base, keys: ['a', null] }, 'keys is null, not a byte string'],
    ['a value that is a text', { ...base, values: ['a', null] }, 'values is a text, not a byte string'],
    ['exists of 1', { ...base, exists: [1, null] }, 'exists is an integer, not true or false'],
    ['consistency in words', { ...base, consistency: 'ONE' }, 'consistency is a text, not a number'],
    ['an array in a column', { ...base, ttls: [[1], 2] }, 'ttls is an array, not a number'],
    ['a name that is a number', [1], 'the message is an array, not a map'],
    ['a name that goes on', { ...base, valuesx: [null, null] }, 'unknown column "valuesx"'],
    ['columns of different lengths', { ...base, ttls: [1] }, 'ttls has 1 elements and ids has 2'],
  ])('with %s is refused', (_, item, reason) => {
    expect(() => read(item)).toThrow(reason);
    expect(() => read(item)).toThrow(MalformedError);
  });
  it('of more than may be is a matter of policy', () => {
    const max = limits.wsBatchRequestsMax;
    const many = (count: number): Item => ({
      ids: Array.from({ length: count }, (_, index) => index),
      ops: 2,
      keys: Array.from({ length: count }, () => 'k'),
    });
    expect(read(many(max)).count).toBe(max);
    expect(() => read(many(max + 1))).toThrow(PolicyError);
  });

  it(`comes out as it went in (seed ${seed})`, () => {
    const nullable = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(one);
    const row = fc.record({
      id: fc.maxSafeNat(),
      op: fc.integer({ min: 1, max: 3 }),
      key: fc.uint8Array({ minLength: 1, maxLength: 40 }),
      value: nullable(fc.uint8Array({ maxLength: 300 })),
      version: nullable(fc.maxSafeNat()),
      exists: nullable(fc.boolean()),
      ttl: nullable(fc.double({ min: 0, noNaN: true, noDefaultInfinity: true })),
      idempotencyKey: nullable(fc.string()),
    });
    fc.assert(
      fc.property(
        fc.array(row, { maxLength: 60 }),
        fc.shuffledSubarray(['values', 'versions', 'exists', 'ttls', 'idempotencyKeys']),
        (rows, given) => {
          const columns: Record<string, Item> = {
            ids: rows.map(({ id }) => id),
            ops: rows.map(({ op }) => op),
            keys: rows.map(({ key }) => key),
          };
          const all: Record<string, Item> = {
            values: rows.map(({ value }) => value),
            versions: rows.map(({ version }) => version),
            exists: rows.map(({ exists }) => exists),
            ttls: rows.map(({ ttl }) => ttl),
            idempotencyKeys: rows.map(({ idempotencyKey }) => idempotencyKey),
          };
          for (const name of given) columns[name] = all[name];
          const bytes = encode(columns);
          requests.decode(bytes);
          const part = (column: typeof requests.keys, index: number): Buffer | null =>
            column.has(index) ? bytes.subarray(column.start(index), column.end(index)) : null;
          rows.forEach((one, index) => {
            expect(requests.ids.at(index)).toBe(one.id);
            expect(requests.ops.at(index)).toBe(one.op);
            expect(part(requests.keys, index)).toEqual(Buffer.from(one.key));
            const has = (name: string): boolean => given.includes(name);
            expect(part(requests.values, index)).toEqual(
              has('values') && one.value !== null ? Buffer.from(one.value) : null,
            );
            expect(requests.versions.at(index)).toBe(has('versions') ? (one.version ?? NONE) : NONE);
            expect(requests.exists.at(index)).toBe(
              has('exists') && one.exists !== null ? Number(one.exists) : NONE,
            );
            expect(requests.ttls.at(index)).toBe(has('ttls') ? (one.ttl ?? NONE) : NONE);
            const text = has('idempotencyKeys') ? one.idempotencyKey : null;
            expect(part(requests.idempotencyKeys, index)?.toString() ?? null).toEqual(
              text === null ? null : Buffer.from(text).toString(),
            );
          });
        },
      ),
      { seed, numRuns: 300 },
    );
  });
});

describe('hostile bytes', () => {
  const requests = new WsRequests();
  const stems = vectors.map(({ request, hex: text }) =>
    request === undefined ? Buffer.from(hex(text ?? '')) : encode(request),
  );

  it(`get a reason and nothing else, whatever is changed in a message (seed ${seed})`, () => {
    const random = new Random(seed);
    const heads = [0x1b, 0x5b, 0x5f, 0x7b, 0x7f, 0x9b, 0x9f, 0xbb, 0xbf, 0xc0, 0xd8, 0xf6, 0xfb, 0xff];
    let taken = 0;
    let refused = 0;
    for (let round = 0; round < 20_000; round++) {
      let bytes = Buffer.from(random.pick(stems));
      for (let edits = 1 + random.below(4); edits > 0; edits--) {
        const at = random.below(bytes.length);
        const kind = random.below(5);
        if (kind === 0) bytes[at] = random.below(256);
        else if (kind === 1) bytes[at] = random.pick(heads);
        else if (kind === 2) bytes = Buffer.from(bytes.subarray(0, Math.max(1, at)));
        else if (kind === 3)
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random.below(bytes.length))]);
        else
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            Buffer.from([random.pick(heads)]),
            bytes.subarray(at),
          ]);
        if (bytes.length === 0) bytes = Buffer.from([random.below(256)]);
      }
      try {
        requests.decode(bytes);
        taken++;
        for (let index = 0; index < requests.count; index++) {
          expect(requests.keys.end(index)).toBeLessThanOrEqual(bytes.length);
          expect(requests.keys.start(index)).toBeLessThanOrEqual(requests.keys.end(index));
        }
      } catch (error) {
        refused++;
        expect(error, bytes.toString('hex')).toBeInstanceOf(MalformedError);
        expect((error as Error).message.length, bytes.toString('hex')).toBeLessThan(300);
      }
    }
    // Both happen: the changes are neither all fatal nor all harmless.
    expect(taken).toBeGreaterThan(50);
    expect(refused).toBeGreaterThan(1000);
  });

  it('are refused by the same reason as decoders of others refuse them: depth', () => {
    const deep = Buffer.concat([Buffer.from('a163696473', 'hex'), Buffer.alloc(100_000, 0x81)]);
    expect(() => requests.decode(deep)).toThrow('ids is an array, not a number');
  });

  it('allocate nothing by a length that they declare', () => {
    const declared = [0xffff_ffff, 2 ** 40, 2 ** 53 - 1];
    const messages = declared.flatMap((length) => [
      Buffer.concat([hex('a1 63696473'), head(4, length)]),
      Buffer.concat([hex('a1 646b657973 81'), head(2, length), hex('61')]),
      Buffer.concat([hex('a1 6676616c756573 81'), head(2, length), hex('61')]),
      Buffer.concat([head(5, length), hex('63696473 80')]),
      Buffer.concat([hex('a1'), head(3, length), hex('6964')]),
    ]);
    const before = process.memoryUsage();
    for (const message of messages) expect(() => requests.decode(message)).toThrow(MalformedError);
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(2 ** 20);
    expect(after.heapUsed - before.heapUsed).toBeLessThan(32 * 2 ** 20);
  });
});

describe('a message of answers', () => {
  it(`says what was put in, and leaves out the columns that nothing is in (seed ${seed})`, () => {
    const message = new AnswerMessage();
    const row = fc.record({
      id: fc.oneof(
        fc.maxSafeNat(),
        fc.constantFrom(0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32),
      ),
      status: fc.integer({ min: 0, max: 255 }),
      version: fc.option(fc.maxSafeNat()),
      ttl: fc.option(fc.integer({ min: 1, max: limits.ttlSecondsMax })),
      sloppy: fc.boolean(),
      text: fc.option(fc.string({ minLength: 1, maxLength: 60 })),
      value: fc.option(fc.uint8Array({ maxLength: 3000 })),
    });
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 80 }), (rows) => {
        message.reset();
        for (const { id, status, version, ttl, sloppy, text, value } of rows)
          if (value === null) message.add(id, status, version ?? -1, sloppy, text ?? '');
          else {
            const padded = Buffer.concat([Buffer.from('xx'), value, Buffer.from('yy')]);
            message.addValue(id, version ?? -1, ttl ?? 0, padded, 2, value.length);
          }
        const bytes = Buffer.from(message.finish());
        const wellFormed = (text: string | null): string | null =>
          text === null ? null : Buffer.from(text).toString();
        expect(answersOf(bytes)).toEqual(
          rows.map(({ id, status, version, ttl, sloppy, text, value }) => ({
            id,
            version,
            status: value === null ? status : 0,
            ttl: value === null ? null : ttl,
            sloppy: value === null && sloppy,
            message: value === null ? wellFormed(text) : null,
            value: value === null ? null : Buffer.from(value),
          })),
        );
        const columns = decode(bytes) as Record<string, Item>;
        for (const [name, column] of Object.entries(columns))
          if (name !== 'ids' && name !== 'statuses')
            expect((column as readonly Item[]).some((one) => one !== null)).toBe(true);
        expect(encode(columns)).toEqual(bytes);
      }),
      { seed, numRuns: 200 },
    );
  });

  it('is full by count, by bytes of values and by bytes of texts, and holds one more than it wants', () => {
    const message = new AnswerMessage();
    for (let id = 0; id < limits.wsBatchRequestsMax; id++) {
      expect(message.full).toBe(false);
      message.add(2 ** 52 + id, 255, 2 ** 52, true, '');
    }
    expect(message.full).toBe(true);
    expect(answersOf(Buffer.from(message.finish()))).toHaveLength(limits.wsBatchRequestsMax);
    message.reset();

    const value = Buffer.alloc(limits.wsAnswerBytes - 1000, 7);
    message.addValue(1, 1, 0, value, 0, value.length);
    expect(message.full).toBe(false);
    const longest = Buffer.alloc(limits.valueBytesCeiling, 9);
    message.addValue(2, 1, 5, longest, 0, longest.length);
    expect(message.full).toBe(true);
    const [first, second] = answersOf(Buffer.from(message.finish()));
    expect(first?.value?.equals(value)).toBe(true);
    expect(second?.value?.equals(longest)).toBe(true);
    message.reset();

    let texts = 0;
    while (!message.full) {
      message.add(texts++, 3, -1, false, 'é'.repeat(limits.wsErrorTextBytesMax));
      if (texts < 5) message.add(texts++, 1, -1, false, '');
    }
    const answers = answersOf(Buffer.from(message.finish()));
    expect(answers).toHaveLength(texts);
    expect(answers[0]?.message).toBe('é'.repeat(limits.wsErrorTextBytesMax / 2));
  });

  it('is full at the byte, and grows for an answer without a value too', () => {
    const message = new AnswerMessage();
    const put = (length: number): void => message.addValue(1, 1, 0, Buffer.alloc(length), 0, length);
    // Heads of 5 bytes.
    put(limits.wsAnswerBytes - 6);
    expect(message.full).toBe(false);
    message.add(2, 1, -1, false, '');
    expect(message.full).toBe(true);
    for (let room = 65_520; room <= 65_536; room++) {
      message.reset();
      put(room);
      for (let id = 0; id < 20; id++) message.add(id, 1, -1, false, '');
      put(1);
      expect(answersOf(Buffer.from(message.finish()))).toHaveLength(22);
    }
  });
  it('keeps no memory of a long value, and no part of a character of a long text', () => {
    const message = new AnswerMessage();
    message.addValue(1, 1, 0, Buffer.alloc(limits.valueBytesCeiling), 0, limits.valueBytesCeiling);
    expect(message.finish().buffer.byteLength).toBeGreaterThan(limits.valueBytesCeiling);
    message.reset();
    message.add(1, 3, -1, false, `x${'é'.repeat(limits.wsErrorTextBytesMax)}`);
    const bytes = message.finish();
    expect(bytes.buffer.byteLength).toBeLessThan(2 ** 20);
    const [answer] = answersOf(Buffer.from(bytes));
    expect(answer?.message).toBe(`x${'é'.repeat(limits.wsErrorTextBytesMax / 2 - 1)}`);
  });

  it('may begin with the limits', () => {
    expect(decode(Buffer.from(encodeLimits({ a: 1, b: 70_000 })))).toEqual({
      ids: [],
      statuses: [],
      limits: { a: 1, b: 70_000 },
    });
  });
});
