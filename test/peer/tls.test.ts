import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { FrameKind } from '../../src/peer/frame.ts';
import { RefusalCode } from '../../src/peer/hello.ts';
import { checkTls, type PeerTls } from '../../src/peer/tls.ts';
import { Authority, type CertificateOptions, ExtendedKeyUsage, fromNow } from './certificates.ts';
import { closeAll, connected, idOf, rawTlsTo, rawTo, TestPeer, until } from './harness.ts';

const TIMEOUT_MS = 60_000;
let ca: Authority;
let other: Authority;
let good: PeerTls;
beforeAll(async () => {
  [ca, other] = await Promise.all([Authority.make(), Authority.make('CN=Another CA')]);
  good = await ca.issue();
});
afterEach(closeAll);

const newPeer = (node: number, tls: PeerTls | null): Promise<TestPeer> =>
  new TestPeer(node, tls === null ? {} : { tls }).listen();
/** Neither has the other, and neither has had it. */
function expectApart(one: TestPeer, two: TestPeer): void {
  expect([one.events, two.events, one.received, two.received]).toEqual([[], [], [], []]);
}

describe('two nodes with certificates', () => {
  it.each([
    ['of their cluster', {}],
    ['of their cluster and of others', { uris: ['ringkv://prod', 'https://example.com', 'ringkv://test'] }],
    ['of their own ids', { uris: [`ringkv://test/${idOf(2)}`] }],
    ['without extended key usages', { usages: [] }],
  ] as readonly [string, CertificateOptions][])('%s exchange messages', async (_, options) => {
    const one = await newPeer(1, good);
    const two = await newPeer(2, await ca.issue(options));
    await connected(one, two);
    expect(two.say(1, 'from two')).toBe(true);
    expect(one.say(2, 'from one')).toBe(true);
    await until(() => one.received.length === 1 && two.received.length === 1);
    expect([one.received, two.received]).toEqual([['2: from two'], ['1: from one']]);
  });

  it('of a cluster whose name needs percent-encoding have each other', async () => {
    const tls = await ca.issue({ uris: ['ringkv://a%2Fb%20%C3%BC'] });
    const one = await new TestPeer(1, { tls, clusterName: 'a/b ü' }).listen();
    await connected(one, await new TestPeer(2, { tls, clusterName: 'a/b ü' }).listen());
  });

  it('that are renewed use the new ones from then on, and keep their connections', async () => {
    const one = await newPeer(1, good);
    const two = await newPeer(2, good);
    await connected(one, two);
    // The new CA signs for all: who still has the old certificates is refused from now on.
    one.transport.renewTls(await other.issue());
    expect(two.say(1, 'still there')).toBe(true);
    await until(() => one.received.length === 1);
    const late = await newPeer(3, good);
    late.transport.setAddress(1, one.address);
    await late.logged(/not signed by a CA/);
    const renewed = await newPeer(4, await other.issue());
    await connected(renewed, one);
    const dialled = await newPeer(5, await other.issue());
    await connected(one, dialled);
  });
});

