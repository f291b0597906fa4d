import { beforeAll, describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { certificatesOf, checkKeyBlocks } from '../../src/peer/pem.ts';
import { testSeed } from '../seed.ts';
import { Authority } from './certificates.ts';

const seed = testSeed();
let one: string;
let other: string;
let key: string;
beforeAll(async () => {
  const [a, b] = await Promise.all([Authority.make('CN=One'), Authority.make('CN=Other')]);
  one = `${a.pem}\n`;
  other = `${b.pem}\n`;
  ({ key } = await a.issue());
});
const subjectsOf = (pem: string): string[] => certificatesOf(pem).map(({ subject }) => subject);
/** Why a file is refused. */
function faultOf(pem: string): string {
  try {
    certificatesOf(pem);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as Error).message;
  }
  return '';
}
const linesOf = (pem: string): number => pem.split('\n').length - 1;

describe('certificates in PEM', () => {
  it('are read in their order, with text around them, other blocks between them, and any ends of lines', () => {
    const text = 'Certificate:\n    Data: - 1 - \n-----\n=====\n\n';
    expect(subjectsOf(one + other)).toEqual(['CN=One', 'CN=Other']);
    expect(subjectsOf(`${text}${one}${text}${key}\n${other}${text}`)).toEqual(['CN=One', 'CN=Other']);
    expect(subjectsOf((one + other).replaceAll('\n', ' \r\n'))).toEqual(['CN=One', 'CN=Other']);
    expect(subjectsOf(one + other.trimEnd())).toEqual(['CN=One', 'CN=Other']);
  });

  it(`are refused wherever the second one is cut off (seed ${seed})`, () => {
    const random = new Random(seed);
    const whole = other.trimEnd();
    const cuts = [1, 4, 5, 6, 10, 20, 27, 28, whole.length - 1, whole.length - 20, whole.length - 26];
    for (let i = 0; i < 40; i++) cuts.push(random.between(1, whole.length - 1));
    for (const cut of cuts)
      expect(faultOf(one + whole.slice(0, cut)), `cut at ${cut}`).toMatch(
        cut < '-----BEGIN CERTIFICATE-----'.length
          ? new RegExp(`line ${linesOf(one) + 1} is neither the beginning nor the end of a block`)
          : new RegExp(
              `block 2 .CERTIFICATE, from line ${linesOf(one) + 1}. is cut off: the file ends in it`,
            ),
      );
    expect(subjectsOf(one + whole)).toEqual(['CN=One', 'CN=Other']);
  });

  it('are refused where the middle of one is missing, its end or its beginning', () => {
    const lines = other.trimEnd().split('\n');
    const without = (at: number): string => lines.filter((_, i) => i !== at).join('\n');
    expect(faultOf(`${one}${without(2)}\n${one}`)).toMatch(
      /^block 2 \(CERTIFICATE, lines \d+ to \d+\) is no certificate: /,
    );
    expect(faultOf(`${one}${without(lines.length - 1)}\n${one}`)).toMatch(
      /^block 2 \(CERTIFICATE, from line \d+\) is cut off: the next one begins on line \d+$/,
    );
    expect(faultOf(`${one}${without(0)}\n${one}`)).toMatch(
      /^line \d+ ends a block \(CERTIFICATE\) that does not begin$/,
    );
    expect(faultOf(`${one}${without(lines.length - 1)}\n-----END PRIVATE KEY-----\n`)).toMatch(
      /is cut off: line \d+ ends a block of another kind \(PRIVATE KEY\)$/,
    );
    const garbled = lines.map((line, i) => (i === 3 ? line.replaceAll(/\w/g, '!') : line)).join('\n');
    expect(faultOf(one + garbled)).toMatch(/^block 2 \(CERTIFICATE, lines \d+ to \d+\) is no certificate: /);
  });

  it('are refused where OpenSSL would pass over one that is indented', () => {
    const indented = other.replace(/^/gm, '  ');
    expect(faultOf(one + indented)).toMatch(
      /neither the beginning nor the end of a block.*BEGIN CERTIFICATE/,
    );
  });

  it('are refused where there are none, or more than so many', () => {
    for (const nothing of ['', 'hello', key])
      expect(faultOf(nothing)).toBe('the file holds no certificate in PEM');
    const { pemCertificatesMax } = limits;
    expect(certificatesOf(one.repeat(pemCertificatesMax)).length).toBe(pemCertificatesMax);
    expect(faultOf(one.repeat(pemCertificatesMax + 1))).toContain(
      `is one certificate too many: the limit is ${pemCertificatesMax} in a file`,
    );
  });
});

describe('keys in PEM', () => {
  it('may lie beside certificates and parameters', () => {
    const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n';
    for (const pem of [key, one + key, `${parameters}${key}`])
      expect(() => checkKeyBlocks(pem)).not.toThrow();
  });

  it('are refused where a block is not whole, or none is a key', () => {
    expect(() => checkKeyBlocks(one)).toThrow('the file holds no private key in PEM');
    expect(() => checkKeyBlocks(key.slice(0, -5))).toThrow('block 1 (PRIVATE KEY, from line 1) is cut off');
    expect(() => checkKeyBlocks(`${key}\n${one.slice(0, 100)}`)).toThrow(
      /block 2 \(CERTIFICATE, from line \d+\) is cut off/,
    );
  });
});
