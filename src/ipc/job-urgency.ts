/**
 * One word of shared memory that tells the compactions of a shard whether somebody waits for them. Written by the shard's
 * thread, 0 or 1; read by the threads of its jobs, between two slices of work (src/engine/job-pace.ts).
 */
export interface JobUrgencyMemory {
  readonly buffer: SharedArrayBuffer;
}

export const createJobUrgency = (): JobUrgencyMemory => ({ buffer: new SharedArrayBuffer(4) });

export class JobUrgency {
  readonly #word: Int32Array;
  constructor(memory: JobUrgencyMemory) {
    this.#word = new Int32Array(memory.buffer);
  }
  set(urgent: boolean): void {
    Atomics.store(this.#word, 0, urgent ? 1 : 0);
  }
  get urgent(): boolean {
    return Atomics.load(this.#word, 0) === 1;
  }
}
