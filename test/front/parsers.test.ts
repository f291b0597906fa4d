import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Consistency } from '../../src/base/consistency.ts';
import { evaluateRead, parseTags, WriteCondition } from '../../src/front/conditions.ts';
import { decodeBase64, parseJsonObject } from '../../src/front/json.ts';
import { keyMember } from '../../src/front/key-text.ts';
import { contentLengthOf, mediaTypeOf, negotiate } from '../../src/front/media.ts';
import { KeyDecoder, percentDecode } from '../../src/front/percent.ts';
import {
  NO_OPTIONS,
  PUT_OPTIONS,
  READ_OPTIONS,
  RequestOptions,
  readQuery,
  readTimeout,
} from '../../src/front/request-options.ts';
import { decodeCursor, encodeCursor } from '../../src/front/scan-cursor.ts';
import { Condition, Sloppy } from '../../src/shard/contract.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const runs = { seed, numRuns: 500 };
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const decoded = (path: string): string => Buffer.from(new KeyDecoder(16).decode(path, 0)).toString('latin1');

describe(`percent-decoding (seed ${seed})`, () => {
  it('gives back any bytes that were escaped, in any case of the digits', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), fc.boolean(), (bytes, upper) => {
        const hex = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
        const target = new Uint8Array(64);
        const length = percentDecode(upper ? hex.toUpperCase() : hex, 0, hex.length, target, false);
        expect(target.subarray(0, length)).toEqual(bytes);
      }),
      runs,
    );
  });
  it('agrees with decodeURIComponent on what encodeURIComponent wrote', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }), (text) => {
        const path = encodeURIComponent(text);
        const target = new Uint8Array(1024);
        const length = percentDecode(path, 0, path.length, target, false);
        expect(Buffer.from(target.subarray(0, length)).toString()).toBe(decodeURIComponent(path));
      }),
      runs,
    );
  });
  it('takes slashes, escaped or not, a NUL, and a plus sign as itself', () => {
    expect([decoded('a%2Fb/c'), decoded('%00'), decoded('a+b'), decoded('%2B%25')]).toEqual([
      'a/b/c',
      '\0',
      'a+b',
      '+%',
    ]);
  });
  it.each(['%', 'a%2', '%g0', '%0g', '%%41', 'a%u0041', 'é', ' ', '%\uff10\uff11', '\u0130'])(
    'refuses %j',
    (path) => {
      expect(() => decoded(path)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
    },
  );
  it('refuses a key of no bytes and of too many, and takes one of the limit', () => {
    expect(() => decoded('')).toThrow(/empty key/);
    expect(decoded('k'.repeat(16))).toHaveLength(16);
    expect(() => decoded('k'.repeat(17))).toThrow(expect.objectContaining({ code: 'KEY_TOO_LARGE' }));
    expect(() => decoded('%41'.repeat(17))).toThrow(/limit is 16/);
  });
});

describe(`base64 (seed ${seed})`, () => {
  it('gives back any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(new Uint8Array(decodeBase64(Buffer.from(bytes).toString('base64'), 'value'))).toEqual(bytes);
      }),
      runs,
    );
  });
  it.each([
    'A',
    'AA',
    'AAA',
    'AA=',
    'AA===',
    'AAAA=',
    'AB==',
    'AAB=',
    '-_-_',
    'AA AA',
    'AAAA\n',
    '=AAA',
    'é',
    '====',
    'AA==AA==',
  ])('refuses %j and says where', (text) => {
    expect(() => decodeBase64(text, 'value')).toThrow(/^value is not standard base64 .*character \d+/);
  });
});

