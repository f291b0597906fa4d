import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { platform, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Piscina } from 'piscina';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { ClosedError, CorruptionError, IoError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import { valueAt } from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type {
  CompactJob,
  FlushJob,
  Job,
  JobResult,
  TableMeta,
  VerifyJob,
} from '../../src/engine/contract.ts';
import { Sstables } from '../../src/engine/sstables.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { SharedMemtableWriter } from '../../src/ipc/memtable-writer.ts';
import { createStopFlag, StopFlag } from '../../src/ipc/stop-flag.ts';
import { type JobOutcome, resultOf } from '../../src/node/job-port.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { testSeed } from '../seed.ts';

const ENTRY = resolve(import.meta.dirname, '../../dist/workers/background.js');
const seed = testSeed();
const ownership = { vnodes: 64, shards: 1, shard: 0 };
const RECORDS = 4000;

/** Threads of this process with a nice value: field 19 of proc_pid_stat(5), the 17th behind the command's name. */
function threadsOfNice(nice: number): number {
  const stats = readdirSync('/proc/self/task').map((task) =>
    readFileSync(`/proc/self/task/${task}/stat`, 'utf8'),
  );
  return stats.filter((stat) => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]) === nice).length;
}

describe(`a background thread (seed ${seed})`, () => {
  const tables = new Sstables(systemClock);
  let pool: Piscina;
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'ringkv-background-'));
    pool = new Piscina({
      filename: ENTRY,
      name: 'runBackgroundJob',
      minThreads: 2,
      maxThreads: 2,
      atomics: 'disabled',
    });
  });
  afterAll(async () => {
    await pool.destroy();
    rmSync(directory, { recursive: true });
  });

  const run = async (job: Job): Promise<JobResult> => resultOf((await pool.run(job)) as JobOutcome);
  const context = () => ({
    fileSystem: { kind: 'real' as const },
    directory,
    table: { blockBytes: 4096, compression: 'snappy' as const, bloomBitsPerKey: 10 },
    ownership,
    stop: createStopFlag(),
  });
  const memory = createMemtableSet({ slots: 3, arenaBytes: 2 ** 24, vnodes: 64, shard: 0, shards: 1 });
  const writer = new SharedMemtableWriter(memory);
  const model = new Map<string, string>();
  const random = new Random(seed);

  function fill(slot: number): void {
    writer.activate(0);
    expect(writer.active).toBe(slot);
    for (let i = 0; i < RECORDS; i++) {
      const name = `key-${random.below(RECORDS)}`;
      const key = new Uint8Array(Buffer.from(name));
      hashToken(key);
      const value = `${slot}-${i}-`.padEnd(random.between(8, 1000), 'v');
      model.set(name, value);
      const place = { tokenHi: token.hi, tokenLo: token.lo, keyspace: 0, key };
      const version = slot * RECORDS + i + 1;
      writer.append({ ...place, value: Buffer.from(value), version, origin: 1, flags: 0, expiresMs: 0 });
    }
    writer.freeze();
  }
  function contents(metas: readonly TableMeta[]): Map<string, string> {
    const found = new Map<string, string>();
    for (const meta of metas) {
      const reader = tables.open(realFileSystem, directory, meta);
      for (const cursor = reader.cursor(null); cursor.valid; cursor.next()) {
        const { view, bytes, offset } = cursor;
        const end = offset + 40 + view.getUint16(offset + 4, true);
        const key = Buffer.from(bytes.subarray(offset + 40, end)).toString();
        found.set(key, Buffer.from(valueAt(view, bytes, offset)).toString());
      }
      reader.close();
    }
    return found;
  }
  const compaction = (inputs: readonly TableMeta[], others: Partial<CompactJob> = {}): CompactJob => ({
    ...context(),
    kind: 'compact',
    inputs,
    firstNumber: 100,
    outputsMax: 50,
    outputBytesMax: 50_000,
    nowMs: systemClock.nowMs(),
    gcGraceMs: 0,
    outside: [],
    rateBytesPerSecond: 0,
    ...others,
  });
  let flushed: TableMeta[] = [];

  it('flushes frozen memtables out of shared memory, two at a time, and merges them', async () => {
    const flush = (slot: number): FlushJob => ({
      ...context(),
      kind: 'flush',
      memory,
      slot,
      number: slot + 1,
    });
    fill(0);
    fill(1);
    const results = await Promise.all([run(flush(0)), run(flush(1))]);
    flushed = results.flatMap((result) => result.tables);
    expect(flushed.map(({ number }) => number)).toEqual([1, 2]);
    expect(results.map(({ recordsRead, recordsWritten }) => recordsRead === recordsWritten)).toEqual([
      true,
      true,
    ]);
    const merged = await run(compaction([...flushed].reverse()));
    expect(merged.tables.length).toBeGreaterThan(2);
    expect(contents(merged.tables)).toEqual(model);
    const verify: VerifyJob = { ...context(), kind: 'verify', tables: [...flushed, ...merged.tables] };
    const checked = await run(verify);
    expect(checked.damage).toEqual([]);
    expect(checked.recordsRead).toBe(merged.recordsRead + merged.recordsWritten);
  });

  it('gives up soon after the stop flag is raised on another thread, and leaves nothing behind', async () => {
    const before = readdirSync(directory);
    const stop = createStopFlag();
    const job = compaction(flushed, { firstNumber: 200, stop, rateBytesPerSecond: 10_000 });
    const outcome = run(job);
    const rejected = expect(outcome).rejects.toThrow(ClosedError);
    // The rate would make it last for minutes: it is at work once its first output is there.
    await expect
      .poll(() => readdirSync(directory).length, { timeout: 20_000 })
      .toBeGreaterThan(before.length);
    new StopFlag(stop).raise();
    await rejected;
    expect(readdirSync(directory)).toEqual(before);
  });

  it.runIf(platform() === 'linux')(
    'gives way to all others where it was asked for low priority',
    async () => {
      expect(threadsOfNice(10)).toBe(0);
      const job: VerifyJob = { ...context(), kind: 'verify', tables: flushed };
      resultOf((await pool.run(job, { name: 'runLowPriorityJob' })) as JobOutcome);
      expect(threadsOfNice(10)).toBe(1);
    },
  );

  it('returns errors of the same class, and goes on working', async () => {
    const missing = { ...(flushed[0] as TableMeta), number: 999 };
    await expect(run(compaction([missing], { firstNumber: 300 }))).rejects.toThrow(IoError);
    const bad = tables.path(directory, 998);
    writeFileSync(bad, Buffer.alloc(1000, 7));
    const damaged = run(compaction([{ ...missing, number: 998 }], { firstNumber: 300 }));
    await expect(damaged).rejects.toThrow(CorruptionError);
    await expect(damaged).rejects.toMatchObject({ file: bad });
    expect((await run(compaction(flushed, { firstNumber: 400 }))).tables.length).toBeGreaterThan(0);
  });
});
