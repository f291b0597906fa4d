/**
 * One life of a shard: its thread, from its first message to the last trace of it. Owned by the main thread.
 *
 * 1. Every life has memory, a stop flag, a doorbell and channels of its own. Clients that have not heard of its end yet
 *    still read the old memtables, which stay as they were: all that was acknowledged is in them.
 * 2. Clients are attached when the shard has recovered, and the shard gets their requests when all of them have turned
 *    to it (client-peer.ts).
 * 3. `ended` resolves when the thread has ended, and with it its file operations, and all jobs that it had started: their
 *    stop flag is raised as soon as the end is known.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { UnavailableError } from '../base/errors.ts';
import type { JobRunner, Ownership } from '../engine/contract.ts';
import { createDoorbell, type DoorbellMemory } from '../ipc/doorbell.ts';
import { createMemtableSet } from '../ipc/memtable-layout.ts';
import { createStopFlag, StopFlag } from '../ipc/stop-flag.ts';
import { limits } from '../base/limits.ts';
import { connectShard, portsOfEnds } from '../shard/shard-ends.ts';
import type { ClientPeer } from './client-peer.ts';
import { serveJobs } from './job-port.ts';
import type { ShardSettings } from './shard-options.ts';
import type { ShardRun } from './shard-supervisor.ts';
import type { ThreadPool } from './thread-pool.ts';
import { TrackedJobs } from './tracked-jobs.ts';