describe('JSON bodies', () => {
  const refused = (body: string | Uint8Array): string => {
    try {
      parseJsonObject(typeof body === 'string' ? utf8(body) : body);
    } catch (error) {
      return (error as Error).message;
    }
    return 'taken';
  };
  it('are objects in valid UTF-8 without a byte order mark', () => {
    expect(parseJsonObject(utf8(' {"a":"\\u00e9ü","b":{"a":[1]}} '))).toEqual({ a: 'éü', b: { a: [1] } });
    expect(refused('')).toMatch(/not JSON/);
    expect(refused('{"a":1')).toMatch(/not JSON/);
    expect(refused('\ufeff{}')).toMatch(/byte order mark/);
    expect(refused(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))).toMatch(/not valid UTF-8/);
    for (const body of ['[]', 'null', '"a"', '1']) expect(refused(body)).toMatch(/no object/);
  });
  it('name a field once in each object, however the name is escaped', () => {
    expect(refused('{"a":1,"a":2}')).toMatch(/"a" is given more than once/);
    expect(refused('{"value":"x","val\\u0075e":"y"}')).toMatch(/"value" is given more than once/);
    expect(refused('{"o":[{"k":1},{"k":2,"k":3}]}')).toMatch(/"k"/);
    expect(refused('{"a":{"b":1},"b":"\\\\","c":"\\"a\\":"}')).toBe('taken');
    expect(refused('{"a":"{\\"a\\":1}"}')).toBe('taken');
  });
  it('keep numbers that are too large from passing as others', () => {
    expect(parseJsonObject(utf8('{"a":1e999}')).a).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('entity tags', () => {
  it('are versions in quotes, in lists, weak or strong', () => {
    expect(parseTags('*', 'If-Match').any).toBe(true);
    expect(parseTags('"1", W/"2" ,"abc",, "9007199254740992"', 'If-Match')).toEqual({
      any: false,
      strong: [1],
      weak: [1, 2],
    });
    expect(parseTags('"01"', 'If-Match').weak).toEqual([]);
    expect(parseTags('"a,b","5"', 'If-Match').strong).toEqual([5]);
  });
  it.each([
    '1',
    '"1',
    '1"',
    'W/1',
    'w/"1"',
    '"1" "2"',
    '"1";',
    ',',
    ' ',
    '*, "1"',
    Array(33).fill('"1"').join(),
  ])('refuse %j', (header) => {
    expect(() => parseTags(header, 'If-Match')).toThrow(/If-Match/);
  });
  it('decide a read as HTTP says', () => {
    expect([
      evaluateRead('"5"', '', 5),
      evaluateRead('"4"', '', 5),
      evaluateRead('W/"5"', '', 5),
      evaluateRead('*', '', 0),
    ]).toEqual([0, 2, 2, 2]);
    expect([
      evaluateRead('', '"5"', 5),
      evaluateRead('', 'W/"5"', 5),
      evaluateRead('', '*', 5),
      evaluateRead('', '"4"', 5),
      evaluateRead('', '*', 0),
    ]).toEqual([1, 1, 1, 0, 0]);
  });
  it('become conditions of a write', () => {
    const set = (version: number, ifMatch: string, ifNoneMatch: string): Partial<WriteCondition> => {
      const condition = new WriteCondition();
      condition.set(version, ifMatch, ifNoneMatch);
      return condition;
    };
    expect(set(-1, '', '')).toMatchObject({ condition: Condition.NONE });
    expect(set(7, '', '')).toMatchObject({ condition: Condition.VERSION, version: 7, byHeader: false });
    expect(set(0, '', '')).toMatchObject({ condition: Condition.VERSION, version: 0 });
    expect(set(-1, '"7"', '')).toMatchObject({ condition: Condition.VERSION, version: 7, byHeader: true });
    expect(set(-1, '*', '')).toMatchObject({ condition: Condition.EXISTS });
    expect(set(-1, '', '*')).toMatchObject({ condition: Condition.VERSION, version: 0, byHeader: true });
    expect(set(-1, 'W/"7"', '')).toMatchObject({ never: true });
    expect(set(-1, '', '"7", W/"8"')).toMatchObject({ condition: Condition.NONE, refused: [7, 8] });
    expect(set(7, '"7"', '')).toMatchObject({ version: 7, byHeader: true });
    expect(set(8, '"7","8"', '')).toMatchObject({ version: 8, accepted: [] });
    expect(set(0, '', '*')).toMatchObject({ version: 0 });
    for (const [version, ifMatch, ifNoneMatch] of [
      [8, '"7"', ''],
      [7, '', '*'],
      [0, '*', ''],
      [0, '"7"', ''],
      [-1, '"7"', '*'],
      [7, '', '"7"'],
      [0, 'W/"0"', ''],
    ] as const)
      expect(() => set(version, ifMatch, ifNoneMatch)).toThrow(/contradicts|together/);
  });
});

describe('media types', () => {
  const both = ['application/json', 'application/octet-stream'];
  it('of answers follow Accept with its qualities and fall back to JSON', () => {
    const chosen = (accept: string): string => negotiate(accept, both);
    const [json, bytes] = both;
    for (const accept of [
      '',
      '*/*',
      'application/*',
      'text/html',
      'application/octet-stream;q=0',
      'application/json, application/octet-stream',
      'application/octet-stream;q=0.5, */*',
      'nonsense',
    ])
      expect([accept, chosen(accept)]).toEqual([accept, json]);
    for (const accept of [
      'application/octet-stream',
      'Application/Octet-Stream',
      'application/octet-stream, */*;q=0.1',
      'application/json;q=0.5, application/octet-stream',
      'text/html, application/octet-stream;q=0.1',
      '*/*, application/json;q=0.2',
    ])
      expect([accept, chosen(accept)]).toEqual([accept, bytes]);
  });
  it('of bodies are told by their essence, charset and presence', () => {
    const type = (header: string): string => mediaTypeOf(header, both, 'application/octet-stream');
    expect([type('application/json'), type('Application/JSON; Charset="UTF-8"'), type('')]).toEqual([
      'application/json',
      'application/json',
      'application/octet-stream',
    ]);
    for (const header of [
      'text/plain',
      'application/json; charset=latin1',
      'application/x-www-form-urlencoded',
      'application/cbor',
    ])
      expect(() => type(header)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_MEDIA_TYPE' }));
    expect(() => mediaTypeOf('', ['application/json'], '')).toThrow(/not supported/);
  });
  it('lengths of bodies must not differ', () => {
    expect([contentLengthOf([]), contentLengthOf(['3']), contentLengthOf(['3', '3'])]).toEqual([-1, 3, 3]);
    expect(() => contentLengthOf(['3', '5'])).toThrow(/"3" and "5"/);
  });
});

describe('options', () => {
  const read = (query: string): RequestOptions => {
    const options = new RequestOptions();
    readQuery(query, PUT_OPTIONS, options);
    return options;
  };
  it('of a query are those of that query, whatever came before it', () => {
    const queries = ['ttl=2', 'ttl=2', 'version=3', 'ttl=2', 'sloppy=true&consistency=ONE', 'version=3'];
    for (const query of queries) {
      expect({ ...read(query) }).toEqual({
        ...new RequestOptions(),
        ...(query === 'ttl=2' ? { ttlMs: 2000 } : {}),
        ...(query === 'version=3' ? { version: 3 } : {}),
        ...(query.startsWith('sloppy') ? { sloppy: Sloppy.YES, consistency: Consistency.ONE } : {}),
      });
      expect(() => read('ttl=3&ttl=3')).toThrow(/more than once/);
      expect(() => read('ttl=3&ttl=3'), 'again').toThrow(/more than once/);
    }
  });
  it('of a query that one kind of request takes are refused by another', () => {
    const options = new RequestOptions();
    read('consistency=ONE&ttl=2');
    expect(() => readQuery('consistency=ONE&ttl=2', READ_OPTIONS, options)).toThrow(
      /unknown parameter "ttl"/,
    );
    readQuery('consistency=ONE', READ_OPTIONS, options);
    expect(() => readQuery('consistency=ONE', NO_OPTIONS, options)).toThrow(/there are none/);
  });
  it('of a query are known, given once, and in range', () => {
    expect(read('consistency=ALL&ttl=1.5&version=7&sloppy=false')).toMatchObject({ ttlMs: 1500, version: 7 });
    expect(read('ttl=0.0001').ttlMs).toBe(1);
    expect(read('&&ttl=2&').ttlMs).toBe(2000);
    for (const query of [
      'ttl=0',
      'ttl=-1',
      'ttl=',
      'ttl',
      'ttl=1e3',
      'ttl=630720001',
      'ttl=NaN',
      'ttl=0x5',
      'ttl=5&ttl=5',
      'version=-1',
      'version=1.5',
      'version=9007199254740992',
      'version=01',
      'consistency=quorum',
      'consistency=',
      'sloppy=1',
      'nope=1',
      'ttl=%',
      'consistency=%ff',
      '=1',
    ])
      expect(() => read(query), query).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
  });
  it('take a deadline of 1 to 30,000 ms', () => {
    const options = new RequestOptions();
    readTimeout('', options);
    expect(options.timeoutMs).toBe(5000);
    readTimeout('30000', options);
    expect(options.timeoutMs).toBe(30_000);
    for (const header of ['0', '30001', '-1', '1.5', '1e3', 'abc', ' ', '99999999999'])
      expect(() => readTimeout(header, options), header).toThrow(/X-RingKV-Timeout/);
  });
});

describe(`cursors and keys in JSON (seed ${seed})`, () => {
  it('a cursor comes back as it was made, and a changed one is refused', () => {
    const place = fc.record({
      tokenHi: fc.nat(2 ** 32 - 1),
      tokenLo: fc.nat(2 ** 32 - 1),
      key: fc.uint8Array({ maxLength: 40 }),
    });
    fc.assert(
      fc.property(place, (one) => {
        expect(decodeCursor(encodeCursor(one), 40)).toEqual(one);
      }),
      runs,
    );
    const cursor = encodeCursor({ tokenHi: 1, tokenLo: 2, key: utf8('key') });
    for (const text of [
      '',
      'abc',
      `${cursor}A`,
      cursor.slice(0, -2),
      cursor.replace(/.$/, '_'),
      `A${cursor}`,
      `${cursor}=`,
    ])
      expect(() => decodeCursor(text, 40), text).toThrow(/cursor/);
    expect(() => decodeCursor(encodeCursor({ tokenHi: 1, tokenLo: 2, key: new Uint8Array(41) }), 40)).toThrow(
      /cursor/,
    );
  });
  it('a key is text where it is valid UTF-8 and base64 otherwise', () => {
    expect(keyMember(utf8('a"é\u0000'))).toBe('"key":"a\\"é\\u0000"');
    expect(keyMember(new Uint8Array([0xff, 0x00]))).toBe('"keyBase64":"/wA="');
    expect(keyMember(new Uint8Array([0xed, 0xa0, 0x80]))).toMatch(/keyBase64/);
  });
});
