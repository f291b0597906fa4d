// A process that runs a node and does what its standard input says, a line each: close, kill <thread>, crash <thread>.
import { createInterface } from 'node:readline';
import { crash, started } from './node-threads.mjs';

const { configOfOptions } = await import('../../dist/src/node/config.js');
const { startNode } = await import('../../dist/src/node/node.js');

const log = (level, message) => console.log(`log ${level} ${message}`);
const options = JSON.parse(process.argv[2] ?? '{}');
let node;
try {
  node = await startNode(configOfOptions(options), log);
} catch (error) {
  console.log(`error ${JSON.stringify({ code: error.code, message: error.message })}`);
}
if (node !== undefined) {
  void node.failed.then((error) => console.log(`failed ${error.message}`));
  console.log(`ready ${node.url} ${node.nodeId} ${node.config.shards}`);
  // The front ends' threads were started first.
  const shard = (index) => started[options.frontends + Number(index)];
  const input = createInterface({ input: process.stdin });
  input.on('line', async (line) => {
    const [command, index] = line.split(' ');
    if (command === 'kill') await shard(index).terminate();
    else if (command === 'crash') crash(shard(index));
    else if (command === 'close') {
      input.close();
      process.stdin.destroy();
      await node.close();
      console.log('closed');
    }
  });
}
