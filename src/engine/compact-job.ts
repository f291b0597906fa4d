/**
 * Merges tables into new ones. What becomes of each record: the head of merge-rules.ts. Runs on a background
 * thread, or in place, in slices. Invariants:
 *
 * 1. The inputs are only read. Outputs count for nothing until the manifest names them.
 * 2. Outputs do not overlap: one is ended only between two tokens. So a compaction of overlapping tables always
 *    leaves fewer tables over some token and none with more, and compactions come to an end.
 * 3. Outputs end at the borders of 2^shardBits equal parts of the shard's tokens, so that what is compacted
 *    later finds its neighbours cut at the same places (token-range.ts, compaction-strategy.ts), and where one
 *    has grown past outputBytesMax. The last of outputsMax takes the rest.
 */
import { assert } from '../base/assert.ts';
import { recordBytesAt, tokenHiAt, tokenLoAt } from '../base/record.ts';
import { JobUrgency } from '../ipc/job-urgency.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { CompactJob, JobResult } from './contract.ts';
import { JobOutputs } from './job-outputs.ts';
import { JobPace } from './job-pace.ts';
import type { JobTools } from './job-tools.ts';
import { MergeCursor } from './merge-cursor.ts';
import { FATE_BURY, FATE_DROP, MergeRules } from './merge-rules.ts';
import { formRuns, RunCursor } from './merge-run.ts';
import { ownPart } from './token-range.ts';

/** Rejects with CorruptionError, IoError, DiskFullError or ClosedError; all outputs are gone then. */
export async function runCompactJob(job: CompactJob, fs: FileSystem, tools: JobTools): Promise<JobResult> {
  const end = job.firstNumber + job.outputsMax;
  const clash = job.inputs.find(({ number }) => number >= job.firstNumber && number < end);
  assert(clash === undefined, () => `compact: input ${clash?.number} has the number of an output`);
  const outputs = new JobOutputs(fs, job, tools.tables, job.firstNumber, job.outputsMax);
  const runs: RunCursor[] = [];
  try {
    for (const tablesOfRun of formRuns(job.inputs)) {
      const run = new RunCursor(tablesOfRun, (meta) => tools.tables.open(fs, job.directory, meta));
      runs.push(run);
      run.start();
    }
    const cursor = new MergeCursor(runs);
    const recordsWritten = await merge(job, tools, cursor, outputs);
    const tables = outputs.done();
    return {
      tables,
      bytesRead: job.inputs.reduce((sum, { bytes }) => sum + bytes, 0),
      bytesWritten: outputs.bytes,
      recordsRead: cursor.passed,
      recordsWritten,
      damage: [],
    };
  } catch (error) {
    outputs.discard();
    throw error;
  } finally {
    for (const run of runs) run.close();
  }
}

async function merge(
  job: CompactJob,
  tools: JobTools,
  cursor: MergeCursor,
  outputs: JobOutputs,
): Promise<number> {
  const urgency = job.urgency === undefined ? null : new JobUrgency(job.urgency);
  const pace = new JobPace(job.stop, tools, job.rateBytesPerSecond, urgency);
  const rules = new MergeRules(job);
  const borders = new OutputBorders(job);
  let written = 0;
  let paced = 0;
  pace.check();
  for (; cursor.valid; cursor.next()) {
    const { view, bytes, offset } = cursor;
    const fate = rules.fateOf(view, bytes, offset);
    if (fate !== FATE_DROP) {
      if (borders.before(view, offset, outputs.openBytes) && outputs.canCut) outputs.finish();
      if (fate === FATE_BURY) outputs.current.add(rules.tombstoneView, rules.tombstone, 0);
      else outputs.current.add(view, bytes, offset);
      written++;
    }
    if (!pace.spend(recordBytesAt(view, offset))) continue;
    // What was buffered may shrink as it is compressed.
    const total = Math.max(paced, outputs.bytes);
    await pace.turn(total - paced);
    paced = total;
  }
  pace.check();
  return written;
}

/** Finds where an output may end: never within the records of one token. */
class OutputBorders {
  readonly #job: CompactJob;
  readonly #shardBits: number;
  #hi = -1;
  #lo = -1;
  #part = 0;

  constructor(job: CompactJob) {
    this.#job = job;
    this.#shardBits = job.shardBits ?? 0;
  }

  /** Whether the open output, of `openBytes`, should end before the record at `offset`, the next to be written. */
  before(view: DataView, offset: number, openBytes: number): boolean {
    const hi = tokenHiAt(view, offset);
    const lo = tokenLoAt(view, offset);
    if (hi === this.#hi && lo === this.#lo) return false;
    this.#hi = hi;
    this.#lo = lo;
    const part = ownPart(this.#job.ownership, this.#shardBits, hi, lo);
    const crossed = part !== this.#part;
    this.#part = part;
    return crossed || openBytes >= this.#job.outputBytesMax;
  }
}
