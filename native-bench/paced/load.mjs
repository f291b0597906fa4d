// Runs the generator in a thread of its own, for the program that measures.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { decodeFromCompressedBase64 } from 'hdr-histogram-js';

export class Generator {
  #worker;
  /** `load`: see generator.mjs. */
  constructor(load) {
    this.#worker = new Worker(new URL('./generator.mjs', import.meta.url), { workerData: load });
  }
  /** One phase. */
  async run(phase) {
    this.#worker.postMessage(phase);
    const [result] = await once(this.#worker, 'message');
    if (result.error !== undefined) throw new Error(result.error);
    return {
      ...result,
      latency: decodeFromCompressedBase64(result.latency),
      getLatency: decodeFromCompressedBase64(result.getLatency),
    };
  }
  async stop() {
    await this.#worker.terminate();
  }
}
