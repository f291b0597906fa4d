import { afterEach, describe, expect, it } from 'vitest';
import { Workplace } from './cli-process.ts';
import { type ClusterMember, missing, ProcessCluster, Writer } from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
const places: Workplace[] = [];
const writers: Writer[] = [];
afterEach(async () => {
  for (const one of writers.splice(0)) await one.stop();
  for (const one of places.splice(0)) await one.remove();
});

async function newCluster(): Promise<ProcessCluster> {
  const place = new Workplace();
  places.push(place);
  const cluster = new ProcessCluster(place);
  for (const name of ['n1', 'n2', 'n3']) await cluster.start(name);
  await cluster.settled(3);
  return cluster;
}
function newWriter(cluster: ProcessCluster): Writer {
  const writer = new Writer(() => cluster.members.map(({ url }) => url), 4);
  writers.push(writer);
  return writer;
}
/** All processes die in the middle of writes. */
async function killAll(cluster: ProcessCluster): Promise<ReadonlyMap<string, string>> {
  const writer = newWriter(cluster);
  await writer.more(300);
  await cluster.kill(...cluster.members);
  await writer.stop();
  return writer.acknowledged;
}
async function servesAll(cluster: ProcessCluster, acknowledged: ReadonlyMap<string, string>): Promise<void> {
  await cluster.settled(3);
  for (const { url } of cluster.members) expect(await missing(url, acknowledged)).toEqual([]);
  const writer = newWriter(cluster);
  await writer.more(100);
  await writer.stop();
  expect(writer.failures).toEqual([]);
  expect(await missing(cluster.members[1]?.url ?? '', writer.acknowledged)).toEqual([]);
}

describe('a cluster whose nodes were all killed at once', () => {
  it(
    'comes together again without seeds, and serves all that was acknowledged',
    async () => {
      const cluster = await newCluster();
      const acknowledged = await killAll(cluster);
      expect(acknowledged.size).toBeGreaterThanOrEqual(300);
      await Promise.all(cluster.members.map((member) => cluster.restartInPlace(member)));
      await servesAll(cluster, acknowledged);
    },
    TIMEOUT_MS,
  );

  it(
    'comes together by seeds where every node has another address',
    async () => {
      const cluster = await newCluster();
      const acknowledged = await killAll(cluster);
      const [first, ...others] = cluster.members as [ClusterMember, ...ClusterMember[]];
      await cluster.restart(first);
      for (const member of others) await cluster.restart(member, '--seeds', first.peer);
      await servesAll(cluster, acknowledged);
    },
    TIMEOUT_MS,
  );
});
