import { describe, expect, it } from 'vitest';
import { ClosedError, IoError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import type { FlushJob } from '../../src/engine/contract.ts';
import { SLICE_BYTES_MAX, SLICE_RECORDS_MAX } from '../../src/engine/job-pace.ts';
import { runJob } from '../../src/engine/run-job.ts';
import type { MemtableSetMemory } from '../../src/ipc/contract.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { SharedMemtableWriter } from '../../src/ipc/memtable-writer.ts';
import { StopFlag } from '../../src/ipc/stop-flag.ts';
import { testSeed } from '../seed.ts';
import {
  type Encoded,
  encoded,
  imageOf,
  inOrder,
  type JobHarness,
  newestOf,
  newHarness,
  recordOf,
} from './job-harness.ts';

const seed = testSeed();

function memtable(
  writes: readonly Encoded[],
  records: readonly ReturnType<typeof recordOf>[],
): MemtableSetMemory {
  const memory = createMemtableSet({ slots: 2, arenaBytes: 2 ** 22, vnodes: 16, shard: 0, shards: 1 });
  const writer = new SharedMemtableWriter(memory);
  writer.activate(0);
  for (const record of records) writer.append(record);
  writer.freeze();
  expect(writer.recordCount(0)).toBe(writes.length);
  return memory;
}
function jobOf(harness: JobHarness, memory: MemtableSetMemory): FlushJob {
  const { fileSystem, directory, table, ownership, stop } = harness.job([]);
  return { kind: 'flush', fileSystem, directory, table, ownership, stop, memory, slot: 0, number: 7 };
}

describe(`a flush (seed ${seed})`, () => {
  const random = new Random(seed);
  const records = Array.from({ length: 5000 }, (_, i) =>
    recordOf({
      key: `k${random.below(3000)}`,
      value: random.chance(0.2) ? null : 'v'.repeat(random.below(100)),
      version: i + 1,
      keyspace: random.below(2),
      ...(random.chance(0.2) ? { expiresMs: 1 } : {}),
    }),
  );
  const writes = records.map(encoded);

  it('writes the newest record of every key as it stands, dead ones and both keyspaces too', async () => {
    const harness = newHarness();
    const result = await runJob(jobOf(harness, memtable(writes, records)), harness.disk, harness.tools);
    expect(result.tables.map(({ number }) => number)).toEqual([7]);
    const expected = inOrder(newestOf(writes).values());
    expect(harness.image(result.tables)).toBe(imageOf(expected));
    expect(result).toMatchObject({ recordsRead: expected.length, recordsWritten: expected.length });
    const after = harness.disk.powerCut(random);
    expect(newHarness(after).files()).toEqual(['7.plain']);
    let slices = 0;
    let inSlice = { bytes: 0, records: 0 };
    for (const { bytes } of expected) {
      inSlice = { bytes: inSlice.bytes + bytes.length, records: inSlice.records + 1 };
      if (inSlice.bytes < SLICE_BYTES_MAX && inSlice.records < SLICE_RECORDS_MAX) continue;
      slices++;
      inSlice = { bytes: 0, records: 0 };
    }
    // Nobody told this job that it may rest.
    expect(harness.pauses).toEqual(new Array<number>(slices).fill(0));
  });

  it('of an empty memtable writes no table', async () => {
    const harness = newHarness();
    const result = await runJob(jobOf(harness, memtable([], [])), harness.disk, harness.tools);
    expect(result).toMatchObject({ tables: [], recordsWritten: 0 });
    expect(harness.disk.log).toEqual([]);
  });

  it('that fails at any call to the disk, or is stopped, leaves no table', async () => {
    const memory = memtable(writes, records);
    const whole = newHarness();
    await runJob(jobOf(whole, memory), whole.disk, whole.tools);
    for (const operation of ['exists', 'create', 'write', 'sync', 'sync-directory'] as const) {
      expect(whole.disk.callsOf(operation), operation).toBeGreaterThan(0);
      for (let after = 0; after < whole.disk.callsOf(operation); after++) {
        const harness = newHarness();
        harness.disk.inject({ operation, after, times: 1, errno: 'EIO' });
        await expect(runJob(jobOf(harness, memory), harness.disk, harness.tools)).rejects.toThrow(IoError);
        expect(harness.disk.openPaths).toEqual([]);
        expect(harness.files()).toEqual([]);
      }
    }
    const harness = newHarness();
    new StopFlag(harness.stop).raise();
    await expect(runJob(jobOf(harness, memory), harness.disk, harness.tools)).rejects.toThrow(ClosedError);
    expect(harness.disk.log).toEqual([]);
  });

  it('repeated after a crash takes the place of what the first left behind', async () => {
    const harness = newHarness();
    const job = jobOf(harness, memtable(writes, records));
    const first = await runJob(job, harness.disk, harness.tools);
    const again = await runJob(job, harness.disk, harness.tools);
    expect(again).toEqual(first);
    expect(harness.files()).toEqual(['7.plain']);
  });
});
