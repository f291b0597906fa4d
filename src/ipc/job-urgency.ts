/**
 * Words of shared memory that tell background jobs whether somebody waits for them. Written by the shard's thread, 0 or
 * 1; read by the threads of its jobs, between two slices of work (src/engine/job-pace.ts).
 */
export interface JobUrgencyMemory {
  readonly buffer: SharedArrayBuffer;
}

/** Jobs of a kind are urgent or not, all of one shard together. */
export const URGENCY_FLUSH = 0;
export const URGENCY_COMPACTION = 1;
const WORDS = 2;

export const createJobUrgency = (): JobUrgencyMemory => ({ buffer: new SharedArrayBuffer(4 * WORDS) });

export class JobUrgency {
  readonly #words: Int32Array;
  readonly #kind: number;
  constructor(memory: JobUrgencyMemory, kind: typeof URGENCY_FLUSH | typeof URGENCY_COMPACTION) {
    this.#words = new Int32Array(memory.buffer);
    this.#kind = kind;
  }
  set(urgent: boolean): void {
    Atomics.store(this.#words, this.#kind, urgent ? 1 : 0);
  }
  get urgent(): boolean {
    return Atomics.load(this.#words, this.#kind) === 1;
  }
}
