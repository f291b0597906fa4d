import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { TlsFiles } from '../../src/node/tls-files.ts';
import { checkRenewal, checkTls, type PeerTls } from '../../src/peer/tls.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { ManualTimers } from '../cluster/manual-timers.ts';
import { Authority, type CertificateOptions, ExtendedKeyUsage, fromNow } from '../peer/certificates.ts';

const NODE = '5eed'.repeat(8);
const WHATS = ['cert', 'key', 'ca'] as const;
let ca: Authority;
let other: Authority;
let first: PeerTls;
let directory: string;
beforeAll(async () => {
  [ca, other] = await Promise.all([Authority.make(), Authority.make('CN=Another CA')]);
  first = await ca.issue();
});
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringkv-tls-files-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const pathOf = (what: string): string => join(directory, `${what}.pem`);
function put(tls: Partial<PeerTls>): void {
  for (const what of WHATS) {
    const text = tls[what];
    if (text === undefined) continue;
    writeFileSync(`${pathOf(what)}.new`, text);
    renameSync(`${pathOf(what)}.new`, pathOf(what));
  }
}

class Watched {
  readonly timers = new ManualTimers();
  readonly renewed: PeerTls[] = [];
  readonly logged: string[] = [];
  readonly files: TlsFiles;
  /** `nowMs`: of its clock, by default long before any certificate expires. */
  constructor(nowMs = 0) {
    this.timers.clock.advanceMs(nowMs);
    this.files = new TlsFiles({
      fs: realFileSystem,
      paths: { cert: pathOf('cert'), key: pathOf('key'), ca: pathOf('ca') },
      timers: this.timers,
      clock: this.timers.clock,
      check: (tls) => checkTls(tls, 'test', NODE),
      checkRenewal: (tls) => checkRenewal(tls, 'test', NODE, Date.now()),
      onRenewed: (tls) => void this.renewed.push(tls),
      log: (level, message) => void this.logged.push(`${level}: ${message}`),
    });
    this.files.start();
  }
  looks(count: number): void {
    this.timers.advance(count * limits.peerTlsLookMs);
  }
}
function watched(): Watched {
  put(first);
  return new Watched();
}

