/**
 * Writes a frozen memtable as one table: its records go from shared memory into the builder as they stand.
 * Runs on a background thread, or in place in a test.
 *
 * Every key goes, in its newest version: tombstones and expired records too, of both keyspaces, since older
 * tables may hold what they hide. Only older versions of a key within the memtable stay behind: nothing reads
 * them, as a snapshot flushes the memtable and pins tables. There is nothing to gain by more: what is dead by
 * now would save one write, and a flush does not know what lies in the tables below.
 */
import { assert } from '../base/assert.ts';
import { recordBytesAt } from '../base/record.ts';
import { MemtableCursor } from '../ipc/memtable-cursor.ts';
import { SEQ_ALL } from '../ipc/memtable-layout.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { FlushJob, JobResult } from './contract.ts';
import { JobOutputs } from './job-outputs.ts';
import { JobPace } from './job-pace.ts';
import type { JobTools } from './job-tools.ts';

/** Rejects with IoError, DiskFullError or ClosedError; the output is gone then. No table where no record is. */
export async function runFlushJob(job: FlushJob, fs: FileSystem, tools: JobTools): Promise<JobResult> {
  assert(job.slot >= 0 && job.slot < job.memory.slots.length, () => `flush: no memtable slot ${job.slot}`);
  const outputs = new JobOutputs(fs, job, tools.tables, job.number, 1);
  // Writers wait for flushes: no rate limits them, and they do not rest.
  const pace = new JobPace(job.stop, tools, 0);
  try {
    pace.check();
    const cursor = new MemtableCursor(job.memory, job.slot, null, SEQ_ALL);
    let bytesRead = 0;
    let records = 0;
    for (; cursor.valid; cursor.next()) {
      outputs.current.add(cursor.view, cursor.bytes, cursor.offset);
      const size = recordBytesAt(cursor.view, cursor.offset);
      bytesRead += size;
      records++;
      if (pace.spend(size)) await pace.turn(0);
    }
    pace.check();
    const tables = outputs.done();
    return {
      tables,
      bytesRead,
      bytesWritten: outputs.bytes,
      recordsRead: records,
      recordsWritten: records,
      damage: [],
    };
  } catch (error) {
    outputs.discard();
    throw error;
  }
}
