import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';
import { killAll, run } from './node-process.ts';

type Ringkv = typeof import('../../src/index.ts');
type Store = Awaited<ReturnType<Ringkv['open']>>;
const entry = pathToFileURL(resolve(import.meta.dirname, '../../dist/src/index.js')).href;
const { open } = (await import(/* @vite-ignore */ entry)) as Ringkv;

const seed = testSeed();
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-store-'));
});
afterEach(async () => {
  await killAll();
  rmSync(root, { recursive: true, force: true });
});
const path = (): string => join(root, 'data');
const text = (bytes: Uint8Array | null | undefined): string | null | undefined =>
  bytes === null || bytes === undefined ? bytes : Buffer.from(bytes).toString();

async function contents(store: Store): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  for await (const { key, value } of store.scan())
    all.set(Buffer.from(key).toString(), text(value) as string);
  return all;
}
const sorted = (map: ReadonlyMap<string, string>): [string, string][] => [...map].sort();

/** Random writes, deletions and expiries over a few hundred keys, many at a time. */
async function churn(store: Store, random: Random, count: number, model: Map<string, string>): Promise<void> {
  for (let done = 0; done < count; done += 100) {
    const batch = new Map<string, string | null>();
    for (let i = 0; i < 100; i++)
      batch.set(
        `key-${random.below(400)}`,
        random.chance(0.25) ? null : `${random.uint32()}${'x'.repeat(random.below(3000))}`,
      );
    await Promise.all(
      [...batch].map(([key, value]) => (value === null ? store.delete(key) : store.put(key, value))),
    );
    for (const [key, value] of batch)
      if (value === null) model.delete(key);
      else model.set(key, value);
  }
}

