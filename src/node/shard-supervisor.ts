/**
 * Keeps one shard running: notices that its thread has died, says so, and starts it again from its log. Owned by
 * the main thread. What a shard's run consists of is `ShardRun` (shard-run.ts; tests put a fake in its place).
 *
 * 1. One run at a time: the next begins only when `ended` of the last has resolved, that is when its thread and
 *    every job that reads its memtables are gone. So one writer owns the log and the shared memory, always.
 * 2. A shard that ends more than limits.shardRestartsMax times within limits.shardRestartWindowMs, or that cannot
 *    be opened for damage, stays down: `onFailed` is called once. The other shards do not notice.
 */
import type { Clock } from '../base/clock.ts';
import { CorruptionError, FormatVersionError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Log } from './contract.ts';

export interface ShardRun {
  /** Resolves when the shard serves; rejects where it cannot be opened, or ends before. */
  readonly ready: Promise<void>;
  /** Resolves when nothing of the run is left: null after `close`, otherwise what it died of. Never rejects. */
  readonly ended: Promise<Error | null>;
  /** Asks for an orderly end. */
  close(): void;
}

export interface SupervisorOptions {
  readonly shard: number;
  /** `isRestart`: this shard had a run before, in this process. */
  readonly start: (isRestart: boolean) => ShardRun;
  /** The shard's thread has ended: requests to it must fail from now on. */
  readonly onDown: () => void;
  /** It will not be started again. */
  readonly onFailed: (error: Error) => void;
  /** `reason` has changed. */
  readonly onReason: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export class ShardSupervisor {
  readonly #options: SupervisorOptions;
  #run: ShardRun | null = null;
  #reason: string;
  #closing = false;
  /** Ends of the last window, by monotonic time. */
  #ends: number[] = [];
  #running: Promise<void> = Promise.resolve();
  #wakeUp: () => void = () => undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#reason = `shard ${options.shard} is starting`;
  }

  /** '' while the shard serves; otherwise why it does not. */
  get reason(): string {
    return this.#reason;
  }

  /** Resolves when the shard serves. Rejects where it cannot be opened: then it is not tried again. */
  async start(): Promise<void> {
    const run = this.#begin();
    try {
      await run.ready;
    } catch (error) {
      run.close();
      await run.ended;
      throw error;
    }
    this.#say('');
    this.#running = this.#supervise(run);
  }

  /** Resolves when the shard has ended in order, or is gone anyway. Idempotent. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#wakeUp();
    const run = this.#run;
    run?.close();
    await this.#running;
    await run?.ended;
  }

  #begin(): ShardRun {
    this.#run = this.#options.start(this.#run !== null);
    return this.#run;
  }

  async #supervise(first: ShardRun): Promise<void> {
    const { shard, onDown, log } = this.#options;
    for (let run = first; ; run = this.#begin()) {
      const error = await this.#outcome(run);
      if (this.#closing) return;
      onDown();
      const message = error?.message ?? 'it ended by itself';
      log('error', `shard ${shard} is down: ${message}`, { shard, stack: error?.stack });
      this.#say(`shard ${shard} is restarting: ${message}`);
      const fatal = error instanceof CorruptionError || error instanceof FormatVersionError;
      if (fatal || !this.#mayRestart()) {
        this.#fail(error, message, fatal);
        return;
      }
      await this.#pause(limits.shardRestartDelayMs * 2 ** (this.#ends.length - 1));
      if (this.#closing) return;
    }
  }

  /** Waits for the end of a run, and says when it serves. */
  async #outcome(run: ShardRun): Promise<Error | null> {
    try {
      await run.ready;
      if (this.#reason !== '') this.#options.log('info', `shard ${this.#options.shard} serves again`);
      this.#say('');
    } catch (error) {
      // It may be open and yet of no use: a client could not be attached.
      run.close();
      await run.ended;
      return error as Error;
    }
    return await run.ended;
  }

  #mayRestart(): boolean {
    const now = this.#options.clock.monotonicMs();
    this.#ends = this.#ends.filter((at) => now - at < limits.shardRestartWindowMs);
    this.#ends.push(now);
    return this.#ends.length <= limits.shardRestartsMax;
  }

  #fail(cause: Error | null, message: string, fatal: boolean): void {
    const { shard, onFailed, log } = this.#options;
    const why = fatal
      ? message
      : `it ended ${this.#ends.length} times within ${limits.shardRestartWindowMs} ms ` +
        `(the limit is ${limits.shardRestartsMax}), at last with: ${message}`;
    const text = `shard ${shard} stays down: ${why}`;
    log('error', text, { shard });
    this.#say(text);
    onFailed(fatal && cause !== null ? cause : new UnavailableError(text, { cause }));
  }

  #say(reason: string): void {
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#options.onReason();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
