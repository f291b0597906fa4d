/** Nodes with TLS between them, as real processes. */
import { X509Certificate } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseAddress } from '../../src/base/address.ts';
import type { PeerTls } from '../../src/peer/tls.ts';
import { Authority, fromNow } from '../peer/certificates.ts';
import { until, Workplace } from './cli-process.ts';
import { type ClusterMember, eventually, missing, ProcessCluster, Writer } from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
const WAIT_MS_MAX = 60_000;
const CLUSTER = 'ringkv://ringkv';

let ca: Authority;
let place: Workplace;
beforeAll(async () => {
  ca = await Authority.make();
});
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

/** The flags of a node with these files. */
function flagsOf(name: string, tls: PeerTls): string[] {
  return (['cert', 'key', 'ca'] as const).flatMap((what) => {
    const path = place.path(`${name}-${what}.pem`);
    writeFileSync(path, tls[what], { mode: 0o600 });
    return [`--peer-tls-${what}`, path];
  });
}

describe('a cluster with TLS between its nodes', () => {
  it(
    'forms and serves, by certificates of the cluster and of single nodes, and lets no stranger in',
    async () => {
      const cluster = new ProcessCluster(place);
      const shared = await ca.issue({ uris: [CLUSTER] });
      const id = '5eed'.repeat(8);
      const first = await cluster.start('n1', ...flagsOf('n1', shared));
      await cluster.start('n2', ...flagsOf('n2', shared));
      const own = flagsOf('n3', await ca.issue({ uris: [`${CLUSTER}/${id}`] }));
      await cluster.start('n3', '--node-id', id, ...own);
      await cluster.settled(3);
      const writer = new Writer(() => cluster.members.map(({ url }) => url), 4);
      try {
        await writer.more(200);
      } finally {
        await writer.stop();
      }
      expect(writer.failures).toEqual([]);
      for (const { url } of cluster.members) expect(await missing(url, writer.acknowledged)).toEqual([]);

      const another = await Authority.make('CN=Another CA');
      const strangers = [flagsOf('other-ca', await another.issue({ uris: [CLUSTER] })), []] as const;
      const ports = ['--port', '0', '--peer-port', '0', '--vnodes', '64', '--seeds', first.peer];
      for (const [i, flags] of strangers.entries()) {
        const stranger = place.start('serve', ...ports, '--data', place.path(`stranger-${i}`), ...flags);
        await until(() => /answers, and serves once/.test(stranger.err) || !stranger.running, WAIT_MS_MAX);
        const url = /(http:\/\/\S+) answers/.exec(stranger.err)?.[1] ?? '';
        const why = i === 0 ? 'not signed by a CA' : 'TLS';
        await eventually(`stranger ${i} says why it is not let in`, async () => {
          const answer = await fetch(`${url}/readyz`);
          return answer.status === 503 && (await answer.text()).includes(why);
        });
        stranger.kill('SIGTERM');
        expect((await stranger.ended).code).toBe(0);
        expect(stranger.err).not.toContain('connected with node');
      }
      expect(first.process.err).toContain('not signed by a CA');
      expect(first.process.err).toContain('does not speak TLS');
      await cluster.settled(3);
    },
    TIMEOUT_MS,
  );
});

/** What a node shows to who connects. */
function shownBy(peer: string): Promise<string> {
  const { host, port } = parseAddress(peer);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, rejectUnauthorized: false, minVersion: 'TLSv1.3' }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