describe('the files of a certificate', () => {
  it('are taken when two looks have found the same new ones, and not again', async () => {
    const at = watched();
    at.looks(3);
    expect([at.renewed, at.logged]).toEqual([[], []]);
    const second = await ca.issue({ notAfter: fromNow(1.5) });
    put(second);
    at.looks(1);
    expect(at.renewed).toEqual([]);
    at.looks(5);
    expect(at.renewed).toEqual([second]);
    expect(at.files.tls).toEqual(second);
    expect(at.logged).toEqual([expect.stringContaining('was renewed (valid until')]);
    const { validUntilMs, renewals, refusals } = at.files.figures;
    expect([renewals, refusals]).toEqual([1, 0]);
    expect(Math.abs(validUntilMs - fromNow(1.5).getTime())).toBeLessThan(60_000);
  });

  it('are taken at once where somebody asks', async () => {
    const at = watched();
    const second = await ca.issue();
    put(second);
    at.files.renew();
    expect(at.renewed).toEqual([second]);
    at.files.renew();
    expect(at.renewed.length).toBe(1);
    expect(at.logged[1]).toContain('in use already');
  });

  it('may be replaced one after another, by renaming, in place or by a link, and never mix', async () => {
    const at = watched();
    const second = await ca.issue();
    // Between two looks each: the key of the new certificate comes last.
    for (const part of [{ ca: second.ca }, { cert: second.cert }]) {
      put(part);
      at.looks(1);
    }
    writeFileSync(pathOf('key'), second.key);
    at.looks(1);
    expect([at.renewed, at.logged]).toEqual([[], []]);
    at.looks(1);
    expect(at.renewed).toEqual([second]);

    const third = await ca.issue();
    for (const what of WHATS) {
      writeFileSync(`${pathOf(what)}.3`, third[what]);
      unlinkSync(pathOf(what));
      symlinkSync(`${pathOf(what)}.3`, pathOf(what));
    }
    at.looks(2);
    expect(at.renewed).toEqual([second, third]);
    at.looks(3);
    expect(at.files.figures.refusals).toBe(0);
  });

  it('may bring another CA: one that signs alone, one beside the old, and one in between', async () => {
    const at = watched();
    const byOther = await other.issue();
    const both = `${first.ca}\n${other.pem}\n`;
    put({ ...first, ca: both });
    at.files.renew();
    put({ ...byOther, ca: both });
    at.files.renew();
    put(byOther);
    at.files.renew();
    expect(at.logged.filter((line) => line.startsWith('error'))).toEqual([]);
    expect(at.renewed.length).toBe(3);
    const between = await Authority.make('CN=Between', other);
    const chained = await between.issue();
    put({ ...chained, ca: other.pem });
    at.files.renew();
    expect(at.logged.at(-1)).toMatch(
      /not signed by a CA in peer-tls-ca that is valid now .issuer CN=Between/,
    );
    put({ ...chained, cert: `${chained.cert}\n${between.pem}`, ca: other.pem });
    at.files.renew();
    expect(at.renewed.length).toBe(4);
    put({ ...chained, ca: `${between.pem}\n${other.pem}` });
    at.files.renew();
    expect(at.renewed.length).toBe(5);
    // OpenSSL takes no CA in between for the end of the way: with this no connection would be made any more.
    put({ ...chained, ca: between.pem });
    at.files.renew();
    expect(at.renewed.length).toBe(5);
    expect(at.logged.at(-1)).toMatch(/issuer CN=Between.*, up to a root that signs itself/);
  });

  const bad: readonly (readonly [string, (good: PeerTls) => Promise<Partial<PeerTls>>, RegExp])[] = [
    [
      'a key of another certificate',
      async () => ({ key: (await ca.issue()).key }),
      /peer-tls-key is not the key of/,
    ],
    [
      'a certificate of another CA',
      async () => ({ ...(await other.issue()), ca: ca.pem }),
      /not signed by a CA in peer-tls-ca/,
    ],
    [
      'a certificate of another CA of the same name',
      async () => ({ ...(await (await Authority.make()).issue()), ca: ca.pem }),
      /not signed by a CA in peer-tls-ca/,
    ],
    [
      'a certificate of a CA that has expired',
      async () => (await Authority.make('CN=Old CA', null, fromNow(-0.5))).issue(),
      /not signed by a CA in peer-tls-ca that is valid now/,
    ],
    [
      'a CA that has signed nothing of it',
      async () => ({ ca: other.pem }),
      /not signed by a CA in peer-tls-ca that is valid now \(issuer CN=Test CA\)/,
    ],
    [
      'no certificate',
      async () => ({ cert: 'hello' }),
      /peer-tls-cert .*cert\.pem: the file holds no certificate in PEM/,
    ],
    [
      'half a certificate',
      async ({ cert }) => ({ cert: cert.slice(0, cert.length / 2) }),
      /peer-tls-cert .*cert\.pem: block 1 \(CERTIFICATE, from line 1\) is cut off: the file ends in it/,
    ],
    [
      'two CAs, the second of which is cut off',
      async ({ ca: one }) => ({ ca: `${one}\n${other.pem.slice(0, -40)}` }),
      /peer-tls-ca .*ca\.pem: block 2 \(CERTIFICATE, from line \d+\) is cut off: the file ends in it/,
    ],
    [
      'half a key behind a whole one',
      async ({ key }) => ({ key: `${key}\n${key.slice(0, key.length / 2)}` }),
      /peer-tls-key .*key\.pem: block 2 \(PRIVATE KEY, from line \d+\) is cut off/,
    ],
    ['nothing', async () => ({ ca: '' }), /peer-tls-ca .*: the file holds no certificate/],
    [
      'a certificate of another cluster',
      () => issued({ uris: ['ringkv://prod'] }),
      /no name ringkv:\/\/test/,
    ],
    [
      'a certificate of another node',
      () => issued({ uris: [`ringkv://test/${'1'.repeat(32)}`] }),
      /its node id is 5eed/,
    ],
    [
      'a certificate for servers alone',
      () => issued({ usages: [ExtendedKeyUsage.serverAuth] }),
      /other nodes would refuse this node: its certificate lacks clientAuth among its extended key usages/,
    ],
    [
      'a certificate for clients alone',
      () => issued({ usages: [ExtendedKeyUsage.clientAuth] }),
      /its certificate lacks serverAuth/,
    ],
    [
      'a key that is too short for TLS',
      () => issued({ rsaBits: 512 }),
      /TLS cannot use them: .*key too small/,
    ],
    [
      'a further certificate that is cut off',
      async ({ cert }) => ({ cert: `${cert}\n${cert.slice(0, cert.length / 2)}` }),
      /peer-tls-cert .*: block 2 \(CERTIFICATE, from line \d+\) is cut off/,
    ],
    [
      'a certificate that has expired',
      () => issued({ notBefore: fromNow(-2), notAfter: fromNow(-1) }),
      /the certificate has expired: it is valid from .* to /,
    ],
    [
      'a certificate that is not valid yet',
      () => issued({ notBefore: fromNow(0.5), notAfter: fromNow(1) }),
      /the certificate is not valid yet/,
    ],
  ];
  const issued = (options: CertificateOptions): Promise<PeerTls> => ca.issue(options);

  it.each(bad)('that hold %s are not taken, and the log says why, once', async (_, change, says) => {
    const at = watched();
    put(await change(first));
    at.looks(6);
    expect([at.renewed, at.files.tls]).toEqual([[], first]);
    expect(at.logged).toEqual([expect.stringMatching(says)]);
    expect(at.logged[0]).toMatch(/^error: .*not renewed, and the one in use \(valid until .*\) stays/);
    expect(at.files.figures).toMatchObject({ renewals: 0, refusals: 1 });
    // Who asks is told again, and good ones are taken as ever.
    at.files.renew();
    expect(at.logged.length).toBe(2);
    const second = await ca.issue();
    put(second);
    at.looks(2);
    expect(at.renewed).toEqual([second]);
  });

  it('that are not there, or too long, are no reason to stop', async () => {
    const at = watched();
    unlinkSync(pathOf('key'));
    at.looks(3);
    expect(at.logged).toEqual([expect.stringMatching(/peer-tls-key .*key\.pem: cannot be read: .*ENOENT/)]);
    const long = { key: 'x'.repeat(limits.pemFileBytesMax + 1) };
    put(long);
    at.looks(3);
    expect(at.logged[1]).toContain(`the limit is ${limits.pemFileBytesMax}`);
    put(first);
    at.looks(3);
    expect([at.renewed, at.logged.length]).toEqual([[], 2]);
    // The same fault again is said again: it had gone.
    put(long);
    at.looks(3);
    expect(at.logged.length).toBe(3);
  });

  it('that are not whole keep a node from starting, and the error names file and block', () => {
    put({ ...first, ca: `${first.ca}\n${other.pem.slice(0, -30)}` });
    expect(() => new Watched()).toThrow(
      /^peer-tls-ca .*ca\.pem: block 2 \(CERTIFICATE, from line \d+\) is cut off/,
    );
    put({ ...first, cert: `${first.cert}\n${other.pem.slice(0, -30)}` });
    expect(() => new Watched()).toThrow(
      /^peer-tls-cert .*cert\.pem: block 2 \(CERTIFICATE, from line \d+\) is cut off/,
    );
    put({ ...first, key: first.key.slice(0, -30) });
    expect(() => new Watched()).toThrow(
      /^peer-tls-key .*key\.pem: block 1 \(PRIVATE KEY, from line 1\) is cut off/,
    );
  });

  it('are said to expire while they are in use, from the start on', async () => {
    put(await ca.issue({ notAfter: fromNow(5) }));
    const at = new Watched(Date.now());
    expect(at.logged.filter((line) => line.includes('the certificate'))).toEqual([
      expect.stringMatching(
        /^warn: the certificate for other nodes in peer-tls-cert .*cert\.pem .* expires in [45] days/,
      ),
    ]);
    put(await ca.issue({ notAfter: fromNow(1.5) }));
    at.looks(2);
    expect(at.logged.at(-1)).toMatch(/^warn: the certificate for other nodes .* expires in \d\d hours/);
    const said = at.logged.length;
    at.looks(20);
    expect(at.logged.length).toBe(said);
  });

  it('are looked at no more after the end', async () => {
    const at = watched();
    at.files.stop();
    put(await ca.issue());
    at.looks(5);
    expect(at.renewed).toEqual([]);
  });
});
