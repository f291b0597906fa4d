// Remembers every worker thread of this process, so that a test can kill one. Imported before anything that
// starts threads. Piscina and the node look the class up when they start a thread.
import { createRequire, syncBuiltinESMExports } from 'node:module';

const threads = createRequire(import.meta.url)('node:worker_threads');
/** In the order of their start: the first S are those of the shards. */
export const started = [];
threads.Worker = class extends threads.Worker {
  constructor(...args) {
    super(...args);
    started.push(this);
    this.once('exit', () => started.splice(started.indexOf(this), 1));
  }
};
syncBuiltinESMExports();

/** What Piscina's worker cannot digest: it throws in its next tick, and nothing catches that. */
export const crash = (worker) => worker.postMessage({ port: null, filename: null, name: null });
