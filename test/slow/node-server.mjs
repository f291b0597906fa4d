// A process that runs a node and does what its standard input says, a line each: close, kill <shard>, crash <shard>,
// kill-again-and-again <shard>.
import { createInterface } from 'node:readline';
import { crash, started } from './node-threads.mjs';

const { configOfOptions } = await import('../../dist/src/node/config.js');
const { startNode } = await import('../../dist/src/node/node.js');

const options = JSON.parse(process.argv[2] ?? '{}');
let victim;
let killing = false;
const log = (level, message) => {
  console.log(`log ${level} ${message}`);
  if (killing && message === 'shard 0 serves again') void killNext();
};
let known = new Set();
// The thread that has come since the last one was killed.
async function killNext() {
  victim = started.find((thread) => !known.has(thread));
  known = new Set(started);
  await victim.terminate();
}

let node;
try {
  node = await startNode(configOfOptions(options), log);
} catch (error) {
  console.log(`error ${JSON.stringify({ code: error.code, message: error.message })}`);
}
if (node !== undefined) {
  void node.failed.then((error) => console.log(`failed ${error.message}`));
  console.log(`ready ${node.url} ${node.nodeId} ${node.config.shards}`);
  // The front ends' threads and the peer worker were started first.
  const shard = (index) => started[options.frontends + 1 + Number(index)];
  const input = createInterface({ input: process.stdin });
  input.on('line', async (line) => {
    const [command, index] = line.split(' ');
    if (command === 'kill') await shard(index).terminate();
    else if (command === 'crash') crash(shard(index));
    else if (command === 'kill-again-and-again') {
      killing = true;
      known = new Set(started);
      await shard(index).terminate();
    } else if (command === 'close') {
      killing = false;
      input.close();
      process.stdin.destroy();
      await node.close();
      console.log('closed');
    }
  });
}
