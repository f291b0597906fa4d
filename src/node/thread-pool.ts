/**
 * A fixed number of worker threads that run tasks, one at a time each: a Piscina pool, and what the node needs
 * to know beyond it. Owned by the main thread.
 *
 * 1. `run` rejects only when the thread that the task died with has ended. Piscina rejects at the thread's
 *    `error` event, while file operations of the thread may still be under way; Node waits for those before it
 *    reports `exit`. So after a rejection nothing of the task writes any more.
 * 2. A thread that ends is replaced by the pool, also when the next task comes before the new one is ready.
 *
 * How a death shows, tried with Piscina 5.3: process.exit in the thread and Worker.terminate reject the task with
 * "worker exited with code: N", after the exit; an uncaught exception or rejection rejects it with that error,
 * before the exit; a full heap rejects it with ERR_WORKER_OUT_OF_MEMORY.
 *
 * `atomics` is off: an idle worker that blocks in Atomics.wait would stall its own asynchronous I/O.
 */
import type { ResourceLimits, Transferable, Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { limits, MiB } from '../base/limits.ts';

export interface ThreadPoolOptions {
  /** The module that the threads load, and the name of the export that runs a task. */
  readonly module: URL;
  readonly name: string;
  readonly threads: number;
  readonly heapBytesMax: number;
  /** An error of a thread that runs no task. */
  readonly onError: (error: Error) => void;
}

/** An entry file of workers/, which lies beside src/ in the sources and in dist/; threads load the built ones. */
export const workerUrl = (entry: string): URL => new URL(`../../workers/${entry}.js`, import.meta.url);

/** Bounds of the heap of a worker thread, for `resourceLimits`. */
export const heapLimits = (oldBytesMax: number, youngBytesMax: number): ResourceLimits => ({
  maxOldGenerationSizeMb: Math.ceil(oldBytesMax / MiB),
  maxYoungGenerationSizeMb: Math.ceil(youngBytesMax / MiB),
});

export class ThreadPool {
  readonly #pool: Piscina;
  /** Threads that have not ended, with the promise of their end. */
  readonly #alive = new Map<Worker, Promise<void>>();

  constructor({ module, name, threads, heapBytesMax, onError }: ThreadPoolOptions) {
    this.#pool = new Piscina({
      filename: module.href,
      name,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: heapLimits(heapBytesMax, limits.threadYoungBytesMax),
    });
    this.#pool.on('error', onError);
    this.#pool.on('workerCreate', () => this.#watch());
  }

  async run<T>(task: unknown, transferList: readonly Transferable[] = []): Promise<T> {
    const outcome = this.#pool.run(task, { transferList: [...transferList] }) as Promise<T>;
    this.#watch();
    try {
      return await outcome;
    } catch (error) {
      await this.#ended();
      throw error;
    }
  }

  /** Ends all threads, and the tasks in them. Idempotent. */
  async close(): Promise<void> {
    this.#watch();
    await this.#pool.destroy();
    await Promise.all(this.#alive.values());
  }

  #watch(): void {
    for (const thread of this.#pool.threads) {
      if (this.#alive.has(thread)) continue;
      const end = new Promise<void>((resolve) => {
        thread.once('exit', () => {
          this.#alive.delete(thread);
          resolve();
        });
      });
      this.#alive.set(thread, end);
    }
  }

  /** Waits for threads that the pool has given up. */
  async #ended(): Promise<void> {
    const kept = new Set<Worker>(this.#pool.threads);
    await Promise.all([...this.#alive].map(([thread, end]) => (kept.has(thread) ? null : end)));
  }
}
