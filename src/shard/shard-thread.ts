/**
 * The life of one shard's thread, from opening its engine to closing it, and what it and the main thread say to each
 * other over the control port. All of it is plain data. Runs as one long task of a worker pool (workers/shard.ts).
 *
 * 1. The first message is `open` or `failed`. After `failed` the task ends, and gives the same failure as its result:
 *    two ports keep no order between them.
 * 2. `attach` and `detach` may come at any time, `attach` also before `open`.
 * 3. After `close` the task ends when the engine is closed and all that became durable is answered.
 */
import type { MessagePort } from 'node:worker_threads';
import type { Clock } from '../base/clock.ts';
import type { EngineListener, EngineOptions, JobRunner, ShardEngine } from '../engine/contract.ts';
import { openEngine } from '../engine/engine.ts';
import type { DoorbellMemory } from '../ipc/doorbell.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { ShardServerEnds } from './shard-ends.ts';
import { ShardServer } from './shard-server.ts';

export interface ShardThreadData {
  readonly engine: EngineOptions;
  /** The shard had an earlier life in this process. */
  readonly isRestart: boolean;
  readonly doorbell: DoorbellMemory;
  readonly control: MessagePort;
  /** Carries jobs to the background threads (src/node/job-port.ts); null: the shard runs them itself. */
  readonly jobs: MessagePort | null;
}

/** From the main thread. Posted with `portsOfEnds(ends)` as transfer list. */
export type ShardCommand =
  | { readonly kind: 'attach'; readonly ends: ShardServerEnds }
  | { readonly kind: 'detach'; readonly client: number }
  | { readonly kind: 'close' };

/** An error as plain data: a structured clone would lose its class. */
export interface PlainFailure {
  readonly code: string;
  readonly message: string;
  readonly file: string;
  readonly offset: number;
  readonly errno: string;
}

/** To the main thread. */
export type ShardEvent =
  | { readonly kind: 'open'; readonly versionMax: number }
  | { readonly kind: 'failed'; readonly error: PlainFailure }
  /** The shard takes no writes, and why; '' when it does again. */
  | { readonly kind: 'writes-refused'; readonly reason: string }
  | { readonly kind: 'event'; readonly level: 'info' | 'warn' | 'error'; readonly message: string };

export interface ShardThreadTools {
  readonly fs: FileSystem;
  readonly jobs: JobRunner;
  readonly clock: Clock;
  readonly plain: (error: unknown) => PlainFailure;
}

/** Resolves when the shard has ended in order: with null, or with what kept it from opening. */
export async function runShardThread(
  { engine: options, isRestart, doorbell, control }: ShardThreadData,
  { fs, jobs, clock, plain }: ShardThreadTools,
): Promise<PlainFailure | null> {
  const tell = (event: ShardEvent): void => control.postMessage(event);
  let engine: ShardEngine | null = null;
  let refused = '';
  const sayRefused = (): void => {
    const reason = engine?.stats().writesRefused ?? '';
    if (reason === refused) return;
    refused = reason;
    tell({ kind: 'writes-refused', reason });
  };
  const onEvent: EngineListener['onEvent'] = (level, message) => {
    tell({ kind: 'event', level, message });
    sayRefused();
  };
  const { gcGraceMs, ownership, origin } = options;
  const replica = { vnodes: ownership.vnodes, gcGraceMs, isRestart };
  const server = new ShardServer({ origin, doorbell, clock, onEvent, replica });
  const closed = new Promise<void>((resolve) => {
    control.on('message', (command: ShardCommand) => {
      if (command.kind === 'attach') server.attach(command.ends);
      else if (command.kind === 'detach') server.detach(command.client);
      else resolve();
    });
    // The main thread is gone, or has given this shard up.
    control.on('close', resolve);
  });
  try {
    engine = await openEngine(options, fs, jobs, clock, server);
  } catch (error) {
    const failure = plain(error);
    tell({ kind: 'failed', error: failure });
    await server.stop();
    control.close();
    return failure;
  }
  server.start(engine);
  tell({ kind: 'open', versionMax: engine.versionMax });
  sayRefused();
  await closed;
  await server.stop();
  control.close();
  return null;
}
