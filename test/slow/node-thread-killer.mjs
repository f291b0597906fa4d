// A process with a store of two shards under load, that kills the thread of shard 0 a number of times, by turns with
// Worker.terminate and with an uncaught exception, and background threads beside it. Then it checks every write that
// was acknowledged, closes, and reports.
import { crash, started } from './node-threads.mjs';

const { open } = await import('../../dist/src/index.js');
const { Random } = await import('../../dist/src/base/random.js');
const { hashToken, shardOf, token } = await import('../../dist/src/base/token.js');

const { path, seed, kills } = JSON.parse(process.argv[2] ?? '{}');
const random = new Random(seed);
const log = [];
const waiting = [];
const store = await open({
  path,
  shards: 2,
  memtableBytes: '2MiB',
  log: (level, message) => {
    log.push(`${level} ${message}`);
    for (const one of waiting.splice(0)) one();
  },
});
const logged = async (what, times) => {
  while (log.filter((line) => line.includes(what)).length < times)
    await new Promise((done) => waiting.push(done));
};
const shardOfKey = (key) => {
  hashToken(Buffer.from(key));
  return shardOf(token.hi, 1024, 2);
};

const acknowledged = new Map();
const codes = new Set();
let otherFailures = 0;
let stopped = false;
async function write(lane) {
  for (let number = lane; !stopped; number += 32) {
    const key = `key-${number % 640}`;
    try {
      await store.put(key, `${number} ${'v'.repeat(number % 2000)}`);
      acknowledged.set(key, number);
    } catch (error) {
      codes.add(error.code);
      if (shardOfKey(key) === 1) otherFailures++;
      await new Promise((done) => setImmediate(done));
    }
  }
}
const lanes = Array.from({ length: 32 }, (_, lane) => write(lane));
const writes = async (count) => {
  const before = acknowledged.size === 0 ? 0 : Math.max(...acknowledged.values());
  while (Math.max(0, ...acknowledged.values()) < before + count)
    await new Promise((done) => setTimeout(done, 5));
};

let victim = started[0];
for (let kill = 1; kill <= kills; kill++) {
  await writes(random.between(100, 3000));
  const known = new Set(started);
  if (kill % 2 === 0) await victim.terminate();
  else crash(victim);
  const gone = kill > 5 ? 'stays down' : 'serves again';
  await logged(gone, kill > 5 ? 1 : kill);
  victim = started.find((thread) => !known.has(thread));
}
await writes(2000);
stopped = true;
await Promise.all(lanes);
const down = log.some((line) => line.includes('stays down'));
const lost = [];
const check = async (opened) => {
  for (const [key, number] of acknowledged) {
    const value = await opened.get(key).catch((error) => error.code);
    if (value === 'SHARD_DOWN' && down && shardOfKey(key) === 0) continue;
    if (!(Number.parseInt(Buffer.from(value ?? '').toString(), 10) >= number))
      lost.push(`${key} ${number} ${value}`);
  }
};
await check(store);
await store.close();
const again = await open({ path });
for (const [key, number] of acknowledged) {
  const value = Buffer.from((await again.get(key)) ?? '').toString();
  if (!(Number.parseInt(value, 10) >= number))
    lost.push(`${key} ${number} ${value.slice(0, 20)} after reopening`);
}
await again.close();
const restarts = log.filter((line) => line.includes('serves again')).length;
console.log(JSON.stringify({ lost, codes: [...codes], restarts, otherFailures, down, log: log.slice(-40) }));