describe(`an embedded store on real threads (seed ${seed})`, () => {
  it('keeps everything over a restart', async () => {
    let store = await open({ path: path(), shards: 2 });
    const version = await store.put('a', 'one');
    await store.put('gone', 'x');
    await store.put('short', 'y', { ttl: 3600 });
    await store.delete('gone');
    await expect(store.put('a', 'two', { version: version + 1 })).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
    });
    expect(text(store.getSync('a'))).toBe('one');
    const large = Buffer.alloc(900_000, 'large');
    await store.put('large', large);
    await store.close();
    store = await open({ path: path() });
    expect(text(await store.get('a'))).toBe('one');
    expect(await store.get('gone')).toBeNull();
    expect((await store.getEntry('a'))?.version).toBe(version);
    expect((await store.getEntry('short'))?.expiresMs).toBeGreaterThan(0);
    expect(large.equals((await store.get('large')) as Uint8Array)).toBe(true);
    expect((await store.stats()).length).toBe(2);
    expect(await store.put('a', 'two', { version })).toBeGreaterThan(version);
    await store.close();
  });

  it('gives the same data as a set through 1, 3, 2 and 5 shards, with flushes and compactions', async () => {
    const random = new Random(seed);
    const model = new Map<string, string>();
    const tuning = { memtableBytes: '2MiB', gcGrace: 0, blockCacheBytes: '1MiB' };
    for (const shards of [1, 3, 2, 5]) {
      const log: string[] = [];
      const store = await open({
        path: path(),
        shards,
        ...tuning,
        log: (_level, message) => log.push(message),
      });
      expect(sorted(await contents(store))).toEqual(sorted(model));
      if (shards !== 1) expect(log).toContain(`resharded: ${shards} shards`);
      await churn(store, random, 2000, model);
      if (random.chance(0.5)) await store.compact();
      expect(sorted(await contents(store))).toEqual(sorted(model));
      expect(await store.verify()).toHaveLength(shards);
      await store.close();
    }
    // Nobody asked for another number: it stays.
    const store = await open({ path: path(), ...tuning });
    expect(await store.stats()).toHaveLength(5);
    expect(sorted(await contents(store))).toEqual(sorted(model));
    await store.close();
    expect(readdirSync(path()).filter((name) => name.startsWith('layout-'))).toHaveLength(1);
  });

  it('is refused to a second opener, in this process and in another, until it is closed', async () => {
    const store = await open({ path: path(), shards: 1 });
    await expect(open({ path: path() })).rejects.toMatchObject({
      code: 'LOCKED',
      message: expect.stringContaining(String(process.pid)),
    });
    const other = run('node-open.mjs', { path: path() });
    expect(JSON.parse(await other.line((line) => line.startsWith('{')))).toMatchObject({
      code: 'LOCKED',
      message: expect.stringContaining(String(process.pid)),
    });
    expect(await other.ended).toBe(0);
    await store.put('a', '1');
    await store.close();
    const next = run('node-open.mjs', { path: path() });
    await next.line((line) => line === 'closed');
    expect(await next.ended).toBe(0);
  });

  it('lets its process end by itself after close, and keeps it alive before', async () => {
    const child = run('node-open.mjs', { path: path(), shards: 2, wait: true });
    await child.line((line) => line === 'opened');
    // Only the store keeps the process alive: it must still answer to its signal handler.
    child.process.kill('SIGUSR2');
    await child.line((line) => line === 'alive');
    child.process.kill('SIGTERM');
    await child.line((line) => line === 'closed');
    expect(await child.ended).toBe(0);
    expect(child.errors()).toBe('');
  });

  it('fails what is in flight at close, and keeps what it acknowledged', async () => {
    const store = await open({ path: path(), shards: 2 });
    const acknowledged: string[] = [];
    const outcomes = Array.from({ length: 500 }, async (_, i) => {
      await store.put(`key-${i}`, 'v'.repeat(2000));
      acknowledged.push(`key-${i}`);
    });
    await outcomes[0];
    const closing = store.close();
    const settled = await Promise.allSettled(outcomes);
    await closing;
    for (const outcome of settled)
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'UNAVAILABLE' });
    await expect(store.put('late', 'x')).rejects.toMatchObject({ code: 'CLOSED' });
    const again = await open({ path: path() });
    const all = await contents(again);
    expect(acknowledged.length).toBeGreaterThan(0);
    for (const key of acknowledged) expect(all.has(key)).toBe(true);
    await again.close();
  });

  it('says what is damaged, and gives the directory back', async () => {
    const store = await open({ path: path(), shards: 2 });
    await store.put('a', '1');
    await store.close();
    const home = join(path(), 'layout-1', 'shard-1');
    const manifest = readdirSync(home).find((name) => name.startsWith('MANIFEST')) as string;
    const whole = readFileSync(join(home, manifest));
    const bytes = Buffer.from(whole);
    bytes.writeUInt8(bytes.readUInt8(50) ^ 1, 50);
    writeFileSync(join(home, manifest), bytes);
    await expect(open({ path: path() })).rejects.toMatchObject({
      code: 'CORRUPTION',
      message: expect.stringContaining(join(home, manifest)),
    });
    writeFileSync(join(home, manifest), whole);
    const again = await open({ path: path() });
    expect(text(await again.get('a'))).toBe('1');
    await again.close();
  });

  it('works as a package that another one has installed', async () => {
    const house = resolve(import.meta.dirname, '../..');
    const installed = join(root, 'app', 'node_modules', 'ringkv');
    mkdirSync(installed, { recursive: true });
    cpSync(join(house, 'package.json'), join(installed, 'package.json'));
    cpSync(join(house, 'dist'), join(installed, 'dist'), { recursive: true });
    for (const name of readdirSync(join(house, 'node_modules')))
      symlinkSync(realpathSync(join(house, 'node_modules', name)), join(root, 'app', 'node_modules', name));
    writeFileSync(join(root, 'app', 'package.json'), '{"type":"module"}');
    writeFileSync(
      join(root, 'app', 'main.js'),
      `import { open, LockedError } from 'ringkv';
      const store = await open({ path: './db', shards: 2 });
      await store.put('a', 'b');
      await store.flush();
      console.log(new TextDecoder().decode(await store.get('a')), typeof LockedError);
      await store.close();`,
    );
    const { stdout } = await promisify(execFile)(process.execPath, ['main.js'], { cwd: join(root, 'app') });
    expect(stdout).toBe('b function\n');
  });

  it('keeps nothing in memory mode', async () => {
    const store = await open({ inMemory: true, shards: 2, memtableBytes: '2MiB' });
    const random = new Random(seed);
    const model = new Map<string, string>();
    await churn(store, random, 3000, model);
    await store.flush();
    await store.compact();
    expect(sorted(await contents(store))).toEqual(sorted(model));
    const snapshot = await store.snapshot();
    await store.put('key-1', 'later');
    const seen = new Map<string, string>();
    for await (const { key, value } of snapshot.scan())
      seen.set(Buffer.from(key).toString(), text(value) as string);
    expect(sorted(seen)).toEqual(sorted(model));
    await snapshot.close();
    await store.close();
    const next = await open({ inMemory: true });
    expect((await contents(next)).size).toBe(0);
    await next.close();
  });
});
