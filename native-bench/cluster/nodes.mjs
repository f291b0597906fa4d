// Three nodes of RingKV or of etcd on loopback, each a process of its own with a data directory of its own.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { freePort, run, start } from '../peers/servers.mjs';

export const NODES = 3;
const POLL_MS = 100;
/** Joins and elections, also where others use the machine. */
const READY_MS_MAX = 180_000;
/** Of /proc: USER_HZ. */
const TICKS_PER_SECOND = 100;
const names = Array.from({ length: NODES }, (_, at) => `n${at + 1}`);

async function until(what, holds) {
  const end = performance.now() + READY_MS_MAX;
  for (;;) {
    if (await holds().catch(() => false)) return;
    if (performance.now() > end) throw new Error(`not within ${READY_MS_MAX} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
const json = async (url) => {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return await answer.json();
};

/** Stops what has started when not all do. */
async function together(starts) {
  const settled = await Promise.allSettled(starts);
  const failed = settled.find(({ status }) => status === 'rejected');
  const servers = settled.filter(({ status }) => status === 'fulfilled').map(({ value }) => value);
  if (failed === undefined) return servers;
  await Promise.all(servers.map((server) => server.stop()));
  throw failed.reason;
}

/** `root`: the checkout that was built; `nodeFlags`: of Node.js. Ready when every node sees all as members, up, and no change goes on. */
export async function startRingkvCluster(directory, { root, flags, nodeFlags = [], nodes = NODES }) {
  const members = await Promise.all(
    names.slice(0, nodes).map(async (name) => ({ name, port: await freePort(), peer: await freePort() })),
  );
  const [first] = members;
  const shards = ['--shards', String(Math.max(1, Math.floor(availableParallelism() / nodes)))];
  const servers = [];
  try {
    for (const { name, port, peer } of members) {
      const own = ['--port', String(port), '--peer-port', String(peer), '--data', join(directory, name)];
      const seeds = name === first.name ? [] : ['--seeds', `127.0.0.1:${first.peer}`];
      const args = ['serve', ...own, ...seeds, '--rack', name, '--log-level', 'warn', ...shards, ...flags];
      const main = join(root, 'dist/src/cli/main.js');
      servers.push({ peer, ...(await start(name, process.execPath, [...nodeFlags, main, ...args], port)) });
      await until(`${name} serves`, async () => (await fetch(`${servers.at(-1).url}/readyz`)).ok);
    }
    await until(`${nodes} members, all up`, async () => {
      const all = await Promise.all(servers.map(({ url }) => json(`${url}/v1/cluster`)));
      return all.every(
        ({ nodes: seen, change }) =>
          change === null && seen.filter(({ member, state }) => member && state === 'up').length === nodes,
      );
    });
  } catch (error) {
    await Promise.all(servers.map((server) => server.stop()));
    throw error;
  }
  return servers;
}

/** Defaults of Debian's package: every proposal is synced to disk before it is acknowledged. */
export async function startEtcdCluster(directory) {
  const members = await Promise.all(
    names.map(async (name) => ({ name, client: await freePort(), peer: await freePort() })),
  );
  const http = (port) => `http://127.0.0.1:${port}`;
  const initial = members.map(({ name, peer }) => `${name}=${http(peer)}`).join(',');
  const servers = await together(
    members.map(async ({ name, client, peer }) => {
      const args = [
        ...['--name', name, '--data-dir', join(directory, name), '--log-level', 'error'],
        ...['--listen-client-urls', http(client), '--advertise-client-urls', http(client)],
        ...['--listen-peer-urls', http(peer), '--initial-advertise-peer-urls', http(peer)],
        ...['--initial-cluster', initial, '--initial-cluster-state', 'new', '--logger', 'zap'],
      ];
      return { peer, ...(await start(`etcd ${name}`, 'etcd', args, client)) };
    }),
  );
  try {
    for (const { url } of servers)
      await until('etcd is healthy', async () => (await json(`${url}/health`)).health === 'true');
  } catch (error) {
    await Promise.all(servers.map((server) => server.stop()));
    throw error;
  }
  return servers;
}

/** Bytes that nodes have sent each other so far, by the kernel's count of their connections (iproute2's ss). */
export async function wireBytesOf(servers) {
  const ports = servers.flatMap(({ peer }) => [`sport = :${peer}`, `dport = :${peer}`]);
  const text = await run('ss', ['--tcp', '--info', '--numeric', '--no-header', ports.join(' or ')]);
  return [...text.matchAll(/bytes_sent:(\d+)/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

/** Processor seconds of all threads of a process so far, and its resident bytes. */
export function usageOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  return { cpuSeconds, rssBytes: kib('VmRSS') * 1024 };
}
