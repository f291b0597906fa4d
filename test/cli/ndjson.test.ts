import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { exportLine } from '../../src/cli/export-line.ts';
import { BadLineError, isBlank, parseImportLine } from '../../src/cli/import-record.ts';
import { shownBytes } from '../../src/cli/keys.ts';
import { linesOf } from '../../src/cli/ndjson-lines.ts';
import { testSeed } from '../seed.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
async function cut(chunks: readonly Uint8Array[], bytesMax = 1000): Promise<(string | null)[]> {
  const lines: (string | null)[] = [];
  for await (const { number, bytes } of linesOf(Readable.from(chunks), bytesMax)) {
    expect(number).toBe(lines.length + 1);
    lines.push(bytes === null ? null : textOf(bytes));
  }
  return lines;
}

describe('lines', () => {
  it('are the same wherever the chunks are cut, also inside a character', async () => {
    const text = 'eins\n\nzwei ü 🎈\r\n\n"long line that spans chunks"\nlast';
    const expected = ['eins', '', 'zwei ü 🎈\r', '', '"long line that spans chunks"', 'last'];
    const bytes = bytesOf(text);
    for (let at = 0; at <= bytes.length; at++)
      expect(await cut([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(expected);
    expect(await cut(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(expected);
    const seed = testSeed();
    const random = new Random(seed);
    for (let round = 0; round < 200; round++) {
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; ) {
        const length = random.between(0, 9);
        chunks.push(bytes.subarray(at, at + length));
        at += length;
      }
      expect(await cut(chunks), `seed ${seed}`).toEqual(expected);
    }
  });

  it('need no line break at the end, and make none of an empty stream', async () => {
    expect(await cut([])).toEqual([]);
    expect(await cut([bytesOf('a\n')])).toEqual(['a']);
    expect(await cut([bytesOf('\n')])).toEqual(['']);
  });

  it('that are too long come as null and are not held, and the next line is whole', async () => {
    expect(
      await cut([bytesOf(`12345\n123456\n${'x'.repeat(50)}`), bytesOf('y\nshort'), bytesOf('\n')], 5),
    ).toEqual(['12345', null, null, 'short']);
  });

  it('that are too long never stand in memory', async () => {
    const chunk = new Uint8Array(1024 * 1024).fill(0x61);
    function* chunks(): Generator<Uint8Array> {
      for (let n = 0; n < 300; n++) yield chunk.slice();
      yield bytesOf('\nend');
    }
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    const watched = function* (): Generator<Uint8Array> {
      for (const one of chunks()) {
        most = Math.max(most, process.memoryUsage().arrayBuffers);
        yield one;
      }
    };
    const lines: number[] = [];
    for await (const { bytes } of linesOf(Readable.from(watched()), 4 * 1024 * 1024))
      lines.push(bytes?.length ?? -1);
    expect(lines).toEqual([-1, 3]);
    expect(most - before).toBeLessThan(250 * 1024 * 1024);
  });
});

describe('a line of an import', () => {
  const parse = (line: string): unknown => {
    const { key, value, ttl } = parseImportLine(bytesOf(line));
    return [textOf(key), textOf(value), ttl];
  };

  it('is a record with a key and a value, as text or as base64', () => {
    expect(parse('{"key":"a","value":"b"}')).toEqual(['a', 'b', 0]);
    expect(parse(' {"value":"","ttl":1.5,"key":"ü\\u0000"}\r')).toEqual(['ü\0', '', 1.5]);
    expect(parse('{"keyBase64":"YQ==","valueBase64":""}')).toEqual(['a', '', 0]);
    expect(parse('{"key":"a","value":"b","version":12}')).toEqual(['a', 'b', 0]);
    expect(parseImportLine(bytesOf('{"key":"a","valueBase64":"AP8="}')).value).toEqual(Uint8Array.of(0, 255));
    expect(parseImportLine(bytesOf('{"key":"a","value":"\\ufeffb"}')).value).toEqual(bytesOf('\ufeffb'));
  });

  const wrong: readonly (readonly [line: string, what: string])[] = [
    ['{"key":"a","value":"b"', 'not JSON'],
    ['{"key":"a","value":"b"} {}', 'not JSON'],
    ['[1,2]', 'not a JSON object'],
    ['null', 'not a JSON object'],
    ['"text"', 'not a JSON object'],
    ['{}', 'neither "key" nor "keyBase64"'],
    ['{"key":"a"}', 'neither "value" nor "valueBase64"'],
    ['{"key":"","value":"b"}', 'an empty key'],
    ['{"key":1,"value":"b"}', '"key" 1 is not a text'],
    ['{"key":"a","value":{"b":1}}', '"value" {"b":1} is not a text'],
    ['{"key":"a","value":null}', '"value" null is not a text'],
    ['{"key":"a","keyBase64":"YQ==","value":"b"}', 'both "key" and "keyBase64"'],
    ['{"key":"a","value":"b","valueBase64":"YQ=="}', 'both "value" and "valueBase64"'],
    ['{"key":"a","valueBase64":"YQ="}', '"valueBase64" "YQ=" is not base64'],
    ['{"key":"a","valueBase64":7}', '"valueBase64" 7 is not base64'],
    ['{"key":"a","value":"b","ttl":0}', '"ttl" 0 lies outside'],
    ['{"key":"a","value":"b","ttl":"60"}', '"ttl" "60" lies outside'],
    ['{"key":"a","value":"b","ttl":1e12}', '"ttl" 1000000000000 lies outside'],
    ['{"key":"a","value":"b","expires":5}', 'unknown field "expires"'],
    ['{"key":"a","value":"\\ud800"}', 'half a surrogate pair'],
    ['{"key":"\\udc00a","value":"b"}', 'half a surrogate pair'],
  ];
  it.each(wrong)('%j is refused, and says why', (line, what) => {
    expect(() => parse(line)).toThrow(BadLineError);
    expect(() => parse(line)).toThrow(what);
  });

  it('is refused where it is not UTF-8', () => {
    const line = Buffer.concat([bytesOf('{"key":"a","value":"'), Uint8Array.of(0xc3), bytesOf('"}')]);
    expect(() => parseImportLine(line)).toThrow('not UTF-8');
  });

  it('is blank where it has white space only', () => {
    expect([isBlank(bytesOf('')), isBlank(bytesOf(' \t\r')), isBlank(bytesOf('a'))]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe('a line of an export', () => {
  it('gives the record back to an import, whatever its bytes are', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const pieces = ['a', '"', '\\', '\n', '\u2028', '\ufeff', 'ü', '🎈', '\0', '}'].map((piece) =>
      bytesOf(piece),
    );
    for (let round = 0; round < 3000; round++) {
      const some = (): Uint8Array =>
        Buffer.concat(
          Array.from({ length: random.between(0, 5) }, () =>
            random.chance(0.1) ? random.bytes(random.between(1, 3)) : random.pick(pieces),
          ),
        );
      const record = { key: Buffer.concat([some(), bytesOf('k')]), value: some() };
      const ttl = random.chance(0.2) ? random.between(1, 1000) : null;
      const line = exportLine({ ...record, version: 7, ttl }, random.chance(0.5));
      expect(line.endsWith('\n') && line.indexOf('\n') === line.length - 1).toBe(true);
      const back = parseImportLine(bytesOf(line));
      expect(Buffer.from(back.key).equals(record.key), `seed ${seed}: ${line}`).toBe(true);
      expect(Buffer.from(back.value).equals(record.value), `seed ${seed}: ${line}`).toBe(true);
      expect(back.ttl).toBe(ttl ?? 0);
    }
  });

  it('has text where bytes are UTF-8, and the version only where it is asked for', () => {
    const entry = { key: bytesOf('ü'), value: Uint8Array.of(0xff), version: 7, ttl: null };
    expect(exportLine(entry, false)).toBe('{"key":"ü","valueBase64":"/w=="}\n');
    expect(exportLine({ ...entry, value: bytesOf('v'), ttl: 9 }, true)).toBe(
      '{"key":"ü","value":"v","ttl":9,"version":7}\n',
    );
  });
});

describe('what a terminal shows', () => {
  it('never holds control characters, and cannot be mistaken for something else', () => {
    const shown = (text: string): string => shownBytes(bytesOf(text));
    expect(shown('plain ü 🎈')).toBe('plain ü 🎈');
    expect(shown('\x1b[2Jgone\n')).toBe('"\\u001b[2Jgone\\n"');
    expect(shown('\u009b\u202e')).toBe('"\\u009b\\u202e"');
    expect(shown('"quoted"')).toBe('"\\"quoted\\""');
    expect(shown('base64:AA==')).toBe('"base64:AA=="');
    expect(shownBytes(Uint8Array.of(0xff))).toBe('base64:/w==');
  });
});
