import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBase64, parseJsonObject } from '../../src/front/json.ts';
import { plainValue } from '../../src/front/plain-value.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** What json.ts makes of a body: its value where it is an object of a value alone, otherwise null. */
function parsedValue(body: Uint8Array): Uint8Array | null {
  try {
    const fields = parseJsonObject(body);
    const { value } = fields;
    if (Object.keys(fields).length !== 1 || typeof value !== 'string') return null;
    return decodeBase64(value, 'value');
  } catch {
    return null;
  }
}
/** Both readings agree wherever the short one gives a value. */
function agrees(body: Uint8Array): boolean {
  const short = plainValue(body);
  if (short === null) return false;
  expect([...short], Buffer.from(body).toString('latin1')).toEqual([...(parsedValue(body) ?? 'refused')]);
  return true;
}

describe(`the usual JSON body of a PUT (seed ${seed})`, () => {
  const blanks = fc.string({ unit: fc.constantFrom(' ', '\n', '\r', '\t'), maxLength: 3 });

  it('gives the value of any bytes, with any blanks between the parts', () => {
    const value = fc.uint8Array({ maxLength: 100 });
    fc.assert(
      fc.property(value, fc.array(blanks, { minLength: 7, maxLength: 7 }), (bytes, b) => {
        const text = `${b[0]}{${b[1]}"value"${b[2]}:${b[3]}"${base64(bytes)}"${b[4]}}${b[5]}`;
        expect(plainValue(utf8(text))).toEqual(Buffer.from(bytes));
      }),
      { seed, numRuns: 1000 },
    );
  });
  it('gives the value of a body that lies anywhere in its memory', () => {
    const body = utf8('{"value":"aGVyZQ=="}');
    const memory = Buffer.concat([Buffer.from('{"value":"dGhlcmU="}'), body]);
    expect(plainValue(memory.subarray(-body.length))?.toString()).toBe('here');
  });
  it('gives values of every length up to 6 KB, one after another', () => {
    for (let length = 0; length <= 6144; length += length < 70 ? 1 : 61) {
      const bytes = Buffer.alloc(length, `${length}`);
      expect(plainValue(utf8(JSON.stringify({ value: base64(bytes) })))).toEqual(bytes);
    }
  });
  it('never gives another value than the parser, whatever is changed in a body', () => {
    // What base64, JSON and their readers treat differently from one another.
    const byte = fc.constantFrom(...utf8('AZaz09+/=-_"\\{}[]:, \n\t\u0000,u0041value'), 0xc5, 0x81, 0xff);
    const change = fc.record({
      at: fc.nat(),
      remove: fc.nat({ max: 2 }),
      add: fc.array(byte, { maxLength: 2 }),
    });
    let taken = 0;
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 12 }),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        (bytes, changes) => {
          const body = [...utf8(`{"value":"${base64(bytes)}"}`)];
          for (const { at, remove, add } of changes) body.splice(at % (body.length + 1), remove, ...add);
          if (agrees(Uint8Array.from(body))) taken++;
        },
      ),
      { seed, numRuns: 20_000 },
    );
    // Some changes make another value of it.
    expect(taken).toBeGreaterThan(100);
  });
  it('never gives another value than the parser, for each character in each place of the last four', () => {
    for (const end of ['AAAA', 'AAA=', 'AA==', 'A===', '====', '=AAA', 'AA=A'])
      for (let at = 0; at < 4; at++)
        for (let code = 0; code < 256; code++) {
          const body = utf8(`{"value":"QUJD${end}"}`);
          body['{"value":"QUJD'.length + at] = code;
          agrees(body);
        }
  });
  it.each([
    ['a second field', '{"value":"QQ==","ttl":5}'],
    ['a second field of the same name', '{"value":"QQ==","value":"QUI="}'],
    ['a value with an escape', '{"value":"QQ=\\u003d"}'],
    ['base64url', '{"value":"-_-_"}'],
    ['bits behind the last byte', '{"value":"QR=="}'],
    ['no padding', '{"value":"QQ"}'],
    ['a number', '{"value":5}'],
    ['another name', '{"Value":"QQ=="}'],
    ['an array', '[{"value":"QQ=="}]'],
    ['what JSON takes for no blank: a form feed', '{\f"value":"QQ=="}'],
    ['what JSON takes for no blank: a vertical tab', '{"value":\v"QQ=="}'],
    ['what JSON takes for no blank: a space that does not break', '{"value":"QQ=="}\u00a0'],
    ['what is long', JSON.stringify({ value: base64(new Uint8Array(128 * 1024)) })],
    ['what does not end', '{"value":"QQ=="'],
    ['a quote alone', '{"value":"}'],
    ['nothing', ''],
    ['blanks', ' \n'],
  ])('leaves %s to the parser', (_, text) => {
    expect(plainValue(utf8(text))).toBeNull();
  });
});
