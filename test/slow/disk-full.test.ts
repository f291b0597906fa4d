import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { limits, MiB } from '../../src/base/limits.ts';
import { Workplace } from './cli-process.ts';

const DISK_BYTES = 64 * MiB;
const BALLAST_BYTES = 24 * MiB;
/** The longest that a flush waits before it looks again is 10 s (limits.jobRetryMsMax); then it must run, on a busy machine too. */
const RESUME_MS_MAX = 60_000;
/** A busy machine's flushes fall behind, and its answers take longer than the default of 5 s. */
const BUSY_TRIES_MAX = 600;
const BUSY_PAUSE_MS = 100;
const REQUEST_TIMEOUT_MS = String(limits.requestTimeoutMsMax);
/** Times that the disk is filled anew: each of a few flushes that end late frees a log segment. */
const FILLS_MAX = 10;
const LANES = 16;
/** Few long values fill a disk as well as many short ones, in a quarter of the requests. */
const VALUE_BYTES = 16_000;

const mountPoint = mkdtempSync(join(tmpdir(), 'ringkv-disk-full-'));
const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'ringkv-test', mountPoint], {
  encoding: 'utf8',
});
const isMounted = mount.status === 0;
if (!isMounted)
  process.stderr.write(`disk-full.test.ts: no tmpfs to fill, its tests are skipped: ${mount.stderr}\n`);

let place = new Workplace();
afterEach(async () => {
  await place.remove();
  for (const name of isMounted ? readdirSync(mountPoint) : [])
    rmSync(join(mountPoint, name), { recursive: true });
  place = new Workplace();
});
afterAll(async () => {
  await place.remove();
  if (isMounted) expect(spawnSync('umount', ['-l', mountPoint]).status).toBe(0);
  rmSync(mountPoint, { recursive: true, force: true });
});

const RAW = 'application/octet-stream';
/** A value that says whose it is and does not compress. */
const contentOf = (key: number, round: number): string => {
  let state = (key * 2_654_435_761 + round) >>> 0;
  let text = `${key}/${round}/`;
  while (text.length < VALUE_BYTES) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += state.toString(36);
  }
  return text;
};

class Client {
  readonly url: string;
  constructor(url: string) {
    this.url = url;
  }
  put(key: number, value: string): Promise<Response> {
    return fetch(`${this.url}/v1/kv/key-${key}`, {
      method: 'PUT',
      body: value,
      headers: { 'content-type': RAW, 'x-ringkv-timeout': REQUEST_TIMEOUT_MS },
    });
  }
  async get(key: number): Promise<string> {
    const headers = { accept: RAW, 'x-ringkv-timeout': REQUEST_TIMEOUT_MS };
    const answer = await fetch(`${this.url}/v1/kv/key-${key}`, { headers });
    const text = await answer.text();
    return answer.status === 200 ? text : `status ${answer.status}`;
  }
  async readiness(): Promise<{ readonly status: number; readonly text: string }> {
    const answer = await fetch(`${this.url}/readyz`);
    return { status: answer.status, text: await answer.text() };
  }
}

/** What each key holds by the last acknowledgement, and what was refused. */
class Ledger {
  readonly acknowledged = new Map<number, string>();
  readonly refused = new Set<number>();
  readonly messages = new Set<string>();
  #next = 0;

