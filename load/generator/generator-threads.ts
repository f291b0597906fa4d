/** The generator threads of a run, driven from the program's own thread. */
import { Worker } from 'node:worker_threads';
import type { IntervalPart } from '../latencies.ts';
import type { Phase } from '../workload.ts';
import { type MergedResult, mergeResults, type PhaseResult } from './tally.ts';
import type { FromThread, ThreadData, ToThread } from './thread-protocol.ts';

/** From the message to the start of a phase, so that all threads start together. */
const LEAD_MS = 20;
const CLOSE_MS_MAX = 30_000;
/** What answers leave behind is dead when this is full: with less, a seventh of a generator's time went into collecting it. */
const YOUNG_MB = 64;

type Kind = FromThread['kind'];

class Thread {
  readonly #worker: Worker;
  readonly #waiting = new Map<
    Kind,
    { resolve: (message: FromThread) => void; reject: (error: Error) => void }
  >();
  #failure: Error | null = null;
  ended = false;

  constructor(data: ThreadData, onInterval: (part: IntervalPart) => void) {
    this.#worker = new Worker(new URL('./generator-thread.js', import.meta.url), {
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
    });
    this.#worker.on('message', (message: FromThread) => {
      if (message.kind === 'interval') onInterval(message.part);
      else if (message.kind === 'error') this.#fail(new Error(message.message));
      else {
        this.#waiting.get(message.kind)?.resolve(message);
        this.#waiting.delete(message.kind);
      }
    });
    this.#worker.on('error', (error) => this.#fail(error as Error));
    this.#worker.on('exit', () => {
      this.ended = true;
      this.#fail(new Error('a generator thread ended'));
    });
  }
  expect<K extends Kind>(kind: K, message: ToThread | null): Promise<Extract<FromThread, { kind: K }>> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) {
        reject(this.#failure);
        return;
      }
      this.#waiting.set(kind, { resolve: resolve as (message: FromThread) => void, reject });
      if (message !== null) this.#worker.postMessage(message);
    });
  }
  async end(): Promise<void> {
    await this.#worker.terminate();
  }
  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

export class GeneratorThreads {
  readonly #threads: readonly Thread[];
  /** Hears of intervals as they end. */
  onInterval: (part: IntervalPart) => void = () => undefined;

  constructor(data: readonly ThreadData[]) {
    this.#threads = data.map((one) => new Thread(one, (part) => this.onInterval(part)));
  }
  async open(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.expect('opened', null)));
  }
  /** Runs a phase on all threads; `began` gets when it starts, milliseconds since 1970. */
  async run(phase: Phase, began: (startMs: number) => void = () => undefined): Promise<MergedResult> {
    const startMs = performance.timeOrigin + performance.now() + LEAD_MS;
    began(startMs);
    const parts = await Promise.all(
      this.#threads.map(async (thread): Promise<PhaseResult> => {
        const { result } = await thread.expect('result', { kind: 'run', phase, startMs });
        return result;
      }),
    );
    return mergeResults(parts);
  }
  /** Of an embedded store, which one thread holds. */
  async counters(): Promise<Readonly<Record<string, number>>> {
    const [first] = this.#threads;
    return first === undefined ? {} : (await first.expect('counters', { kind: 'counters' })).counters;
  }
  /** Ends the threads, cleanly where they answer. */
  async close(): Promise<void> {
    const closing = this.#threads.map(async (thread) => {
      const late = new Promise((resolve) => setTimeout(resolve, CLOSE_MS_MAX).unref());
      // A thread that has failed has told so already.
      await Promise.race([thread.expect('closed', { kind: 'close' }).catch(() => undefined), late]);
      await thread.end();
    });
    await Promise.all(closing);
  }
}
