/**
 * One life of a shard: its thread, from its first message to the last trace of it. Owned by the main thread.
 *
 * 1. Every life has memory, a stop flag, a doorbell and channels of its own. Clients that have not heard of its end yet
 *    still read the old memtables and record cache, which stay as they were: what was acknowledged and is not there is in tables,
 *    and a cached record is the newest of its key until the new life takes writes.
 * 2. Clients are attached when the shard has recovered, and the shard gets their requests when all of them have turned
 *    to it (client-peer.ts).
 * 3. `ended` resolves when the thread has ended, and with it its file operations, and all jobs that it had started: their
 *    stop flag is raised as soon as the end is known.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { JobRunner, Ownership } from '../engine/contract.ts';
import type { MemtableSetMemory } from '../ipc/contract.ts';
import { createDoorbell, type DoorbellMemory } from '../ipc/doorbell.ts';
import { createMemtableSet } from '../ipc/memtable-layout.ts';
import { createRecordCache, type RecordCacheMemory } from '../ipc/record-cache-layout.ts';
import { createStopFlag, StopFlag } from '../ipc/stop-flag.ts';
import { connectShard, portsOfEnds, type ShardServerEnds } from '../shard/shard-ends.ts';
import type { PlainFailure, ShardCommand, ShardEvent, ShardThreadData } from '../shard/shard-thread.ts';
import type { ClientPeer } from './client-peer.ts';
import type { Log } from './contract.ts';
import { errorOfPlain, serveJobs } from './job-port.ts';
import type { ShardSettings } from './shard-options.ts';
import type { ShardRun } from './shard-supervisor.ts';
import type { ThreadPool } from './thread-pool.ts';
import { TrackedJobs } from './tracked-jobs.ts';

export interface ShardRunOptions {
  readonly directory: string;
  readonly ownership: Ownership;
  readonly settings: ShardSettings;
  /** It ran before, in this process. */
  readonly isRestart: boolean;
  readonly arenaBytes: number;
  /** 0 for none. */
  readonly recordCacheBytes: number;
  readonly pool: Pick<ThreadPool, 'run'>;
  /** null: the shard runs its jobs itself. */
  readonly jobs: JobRunner | null;
  readonly peers: readonly ClientPeer[];
  /** The shard takes no writes, and why; '' when it does again. */
  readonly onWritesRefused: (reason: string) => void;
  readonly log: Log;
}

export class ShardThread implements ShardRun {
  readonly ready: Promise<void>;
  readonly ended: Promise<Error | null>;
  readonly #options: ShardRunOptions;
  readonly #control: MessagePort;
  readonly #jobsPort: MessagePort;
  readonly #memory: MemtableSetMemory;
  readonly #recordCache: RecordCacheMemory | null;
  readonly #doorbell: DoorbellMemory = createDoorbell();
  readonly #stop = createStopFlag();
  #opened: () => void = () => undefined;
  #refused: (error: Error) => void = () => undefined;

  constructor(options: ShardRunOptions) {
    this.#options = options;
    const { directory, ownership, settings, isRestart, arenaBytes, recordCacheBytes, jobs } = options;
    this.#memory = createMemtableSet({ ...ownership, slots: limits.memtableSlots, arenaBytes });
    this.#recordCache = createRecordCache(recordCacheBytes);
    const control = new MessageChannel();
    const jobsWay = new MessageChannel();
    this.#control = control.port1;
    this.#jobsPort = jobsWay.port1;
    const tracked = jobs === null ? null : new TrackedJobs(jobs);
    if (tracked !== null) serveJobs(jobsWay.port1, tracked);
    const opened = new Promise<void>((resolve, reject) => {
      this.#opened = resolve;
      this.#refused = reject;
    });
    control.port1.on('message', (event: ShardEvent) => this.#onEvent(event));
    const data: ShardThreadData = {
      engine: {
        ...settings,
        directory,
        ownership,
        memory: this.#memory,
        recordCache: this.#recordCache,
        stop: this.#stop,
      },
      isRestart,
      doorbell: this.#doorbell,
      control: control.port2,
      jobs: tracked === null ? null : jobsWay.port2,
    };
    this.ready = opened.then(() => this.#attach());
    // Whoever does not wait for it hears of the end.
    this.ready.catch(() => undefined);
    this.ended = this.#live(data, tracked);
  }

  close(): void {
    this.#tell({ kind: 'close' });
  }

  async #live(data: ShardThreadData, tracked: TrackedJobs | null): Promise<Error | null> {
    const transferList = data.jobs === null ? [data.control] : [data.control, data.jobs];
    let cause: Error | null = null;
    try {
      const failure = await this.#options.pool.run<PlainFailure | null>(data, transferList);
      if (failure !== null) cause = errorOfPlain(failure);
    } catch (error) {
      cause = error as Error;
    }
    this.#refused(
      cause ?? new UnavailableError(`shard ${data.engine.ownership.shard} ended before it served`),
    );
    new StopFlag(this.#stop).raise();
    await tracked?.idle();
    this.#control.close();
    this.#jobsPort.close();
    return cause;
  }

  async #attach(): Promise<void> {
    const { peers, ownership } = this.#options;
    const connections = peers.map((peer, client) => ({
      peer,
      ...connectShard({
        shard: ownership.shard,
        client,
        clientDoorbell: peer.doorbell,
        shardDoorbell: this.#doorbell,
        memtables: this.#memory,
        recordCache: this.#recordCache,
      }),
    }));
    await Promise.all(connections.map(({ peer, client }) => peer.attach(client)));
    for (const { server } of connections) this.#tell({ kind: 'attach', ends: server }, server);
  }

  #onEvent(event: ShardEvent): void {
    const { log, onWritesRefused, ownership } = this.#options;
    const { shard } = ownership;
    switch (event.kind) {
      case 'open':
        this.#opened();
        return;
      case 'failed':
        this.#refused(errorOfPlain(event.error));
        return;
      case 'writes-refused':
        onWritesRefused(event.reason);
        return;
      case 'event':
        log(event.level, `shard ${shard}: ${event.message}`, { shard });
    }
  }

  #tell(command: ShardCommand, ends: ShardServerEnds | null = null): void {
    this.#control.postMessage(command, ends === null ? [] : portsOfEnds(ends));
  }
}