  /** Puts new keys in lanes until `enough`, or `max` are asked for. */
  async fill(client: Client, max: number, enough: () => boolean): Promise<void> {
    const end = this.#next + max;
    const lane = async (): Promise<void> => {
      while (this.#next < end && !enough()) await this.#one(client, this.#next++);
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }

  async #one(client: Client, key: number): Promise<void> {
    const value = contentOf(key, 0);
    for (let tries = 0; tries < BUSY_TRIES_MAX; tries++) {
      const answer = await client.put(key, value);
      if (answer.status === 204) {
        this.acknowledged.set(key, value);
        return;
      }
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      if (answer.status === 507) {
        expect(error.code).toBe('DISK_FULL');
        this.messages.add(error.message);
        this.refused.add(key);
        return;
      }
      // Nothing was done, and it is not the disk.
      expect([answer.status, error.code], error.message).toEqual([503, 'OVERLOADED']);
      await new Promise((done) => setTimeout(done, BUSY_PAUSE_MS));
    }
    throw new Error(`key-${key} was answered 503 ${BUSY_TRIES_MAX} times`);
  }

  /** Keys that a node holds differently: lost, or there though they were refused. */
  async wrong(client: Client): Promise<string[]> {
    const wrong: string[] = [];
    const keys = [...this.acknowledged.keys(), ...this.refused].values();
    const lane = async (): Promise<void> => {
      for (const key of keys) {
        const expected = this.acknowledged.get(key) ?? 'status 404';
        if ((await client.get(key)) !== expected) wrong.push(`key-${key}`);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return wrong;
  }
}

const freeBytes = (): number => {
  const { bavail, bsize } = statfsSync(mountPoint);
  return bavail * bsize;
};

describe.runIf(isMounted)('a node whose disk is full', () => {
  // Small memtables: the flushes find no room first. A large one: the commit log does.
  it.each([
    ['2MiB', '2'],
    ['32MiB', '1'],
  ])(
    'refuses writes with 507 and says why, reads on, and writes again when there is room (memtables of %s)',
    async (memtableBytes, shards) => {
      const ballast = join(mountPoint, 'ballast');
      writeFileSync(ballast, Buffer.alloc(BALLAST_BYTES, 1));
      const flags = [
        '--data',
        join(mountPoint, 'data'),
        '--memtable-bytes',
        memtableBytes,
        '--shards',
        shards,
      ];
      const first = await place.serve(...flags);
      const client = new Client(first.url);
      const ledger = new Ledger();

      // 16 in flight: more than one group is refused, and writes before and after it come to the same end.
      const fillsDisk = Math.ceil((2 * DISK_BYTES) / VALUE_BYTES);
      // A flush that ends late gives its log segment back. What that frees is taken, and then writes are refused again.
      const fillUp = async (refusals: number): Promise<void> => {
        const wanted = ledger.refused.size + refusals;
        await ledger.fill(client, fillsDisk, () => ledger.refused.size >= wanted);
        expect(ledger.refused.size).toBeGreaterThanOrEqual(wanted);
      };
      await fillUp(500);
      let readiness = await client.readiness();
      for (let times = 1; times < FILLS_MAX && readiness.status === 200; times++) {
        await fillUp(LANES);
        readiness = await client.readiness();
      }
      expect(ledger.messages.size).toBeGreaterThan(0);
      for (const message of ledger.messages) expect(message).toMatch(/nothing was (written|done)/);
      expect(ledger.acknowledged.size * VALUE_BYTES).toBeGreaterThan(BALLAST_BYTES / 3);
      expect(readiness.status).toBe(503);
      expect(readiness.text).toMatch(/takes no writes: .*ENOSPC/);
      expect(await ledger.wrong(client)).toEqual([]);

      await fillUp(LANES);

      rmSync(ballast);
      const startMs = Date.now();
      let resumed = false;
      while (!resumed && Date.now() - startMs < RESUME_MS_MAX) {
        resumed = (await client.readiness()).status === 200;
        if (!resumed) await new Promise((done) => setTimeout(done, 50));
      }
      expect(resumed).toBe(true);
      // Flushes that had no room take some of it, and give it back with their logs: until they have, the disk may be full again.
      const { refused } = ledger;
      let refusedBefore = -1;
      for (let times = 0; refused.size !== refusedBefore && times < FILLS_MAX; times++) {
        refusedBefore = refused.size;
        await ledger.fill(client, times === 0 ? 500 : LANES, () => false);
        if (refused.size !== refusedBefore) await new Promise((done) => setTimeout(done, 1000));
      }
      expect(refused.size).toBe(refusedBefore);
      expect(freeBytes()).toBeGreaterThan(0);
      expect(first.server.running).toBe(true);

      first.server.kill('SIGTERM');
      expect((await first.server.ended).code).toBe(0);
      const second = await place.serve(...flags);
      expect(await ledger.wrong(new Client(second.url))).toEqual([]);
    },
  );
});
