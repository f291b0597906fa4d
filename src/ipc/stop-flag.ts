/**
 * One word of shared memory that tells background work to give up. Written by the thread that owns the work,
 * from 0 to 1, once; read by any thread.
 */
export interface StopFlagMemory {
  readonly buffer: SharedArrayBuffer;
}

export const createStopFlag = (): StopFlagMemory => ({ buffer: new SharedArrayBuffer(4) });

export class StopFlag {
  readonly #word: Int32Array;
  constructor(memory: StopFlagMemory) {
    this.#word = new Int32Array(memory.buffer);
  }
  raise(): void {
    Atomics.store(this.#word, 0, 1);
  }
  get raised(): boolean {
    return Atomics.load(this.#word, 0) === 1;
  }
}
