// A shard thread over a MemoryEngine: for native-bench/rings.mjs and test/slow/shard-threads.test.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../dist/src/base/clock.js';
import { ShardServer } from '../dist/src/shard/shard-server.js';
import { MemoryEngine } from './memory-engine.mjs';

const { doorbell, memory, ends } = workerData;
const server = new ShardServer({ origin: 1, doorbell, clock: systemClock, onEvent: () => undefined });
const engine = new MemoryEngine(server, memory);
server.attach(ends);
server.start(engine);
parentPort.on('message', (what) => {
  if (what === 'commits') parentPort.postMessage(engine.commits);
  else void server.stop().then(() => parentPort.close());
});
parentPort.postMessage('ready');
