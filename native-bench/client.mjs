// The client over WebSocket against the client over HTTP, at one node, turn about: `npm run bench:client -- [seconds] [rounds]`.
// Prints medians and ranges of half puts, half gets of 100 bytes; the client's own processor time is part of what is compared.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from '../dist/src/client/index.js';

const [seconds = 2, rounds = 5] = process.argv.slice(2).map(Number);
const directory = mkdtempSync(join(tmpdir(), 'ringkv-bench-client-'));
const main = resolve(import.meta.dirname, '../dist/src/cli/main.js');
const node = spawn(
  process.execPath,
  [main, 'serve', '--port', '0', '--data', directory, '--durability', 'os'],
  {
    stdio: ['ignore', 'pipe', 'ignore'],
  },
);
let out = '';
const url = await new Promise((done, failed) => {
  node.stdout.on('data', (chunk) => {
    out += chunk;
    const match = /ready (\S+)/.exec(out);
    if (match !== null) done(match[1]);
  });
  node.once('exit', (code) => failed(new Error(`the node ended with ${code}`)));
});

const KEYS = 20_000;
const value = new Uint8Array(100).fill(7);
async function load(client, inFlight) {
  let done = 0;
  const cpu = process.cpuUsage();
  const end = performance.now() + seconds * 1000;
  const line = async (n) => {
    for (let i = n; performance.now() < end; i++) {
      const key = `key ${(i * 7919 + n * 31) % KEYS}`;
      if (i % 2 === 0) await client.put(key, value);
      else if ((await client.get(key)) === null) throw new Error(`${key} is gone`);
      done++;
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, (_, n) => line(n)));
  const tookMs = performance.now() - startMs;
  const { user, system } = process.cpuUsage(cpu);
  return { rate: (done / tookMs) * 1000, cpuUs: (user + system) / done };
}
const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

try {
  const clients = {
    ws: await connect({ nodes: [url], transport: 'ws' }),
    http: await connect({ nodes: [url], connections: 64 }),
  };
  await clients.ws.putMany(Array.from({ length: KEYS }, (_, n) => ({ key: `key ${n}`, value })));
  for (const inFlight of [64, 1000]) {
    const seen = { ws: [], http: [] };
    for (let round = 0; round <= rounds; round++)
      for (const transport of round % 2 === 0 ? ['ws', 'http'] : ['http', 'ws']) {
        const one = await load(clients[transport], inFlight);
        if (round > 0) seen[transport].push(one); // the first one warms up
      }
    for (const [transport, all] of Object.entries(seen)) {
      const rates = all.map(({ rate }) => rate);
      const range = `${Math.round(Math.min(...rates))} - ${Math.round(Math.max(...rates))}`;
      const cpuUs = median(all.map((one) => one.cpuUs)).toFixed(1);
      console.log(
        `${inFlight} in flight, ${transport}: ${Math.round(median(rates))}/s (${range}), ${cpuUs} us of the client's processor time a call`,
      );
    }
  }
  for (const client of Object.values(clients)) await client.close();
} finally {
  node.kill('SIGTERM');
  await new Promise((done) => (node.exitCode === null ? node.once('exit', done) : done()));
  rmSync(directory, { recursive: true });
}
