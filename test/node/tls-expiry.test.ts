import { beforeAll, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { TlsExpiry, WARN_DAYS } from '../../src/node/tls-expiry.ts';
import type { PeerTls } from '../../src/peer/tls.ts';
import { Authority, fromNow } from '../peer/certificates.ts';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const paths = { cert: '/etc/cert.pem', ca: '/etc/ca.pem' };
/** 100 days and 200 days from now, so that certificate and CA do not expire together. */
const CERT_DAYS = 100;
const CA_DAYS = 200;
let ca: Authority;
let tls: PeerTls;
let nowMs: number;
beforeAll(async () => {
  nowMs = Date.now();
  ca = await Authority.make('CN=Test CA', null, fromNow(CA_DAYS));
  tls = await ca.issue({ notAfter: fromNow(CERT_DAYS) });
});

class Watch {
  readonly clock = new ManualClock(nowMs);
  readonly logged: string[] = [];
  readonly expiry = new TlsExpiry({
    clock: this.clock,
    paths,
    log: (level, message) => void this.logged.push(`${level}: ${message}`),
  });
  constructor(used = tls) {
    this.expiry.use(used);
    this.expiry.look();
  }
  /** What is said while so much passes, at a look an hour. */
  after(days: number): string[] {
    const before = this.logged.length;
    for (let passed = 0; passed < days * 24; passed++) {
      this.clock.advanceMs(HOUR_MS);
      this.expiry.look();
    }
    return this.logged.slice(before);
  }
}

describe('the expiry of certificates for other nodes', () => {
  it('is told at 30 days, 7 days and 1 day, and as an error when it has come, once a day', () => {
    const watch = new Watch();
    expect(WARN_DAYS).toEqual([30, 7, 1]);
    expect(watch.after(CERT_DAYS - 30 - 1)).toEqual([]);
    const [first, ...others] = watch.after(2);
    expect(others).toEqual([]);
    expect(first).toMatch(
      /^warn: the certificate for other nodes in peer-tls-cert \/etc\/cert\.pem \(CN=node, serial \w+\) expires in (29|30) days, at 20\d\d-.*Z: then other nodes refuse/,
    );
    expect(watch.after(21)).toEqual([]);
    expect(watch.after(2)).toEqual([expect.stringMatching(/^warn: .* expires in [67] days/)]);
    expect(watch.after(4)).toEqual([]);
    expect(watch.after(1.5)).toEqual([expect.stringMatching(/^warn: .* expires in 2\d hours/)]);
    expect(watch.after(1)).toEqual([expect.stringMatching(/^error: the certificate .*has expired, at 20/)]);
    for (let day = 0; day < 5; day++)
      expect(watch.after(1)).toEqual([expect.stringMatching(/^error: the certificate .*has expired, at 20/)]);
  });

  it('is told of CAs as well, those behind others in the file too', async () => {
    const soon = await Authority.make('CN=Soon', null, fromNow(20));
    const watch = new Watch({ ...tls, ca: `${ca.pem}\n${soon.pem}\n` });
    expect(watch.logged).toEqual([
      expect.stringMatching(
        /^warn: a CA in peer-tls-ca \/etc\/ca\.pem \(CN=Soon, serial \w+\) expires in (19|20) days, at .*: then this node refuses/,
      ),
    ]);
    expect(watch.after(30).filter((line) => line.startsWith('error: a CA')).length).toBeGreaterThan(8);
  });

  it('is told of certificates in between', async () => {
    const between = await Authority.make('CN=Between', ca, fromNow(3));
    const chained = await between.issue({ notAfter: fromNow(CERT_DAYS) });
    const watch = new Watch({ ...chained, cert: `${chained.cert}\n${between.pem}`, ca: ca.pem });
    expect(watch.logged).toEqual([
      expect.stringMatching(/^warn: a further certificate for other nodes in peer-tls-cert .*CN=Between/),
    ]);
  });

  it('is told at once of what is used anew, and not again of what stays', async () => {
    const soon = await Authority.make('CN=Soon', null, fromNow(20));
    const watch = new Watch({ ...tls, ca: soon.pem });
    expect(watch.logged.length).toBe(1);
    watch.expiry.use({ ...(await ca.issue({ notAfter: fromNow(5) })), ca: soon.pem });
    watch.expiry.look();
    expect(watch.logged.slice(1)).toEqual([
      expect.stringMatching(/^warn: the certificate .* expires in [45] days/),
    ]);
    watch.expiry.use({ ...tls, ca: ca.pem });
    expect(watch.after(19)).toEqual([]);
  });

  it('is told again where the clock was ahead and is set right', () => {
    const watch = new Watch();
    watch.clock.advanceMs(80 * DAY_MS);
    watch.expiry.look();
    expect(watch.logged.length).toBe(1);
    watch.clock.advanceMs(-80 * DAY_MS);
    expect(watch.after(60)).toEqual([]);
    expect(watch.after(15)).toEqual([expect.stringMatching(/^warn: .* expires in (29|30) days/)]);
  });
});
