/**
 * How long the disk of this machine takes for a sync, again and again: where others keep it busy, requests end at their
 * deadlines and no node is to blame.
 */
import { open } from 'node:fs/promises';
import { sleep } from './random.mjs';

const EVERY_MS = 200;
/** Beyond it two rounds of SERIAL with a few repeats do not fit into the deadline of a request. */
const SLOW_MS = 250;

export class Machine {
  msMax = 0;
  #slow = [];
  #stopped = false;
  #watching;

  constructor(path) {
    this.#watching = this.#watch(path);
  }

  async #watch(path) {
    const file = await open(path, 'w');
    const block = Buffer.alloc(4096);
    while (!this.#stopped) {
      const startMs = performance.now();
      await file.write(block, 0, block.length, 0);
      await file.datasync();
      const endMs = performance.now();
      this.msMax = Math.max(this.msMax, endMs - startMs);
      if (endMs - startMs > SLOW_MS) this.#slow.push({ startMs, endMs });
      await sleep(EVERY_MS);
    }
    await file.close();
  }
  async stop() {
    this.#stopped = true;
    await this.#watching;
  }

  /** Whether it was so slow at any moment between two. */
  wasSlow(startMs, endMs) {
    return this.#slow.some((one) => one.startMs <= endMs && one.endMs >= startMs);
  }
}
