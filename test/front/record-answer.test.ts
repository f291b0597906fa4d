import type { HttpResponse } from 'uWebSockets.js';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { Answers } from '../../src/front/answers.ts';
import { decimalBefore } from '../../src/front/decimal.ts';
import { TagLine } from '../../src/front/entity-tag.ts';
import { answerRecord } from '../../src/front/record-answer.ts';
import { testSeed } from '../seed.ts';

type Text = string | Uint8Array;
const textOf = (text: Text): string =>
  typeof text === 'string' ? text : Buffer.from(text).toString('latin1');

/** What an answer would send, without a socket. */
function answer(
  key: Uint8Array,
  value: Uint8Array,
  version: number,
  expiresMs: number,
  raw: boolean,
): { lines: string; body: Buffer } {
  let lines = '';
  let body = Buffer.alloc(0);
  const res = {
    writeHeader: (name: Text, line: Text) => {
      lines += `${textOf(name)}: ${textOf(line)}\r\n`;
    },
    tryEnd: (bytes: Uint8Array, total: number) => {
      body = Buffer.from(bytes);
      return [true, bytes.length === total];
    },
    end: () => undefined,
  } as unknown as HttpResponse;
  const record = { version, expiresMs, bytes: value, start: 0, length: value.length };
  expect(answerRecord(new Answers(), res, record, key, 1000, false, raw, '', '')).toBe(200);
  return { lines, body };
}

const versions = [
  1,
  9,
  10,
  12_345_678,
  99_999_999,
  100_000_000,
  100_000_001,
  1_000_000_020,
  1_764_000_000_000_007,
  2 ** 53 - 1,
];

describe('numbers in decimal', () => {
  const seed = testSeed();
  it(`are those that JavaScript writes, and nothing beside them is touched (seed ${seed})`, () => {
    const random = new Random(seed);
    const numbers = [0, ...versions];
    for (let i = 0; i < 20_000; i++)
      numbers.push(Math.floor((random.uint32() * 2 ** 21 + (random.uint32() >>> 11)) / 2 ** (i % 53)));
    for (const number of numbers) {
      const bytes = new Uint8Array(24).fill(0x2e);
      const at = decimalBefore(bytes, 20, number);
      const wanted = `${String(number).padStart(20, '.')}....`;
      expect(at).toBe(20 - String(number).length);
      expect(Buffer.from(bytes).toString()).toBe(wanted);
    }
  });
});

describe('the answer to a read', () => {
  it('has the version in its entity tag, whatever the one before was', () => {
    const tag = new TagLine('\r\nVary: Accept');
    for (const version of [...versions, ...versions.toReversed()])
      expect(textOf(tag.of(version))).toBe(`"${version}"\r\nVary: Accept`);
  });

  it('has its headers and the bytes of the value', () => {
    const { lines, body } = answer(Buffer.from('k'), Buffer.from([0, 255, 13, 10]), 102, 5500, true);
    expect(lines).toBe(
      'ETag: "102"\r\nVary: Accept\r\nContent-Type: application/octet-stream\r\nKeep-Alive: timeout=7\r\nX-RingKV-TTL: 5\r\n',
    );
    expect([...body]).toEqual([0, 255, 13, 10]);
  });

  // The longest key first: beside a value of 7,900 bytes it does not fit the buffer that answers begin with.
  const keys: [string, Buffer][] = [
    ['of control characters, as long as may be', Buffer.alloc(1024, 1)],
    ['plain', Buffer.from('user_123')],
    ['with every printable character', Buffer.from(Array.from({ length: 95 }, (_, i) => 0x20 + i))],
    ['with a quote', Buffer.from('a"b')],
    ['with a backslash', Buffer.from('a\\')],
    ['that tries to end a line', Buffer.from('a\r\nSet-Cookie: x')],
    ['with a delete character', Buffer.from([0x61, 0x7f])],
    ['beyond ASCII', Buffer.from('schlüssel \u{1f511}')],
    ['that is no UTF-8', Buffer.from([0x61, 0xff])],
    ['that is no UTF-8, as long as may be', Buffer.alloc(1024, 0xff)],
  ];
  it.each(keys)('in JSON is what JSON.stringify writes: a key %s', (_, key) => {
    for (const length of [0, 1, 2, 3, 2048, 7900, 100_000])
      for (const version of versions)
        for (const expiresMs of [0, 61_000]) {
          const value = Buffer.alloc(length, length);
          const { lines, body } = answer(key, value, version, expiresMs, false);
          const text = key.toString();
          const named = Buffer.from(text).equals(key) ? { key: text } : { keyBase64: key.toString('base64') };
          const ttl = expiresMs === 0 ? {} : { ttl: 60 };
          const wanted = JSON.stringify({ ...named, value: value.toString('base64'), version, ...ttl });
          expect(body.toString() === wanted, `${body.subarray(0, 200)} and ${wanted.slice(0, 200)}`).toBe(
            true,
          );
          expect(lines).toBe(
            `ETag: "${version}"\r\nVary: Accept\r\nContent-Type: application/json\r\nKeep-Alive: timeout=7\r\n`,
          );
        }
  });
});