const fingerprintOf = ({ cert }: PeerTls): string => new X509Certificate(cert).fingerprint256;
async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (-?[0-9.]+)$`, 'm').exec(text)?.[1]);
}

describe('a cluster whose certificates are renewed', () => {
  it(
    'goes over to another CA while it is written to, without a restart, by looking itself and by SIGHUP',
    async () => {
      const cluster = new ProcessCluster(place);
      const names = ['n1', 'n2', 'n3'];
      const old = await ca.issue({ uris: [CLUSTER], notAfter: fromNow(0.5) });
      for (const name of names) await cluster.start(name, ...flagsOf(name, old));
      await cluster.settled(3);
      const another = await Authority.make('CN=Next CA');
      const next = await another.issue({ uris: [CLUSTER], notAfter: fromNow(1.5) });
      const renewals = async (count: number): Promise<void> =>
        eventually(`${count} renewals at each node`, async () => {
          const all = await Promise.all(
            cluster.members.map(({ url }) => metric(url, 'ringkv_peer_certificate_renewals_total')),
          );
          return all.every((one) => one === count);
        });
      const writer = new Writer(() => cluster.members.map(({ url }) => url), 2);
      try {
        await writer.more(50);
        const both = `${ca.pem}\n${another.pem}`;
        // First all trust both, by looking themselves.
        for (const name of names) flagsOf(name, { ...old, ca: both });
        await renewals(1);
        // Then each shows the new one, and trusts that alone, told so.
        for (const [count, tls] of [
          [2, { ...next, ca: both }],
          [3, next],
        ] as const) {
          for (const name of names) flagsOf(name, tls);
          for (const { process } of cluster.members) process.kill('SIGHUP');
          await renewals(count);
        }
        await writer.more(50);
      } finally {
        await writer.stop();
      }
      expect(writer.failures).toEqual([]);
      for (const { peer, url, process } of cluster.members) {
        expect(await shownBy(peer)).toBe(fingerprintOf(next));
        const leftSeconds = await metric(url, 'ringkv_peer_certificate_expires_seconds');
        expect(leftSeconds).toBeGreaterThan(86_400);
        expect(leftSeconds).toBeLessThan(1.5 * 86_400);
        expect(process.running).toBe(true);
      }
      // Connections that are made from now on know the new CA alone.
      const third = cluster.members[2] as ClusterMember;
      await cluster.kill(third);
      await cluster.restart(third, ...flagsOf('n3', next));
      await cluster.settled(3);

      // What will not do changes nothing.
      const [first] = cluster.members as [ClusterMember];
      flagsOf('n1', { ...next, key: old.key });
      first.process.kill('SIGHUP');
      await until(() => /not renewed.*peer-tls-key is not the key of/.test(first.process.err), WAIT_MS_MAX);
      expect(await shownBy(first.peer)).toBe(fingerprintOf(next));
      expect(await metric(first.url, 'ringkv_peer_certificate_refusals_total')).toBe(1);
      expect(await missing(first.url, writer.acknowledged)).toEqual([]);
    },
    TIMEOUT_MS,
  );
});

describe('a node whose files of TLS are of no use', () => {
  const cases: readonly (readonly [string, (tls: PeerTls) => Promise<string[]> | string[], RegExp])[] = [
    [
      'is not there',
      (tls) => [...flagsOf('n', tls), '--peer-tls-key', place.path('nothing.pem')],
      /peer-tls-key .*nothing\.pem: cannot be read: .*ENOENT/,
    ],
    [
      'is a directory',
      (tls) => {
        mkdirSync(place.path('directory'));
        return [...flagsOf('n', tls), '--peer-tls-ca', place.path('directory')];
      },
      /peer-tls-ca .*directory: cannot be read/,
    ],
    [
      'holds something else',
      (tls) => flagsOf('n', { ...tls, cert: 'hello' }),
      /peer-tls-cert .*: the file holds no certificate in PEM/,
    ],
    [
      'is a list of CAs that is cut off in its second',
      (tls) => flagsOf('n', { ...tls, ca: `${tls.ca}\n${tls.ca.slice(0, -40)}` }),
      /peer-tls-ca .*: block 2 \(CERTIFICATE, from line \d+\) is cut off: the file ends in it/,
    ],
    [
      'is the key of another certificate',
      async (tls) => flagsOf('n', { ...tls, key: (await ca.issue()).key }),
      /peer-tls-key is not the key of .*peer-tls-cert/,
    ],
    [
      'is a certificate of another cluster',
      async () => flagsOf('n', await ca.issue({ uris: ['ringkv://prod'] })),
      /peer-tls-cert: .*no name ringkv:\/\/ringkv \(URI\); it has URI:ringkv:\/\/prod/,
    ],
    [
      'is a certificate of another node',
      async () => flagsOf('n', await ca.issue({ uris: [`${CLUSTER}/${'1'.repeat(32)}`] })),
      /peer-tls-cert: .*ringkv:\/\/ringkv\/1{32}.* node id/,
    ],
  ];
  it.each(cases)('because one %s says which in one line, with exit code 2', async (_, flags, says) => {
    const given = await flags(await ca.issue({ uris: [CLUSTER] }));
    const { code, out, err } = await place.run(
      ...['serve', '--port', '0', '--peer-port', '0', '--data', 'data'],
      ...given,
    );
    expect({ code, out }, err).toEqual({ code: 2, out: '' });
    const lines = err.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    expect(lines).toEqual([expect.stringMatching(says)]);
  });
});
