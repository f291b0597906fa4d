import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyStatus } from '../../src/cluster/administration.ts';
import { eventually, getJson, statusOf } from '../slow/cluster-processes.ts';
import { type Child, killAll, run } from '../slow/node-process.ts';

type Ringkv = typeof import('../../src/index.ts');
const entry = pathToFileURL(resolve(import.meta.dirname, '../../dist/src/index.js')).href;
const { open } = (await import(/* @vite-ignore */ entry)) as Ringkv;

/** Some 150 deletions fill a memtable of 64 KiB. */
const ROUND_KEYS = 200;
const ROUNDS_MAX = 60;
const CONCURRENT = 32;
const padding = 'k'.repeat(400);

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-purge-'));
});
afterEach(async () => {
  await killAll();
  rmSync(root, { recursive: true, force: true });
});

interface Running {
  readonly child: Child;
  readonly url: string;
  readonly nodeId: string;
  readonly data: string;
}
/** Tombstones are old as soon as they are written: what keeps them is the horizon alone. */
async function serve(name: string, seeds: string, port = 0): Promise<Running> {
  const data = join(root, name);
  const child = run('node-server.mjs', {
    data,
    port,
    peerPort: 0,
    rack: name,
    ...(seeds === '' ? {} : { seeds }),
    shards: 1,
    frontends: 1,
    vnodes: 64,
    memtableBytes: '64KiB',
    maxValueBytes: '4KiB',
    gcGrace: 0,
  });
  const [, url = '', nodeId = ''] = (await child.line((line) => line.startsWith('ready '))).split(' ');
  return { child, url, nodeId, data };
}
async function close({ child }: Running): Promise<void> {
  child.process.stdin?.write('close\n');
  await child.line((line) => line === 'closed');
  expect(await child.ended).toBe(0);
}
async function killShard({ child }: Running): Promise<void> {
  child.process.stdin?.write('kill 0\n');
  await child.line((line) => line.includes('shard 0 serves again'));
}
const keysOf = (round: number): string[] =>
  Array.from({ length: ROUND_KEYS }, (_, i) => `${round}-${i}-${padding}`);

async function each<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await act(item);
  };
  await Promise.all(Array.from({ length: CONCURRENT }, lane));
}
const deleteAll = ({ url }: Running, keys: readonly string[]): Promise<void> =>
  each(keys, async (key) => {
    // A shard that has just been started again may refuse.
    await eventually(`key ${key.slice(0, 10)} is deleted`, async () => {
      const { status } = await fetch(`${url}/v1/kv/${key}`, { method: 'DELETE' });
      return status === 204;
    });
  });
const tables = ({ data }: Running): string[] =>
  readdirSync(join(data, 'layout-1', 'shard-0')).filter((name) => name.endsWith('.sst'));

/** Deletes further keys until the shard has compacted: a table that was there is gone. */
async function untilCompacted(running: Running, firstRound: number): Promise<void> {
  const seen = new Set<string>();
  for (let round = firstRound; round < firstRound + ROUNDS_MAX; round++) {
    await deleteAll(running, keysOf(round));
    const now = tables(running);
    if ([...seen].some((name) => !now.includes(name))) return;
    for (const name of now) seen.add(name);
  }
  throw new Error(`no compaction in ${ROUNDS_MAX} rounds`);
}
/** How many of the keys have which state at the node. */
async function states({ url, nodeId }: Running, keys: readonly string[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  await each(keys, async (key) => {
    const { replicas } = await getJson<KeyStatus>(url, `/v1/cluster/key/${key}`);
    const state = replicas.find((one) => one.nodeId === nodeId)?.state ?? 'no replica';
    counts[state] = (counts[state] ?? 0) + 1;
  });
  return counts;
}
const settled = (running: Running): Promise<void> =>
  eventually('two members, and no change', async () => {
    const { nodes, change } = await statusOf(running.url);
    return change === null && nodes.filter(({ member }) => member).length === 2;
  });
async function startTwo(): Promise<readonly [Running, Running]> {
  const one = await serve('n1', '');
  const { nodes } = await statusOf(one.url);
  const two = await serve('n2', nodes[0]?.address ?? '');
  await settled(one);
  await settled(two);
  return [one, two];
}
const KEPT = { tombstone: ROUND_KEYS };

describe('tombstones that no repair has been over', () => {
  it('stay at a node of a cluster whose shard thread died and compacts again', async () => {
    const [one, two] = await startTwo();
    await deleteAll(one, keysOf(0));
    await killShard(one);
    await untilCompacted(one, 1);
    expect(await states(one, keysOf(0))).toEqual(KEPT);
    expect(await states(two, keysOf(0))).toEqual(KEPT);
    await close(one);
    await close(two);
  });

  it('stay while a program has the store of such a node open by itself, and at its next start', async () => {
    const [one, two] = await startTwo();
    await deleteAll(one, keysOf(0));
    await close(one);
    const store = await open({ path: one.data, gcGrace: 0 });
    await store.compact();
    await store.close();
    const again = await serve('n1', '');
    await settled(again);
    await untilCompacted(again, 1);
    expect(await states(again, keysOf(0))).toEqual(KEPT);
    await close(again);
    await close(two);
  });

  it('go by their age from a node that is alone, also when its shard thread was started again', async () => {
    const one = await serve('n1', '');
    await deleteAll(one, keysOf(0));
    await killShard(one);
    let round = 1;
    await eventually('the tombstones go', async () => {
      await deleteAll(one, keysOf(round++));
      return (await states(one, keysOf(0))).absent === ROUND_KEYS;
    });
    await close(one);
    // So it is for a program that opens the store of a node that never was in a cluster.
    const store = await open({ path: one.data, gcGrace: 0 });
    for (const key of keysOf(round)) await store.delete(key);
    await store.compact();
    const [stats] = (await store.stats()) as { tableRecords: number }[];
    expect(stats?.tableRecords).toBe(0);
    await store.close();
  });
});
