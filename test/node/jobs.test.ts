import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import {
  CorruptionError,
  DiskFullError,
  IoError,
  OverloadedError,
  TimeoutError,
} from '../../src/base/errors.ts';
import type { Job, JobResult } from '../../src/engine/contract.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import { PortJobRunner, serveJobs } from '../../src/node/job-port.ts';
import { JobQueue } from '../../src/node/job-queue.ts';

const context = {
  fileSystem: { kind: 'memory' },
  directory: '/shard-0',
  stop: createStopFlag(),
  table: { blockBytes: 4096, compression: 'none', bloomBitsPerKey: 10 },
  ownership: { vnodes: 8, shards: 1, shard: 0 },
} as const;
const verify: Job = { ...context, kind: 'verify', tables: [] };
const options = { slots: 2, arenaBytes: 64, vnodes: 8, shard: 0, shards: 1 };
const memory = { options, control: new SharedArrayBuffer(64), slots: [new SharedArrayBuffer(64)] };
const flush: Job = { ...context, kind: 'flush', memory, slot: 0, number: 1 };
const RESULT: JobResult = {
  tables: [],
  bytesRead: 1,
  bytesWritten: 2,
  recordsRead: 3,
  recordsWritten: 4,
  damage: [],
};

/** Jobs that run until told to end. */
class Threads {
  readonly running: { readonly job: Job; readonly end: (error?: Error) => void }[] = [];
  readonly execute = (job: Job): Promise<JobResult> =>
    new Promise((resolve, reject) => {
      const entry = {
        job,
        end: (error?: Error): void => {
          this.running.splice(this.running.indexOf(entry), 1);
          if (error === undefined) resolve(RESULT);
          else reject(error);
        },
      };
      this.running.push(entry);
    });
  get kinds(): string[] {
    return this.running.map(({ job }) => job.kind);
  }
}
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

describe('the queue of background jobs', () => {
  it('runs as many jobs at a time as it has threads, in the order of their coming', async () => {
    const threads = new Threads();
    const queue = new JobQueue(2, threads.execute);
    const all = [verify, flush, verify, flush, verify].map((job) => queue.run(job));
    expect(threads.kinds).toEqual(['verify', 'flush']);
    for (const expected of [['flush', 'verify'], ['verify', 'flush'], ['flush', 'verify'], ['verify'], []]) {
      threads.running[0]?.end();
      await turn();
      expect(threads.kinds).toEqual(expected);
    }
    expect(await Promise.all(all)).toHaveLength(5);
    expect([queue.running, queue.waiting]).toEqual([0, 0]);
  });

  it('goes on after a job that failed', async () => {
    const threads = new Threads();
    const queue = new JobQueue(1, threads.execute);
    const failing = queue.run(verify);
    const next = queue.run(verify);
    threads.running[0]?.end(new Error('the thread died'));
    await expect(failing).rejects.toThrow('the thread died');
    await turn();
    threads.running[0]?.end();
    expect(await next).toBe(RESULT);
  });

  it('refuses what is over its limit, and what waits or comes when it closes', async () => {
    const threads = new Threads();
    const queue = new JobQueue(2, threads.execute);
    const taken = Array.from({ length: 1026 }, () => queue.run(verify));
    await expect(queue.run(verify)).rejects.toThrow('1024 jobs wait; the limit is 1024');
    const end = queue.close();
    const outcomes = Promise.allSettled(taken);
    for (const { end: stop } of [...threads.running]) stop();
    await end;
    expect((await outcomes).filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    await expect(queue.run(flush)).rejects.toMatchObject({ code: 'CLOSED' });
  });
});

describe('jobs over a port', () => {
  const ends: (() => void)[] = [];
  afterEach(() => {
    for (const end of ends.splice(0)) end();
  });
  const connect = (execute: (job: Job) => Promise<JobResult>): PortJobRunner => {
    const { port1, port2 } = new MessageChannel();
    serveJobs(port2, { run: execute });
    const runner = new PortJobRunner(port1);
    ends.push(() => runner.close());
    return runner;
  };

  it('arrive whole, with shared memory still shared, and bring their results back', async () => {
    const runner = connect((job) => {
      if (job.kind === 'flush') new Uint8Array(job.memory.control)[0] = 9;
      return Promise.resolve({ ...RESULT, bytesRead: job.kind === 'flush' ? 10 : 20 });
    });
    const results = await Promise.all([runner.run(flush), runner.run(verify)]);
    expect(results.map(({ bytesRead }) => bytesRead)).toEqual([10, 20]);
    expect(new Uint8Array(memory.control)[0]).toBe(9);
  });

  it('fail with an error of the same class and text', async () => {
    const errors = [
      new CorruptionError('/shard-0/table-7', 4096, 'checksum'),
      new DiskFullError('write /x: no space'),
      new IoError('read /x: EIO', 'EIO'),
      new OverloadedError('1024 jobs wait'),
      new TimeoutError('the tree was not built by its deadline'),
    ];
    for (const error of errors) {
      const got: unknown = await connect(() => Promise.reject(error))
        .run(verify)
        .catch((caught: unknown) => caught);
      expect(got).toBeInstanceOf(error.constructor);
      expect({ ...(got as Error), message: (got as Error).message }).toEqual({
        ...error,
        message: error.message,
      });
    }
    const other = connect(() => Promise.reject(new TypeError('x is not a function'))).run(verify);
    await expect(other).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: 'a background job failed: x is not a function',
    });
  });

  it('are rejected when the port closes under them', async () => {
    const runner = connect(() => new Promise(() => undefined));
    const flying = runner.run(verify);
    runner.close();
    await expect(flying).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(runner.run(verify)).rejects.toMatchObject({ code: 'CLOSED' });
  });
});