describe('a node that shows', () => {
  const issued: readonly (readonly [string, () => Promise<PeerTls>, RegExp])[] = [
    [
      'a certificate of another CA',
      async () => ({ ...(await other.issue()), ca: ca.pem }),
      /not signed by a CA of this node \([A-Z_]+; valid from/,
    ],
    [
      'a certificate that has expired',
      () => ca.issue({ notBefore: fromNow(-2), notAfter: fromNow(-1) }),
      /the certificate of the peer has expired \(CERT_HAS_EXPIRED/,
    ],
    [
      'a certificate that is not valid yet',
      () => ca.issue({ notBefore: fromNow(1), notAfter: fromNow(2) }),
      /the certificate of the peer is not valid yet \(CERT_NOT_YET_VALID/,
    ],
    [
      'a certificate of another cluster',
      () => ca.issue({ uris: ['ringkv://prod'] }),
      /has no name ringkv:\/\/test \(URI\); it has URI:ringkv:\/\/prod/,
    ],
    [
      'a certificate of a cluster whose name begins the same',
      () => ca.issue({ uris: ['ringkv://test2', 'ringkv://test2/x'] }),
      /has no name ringkv:\/\/test \(URI\)/,
    ],
    ['a certificate without a name', () => ca.issue({ uris: [] }), /has no name .*; it has none/],
    [
      'the certificate of another node',
      () => ca.issue({ uris: [`ringkv://test/${idOf(9)}`] }),
      /is for ringkv:\/\/test\/00000009\d+, and its node id is 00000002/,
    ],
  ];

  it.each(issued)('%s gets no connection when it dials, and both are told why', async (_, issue, why) => {
    const one = await newPeer(1, good);
    const two = await newPeer(2, await issue());
    two.transport.setAddress(1, one.address);
    await Promise.all([one.logged(why), two.logged(why)]);
    await two.logged(/cannot connect with node 00000001 at .*: refused by the other end \(9\): /);
    expectApart(one, two);
  });

  it.each(issued)('%s gets none when it is dialled, and both are told why', async (_, issue, why) => {
    const one = await newPeer(1, good);
    const two = await newPeer(2, await issue());
    one.transport.setAddress(2, two.address);
    await Promise.all([one.logged(why), two.logged(why)]);
    await one.logged(/cannot connect with node 00000002 at /);
    expectApart(one, two);
  });

  it('a certificate for servers alone cannot dial, and one for clients alone cannot be dialled', async () => {
    const why = /lacks serverAuth or clientAuth/;
    const one = await newPeer(1, good);
    const server = await newPeer(2, await ca.issue({ usages: [ExtendedKeyUsage.serverAuth] }));
    server.transport.setAddress(1, one.address);
    await Promise.all([one.logged(why), server.logged(why)]);
    const client = await newPeer(3, await ca.issue({ usages: [ExtendedKeyUsage.clientAuth] }));
    one.transport.setAddress(3, client.address);
    await client.logged(why);
    expectApart(one, server);
    expectApart(one, client);
  });
});

describe('a node with TLS', () => {
  it('refuses who shows no certificate, and reads nothing of what it says', async () => {
    const one = await newPeer(1, good);
    const raw = await rawTlsTo(one, { ca: ca.pem });
    raw.greet();
    expect(await raw.refusal()).toEqual({
      code: RefusalCode.CERTIFICATE,
      message: 'the peer showed no certificate',
    });
    await one.logged(/a connection from 127.0.0.1:\d+ was not made: the peer showed no certificate/);
    await until(() => raw.closed);
    expect([one.events, raw.has(FrameKind.HELLO)]).toEqual([[], false]);
  });

  it('reads nothing of who shows a certificate that it does not trust, whatever it claims', async () => {
    const one = await newPeer(1, good);
    const { cert, key } = await other.issue();
    const raw = await rawTlsTo(one, { cert, key, rejectUnauthorized: false });
    raw.greet();
    expect((await raw.refusal()).code).toBe(RefusalCode.CERTIFICATE);
    await until(() => raw.closed);
    expect([one.events, raw.has(FrameKind.HELLO)]).toEqual([[], false]);
  });

  it('refuses TLS 1.2', async () => {
    const one = await newPeer(1, good);
    const raw = await rawTlsTo(one, { ...good, maxVersion: 'TLSv1.2' });
    await one.logged(/does not speak TLS 1\.3/);
    await until(() => raw.closed);
    expect(one.events).toEqual([]);
  });

  it('has no connection with one that has none, whoever dials, and both say that it is TLS', async () => {
    const one = await newPeer(1, good);
    const two = await newPeer(2, null);
    two.transport.setAddress(1, one.address);
    await Promise.all([one.logged(/does not speak TLS/), two.logged(/TLS, and this node does not/)]);
    const three = await newPeer(3, null);
    one.transport.setAddress(3, three.address);
    await Promise.all([one.logged(/node 00000003 .*does not speak TLS/), three.logged(/speaks TLS, and/)]);
    expectApart(one, two);
    expectApart(one, three);
  });

  it('closes garbage, before TLS and inside it, and serves others', async () => {
    const one = await newPeer(1, good);
    const before = await rawTo(one);
    before.socket.write(Buffer.alloc(4096, 0xa5));
    const inside = await rawTlsTo(one, good);
    inside.socket.write(Buffer.alloc(4096, 0xa5));
    expect((await inside.refusal()).code).toBe(RefusalCode.MALFORMED);
    await one.logged(/failed in TLS/);
    await until(() => before.closed && inside.closed);
    await connected(one, await newPeer(2, good));
  });

  it(
    'gives up, in bounded time, who says nothing, greets byte by byte, or sends a frame byte by byte',
    async () => {
      const one = await newPeer(1, good);
      const silent = await rawTo(one);
      const slow = await rawTo(one);
      const withoutHello = await rawTlsTo(one, good);
      const slowFrame = await rawTlsTo(one, good);
      slowFrame.greet();
      await until(() => one.transport.isConnected(77));
      // The head of a client's hello of 512 bytes, and then nothing but zeros.
      const hello = Buffer.alloc(512);
      hello.set([0x16, 0x03, 0x01, 0x01, 0xf8, 0x01, 0x00, 0x01, 0xf4, 0x03, 0x03]);
      let sent = 0;
      const dribble = setInterval(() => {
        if (!slow.closed) slow.socket.write(hello.subarray(sent, sent + 1));
        if (!slowFrame.closed) slowFrame.socket.write(Buffer.from([1]));
        sent++;
      }, 100);
      try {
        await until(() => [silent, slow, withoutHello, slowFrame].every(({ closed }) => closed));
      } finally {
        clearInterval(dribble);
      }
      await one.logged(new RegExp(`no whole frame within ${limits.peerIdleMs} ms`));
      await one.logged(new RegExp(`no hello within ${limits.peerHandshakeMs} ms`));
      await one.logged(/failed in TLS: .*handshake timeout/i);
      expect(one.transport.isConnected(77)).toBe(false);
    },
    TIMEOUT_MS,
  );
});

describe('files of TLS', () => {
  it('that belong together are taken', () => {
    expect(() => checkTls(good, 'test', idOf(1))).not.toThrow();
  });

  it.each([
    ['peer-tls-cert', (): PeerTls => ({ ...good, cert: 'no certificate' })],
    ['peer-tls-cert', (): PeerTls => ({ ...good, cert: good.key })],
    ['peer-tls-ca', (): PeerTls => ({ ...good, ca: '' })],
    ['peer-tls-key', (): PeerTls => ({ ...good, key: good.cert })],
    ['peer-tls-key', (): PeerTls => ({ ...good, key: good.key.slice(0, 60) })],
  ])('name %s where it holds something else', (setting, files) => {
    expect(() => checkTls(files(), 'test', idOf(1))).toThrow(ConfigurationError);
    expect(() => checkTls(files(), 'test', idOf(1))).toThrow(new RegExp(`${setting}: the file holds no`));
  });

  it('say so where the key is that of another certificate', async () => {
    const { key } = await ca.issue();
    expect(() => checkTls({ ...good, key }, 'test', idOf(1))).toThrow(
      /peer-tls-key is not the key of .*peer-tls-cert/,
    );
  });

  it('say so where the certificate is of another cluster or of another node', async () => {
    expect(() => checkTls(good, 'prod', idOf(1))).toThrow(/no name ringkv:\/\/prod \(URI\)/);
    const own = await ca.issue({ uris: [`ringkv://test/${idOf(2)}`] });
    expect(() => checkTls(own, 'test', idOf(1))).toThrow(/is for ringkv:\/\/test\/00000002/);
    expect(() => checkTls(own, 'test', idOf(2))).not.toThrow();
  });
});
