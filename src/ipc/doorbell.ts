/**
 * Wakes a sleeping consumer thread: one word of shared memory that says whether it sleeps, and a MessagePort
 * per producer that brings it back from its event loop (53 us, against 66 us for Atomics.waitAsync, which also
 * does not keep the event loop alive). One doorbell per consumer thread, shared by all its producers.
 *
 *   byte  size  holds                                                            written by
 *      0     4  epoch: odd while the consumer sleeps or is about to              consumer, producers
 *
 * This is the one shared word with several writers. Invariants:
 * 1. Only the consumer makes the epoch odd. From odd to the next even number it goes by compareExchange: by a
 *    producer that has posted a message, or by the consumer as it wakes up or finds work.
 * 2. The consumer makes the epoch odd first and looks at its rings once more then; a producer publishes its
 *    records first and looks at the epoch then. All four are sequentially consistent, so at least one of the two
 *    sees the other: no record waits for a consumer that sleeps on.
 * 3. A producer posts before it makes the epoch even. A thread terminated in between costs a message too many,
 *    and never leaves a word that says awake over a consumer that sleeps. Since the epoch does not come back
 *    (for 2^31 sleeps), a late compareExchange never takes away a later sleep.
 * 4. At most one message per producer and sleep is under way.
 */
import type { MessagePort } from 'node:worker_threads';

export interface DoorbellMemory {
  readonly buffer: SharedArrayBuffer;
}

const WORD_EPOCH = 0;
const DOORBELL_BYTES = 64;

export function createDoorbell(): DoorbellMemory {
  return { buffer: new SharedArrayBuffer(DOORBELL_BYTES) };
}

/** A producer's end. */
export class DoorbellRinger {
  readonly #words: Int32Array;
  readonly #port: Pick<MessagePort, 'postMessage'>;
  #messages = 0;

  constructor(memory: DoorbellMemory, port: Pick<MessagePort, 'postMessage'>) {
    this.#words = new Int32Array(memory.buffer);
    this.#port = port;
  }

  /** Messages posted so far. */
  get messages(): number {
    return this.#messages;
  }

  /** To be called after records were published. */
  ring(): void {
    const epoch = Atomics.load(this.#words, WORD_EPOCH);
    if ((epoch & 1) === 0) return;
    this.#messages++;
    this.#port.postMessage(null);
    Atomics.compareExchange(this.#words, WORD_EPOCH, epoch, (epoch + 1) | 0);
  }
}

/**
 * The consumer's end. The owner drains its rings whenever a port brings a message, and calls `sleep` once a turn of its loop has found
 * them empty: a message costs 5 us of processor time on both sides together, a turn more costs one.
 */
export class DoorbellSleeper {
  readonly #words: Int32Array;
  #sleeps = 0;

  constructor(memory: DoorbellMemory) {
    this.#words = new Int32Array(memory.buffer);
  }

  /** Times that `sleep` gave true. */
  get sleeps(): number {
    return this.#sleeps;
  }

  /**
   * To be called with all rings drained, before the return to the event loop. `pending` looks at the shared
   * heads of all rings. True: a message will come for whatever is published from here on. False: there is
   * work already.
   */
  sleep(pending: () => boolean): boolean {
    const epoch = Atomics.load(this.#words, WORD_EPOCH);
    if ((epoch & 1) === 0) Atomics.store(this.#words, WORD_EPOCH, (epoch + 1) | 0);
    if (pending()) {
      this.wake();
      return false;
    }
    this.#sleeps++;
    return true;
  }

  /** The consumer is awake, by a message or by itself: producers need not post. */
  wake(): void {
    const epoch = Atomics.load(this.#words, WORD_EPOCH);
    if ((epoch & 1) === 1) Atomics.compareExchange(this.#words, WORD_EPOCH, epoch, (epoch + 1) | 0);
  }
}
