// What a request over HTTP costs a whole node, one request at a time over each of 64 connections: microseconds of processor time by
// thread (front end, the busiest two others, which are the shards in a PUT, and the rest), and the rate. Builds beside each other by turns
// in one run, medians. wrk makes the load (Debian: wrk).
//   npm run build && node native-bench/http-cost.mjs [--also DIR,'DIR|--shards 1',...] [--only put-raw,put-json,get-raw,get-json,bare-put-json,...]
//     [--rounds 5] [--seconds 2] [--flags '--durability os']
// --also takes checkouts with a build of their own, this one too, and flags of theirs. Redis is not here: bench:peers.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fillHttp } from './peers/fill.mjs';
import { freePort, run, start, startBare, wrk } from './peers/servers.mjs';

const { values: flags } = parseArgs({
  options: {
    also: { type: 'string', default: '' },
    only: { type: 'string', default: 'put-raw,put-json,get-raw,get-json' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    flags: { type: 'string', default: '' },
    directory: { type: 'string', default: tmpdir() },
  },
});
const own = fileURLToPath(new URL('..', import.meta.url));
const builds = [own, ...flags.also.split(',').filter((one) => one !== '')].map((one) => one.split('|'));
const parent = mkdtempSync(join(flags.directory, 'http-cost-'));
const TYPES = { raw: 'application/octet-stream', json: 'application/json' };
const WARM_UP_SECONDS = 2;

/** Nanoseconds that each thread of a process has run, by thread. */
function ranNs(pid) {
  const directory = `/proc/${pid}/task`;
  return new Map(
    readdirSync(directory).map((tid) => {
      const text = readFileSync(join(directory, tid, 'schedstat'), 'utf8');
      return [tid, Number(text.split(' ')[0])];
    }),
  );
}
const usedOf = (before, after) => new Map([...after].map(([tid, ns]) => [tid, ns - (before.get(tid) ?? 0)]));

async function startNode(root, directory, more) {
  const port = await freePort();
  const data = ['--data', join(directory, 'data'), '--log-level', 'warn'];
  const args = [join(root, 'dist/src/cli/main.js'), 'serve', '--port', String(port), ...data];
  const server = await start(
    'ringkv',
    process.execPath,
    [...args, ...`${flags.flags} ${more}`.split(' ').filter(Boolean)],
    port,
  );
  await run('curl', ['--silent', '--retry', '20', '--retry-all-errors', '--fail', `${server.url}/readyz`]);
  return server;
}

async function measure({ pid, url, front }, contest) {
  const [method, type] = contest.replace('bare-', '').split('-');
  const before = ranNs(pid);
  const started = performance.now();
  const { perSecond } = await wrk(url, `${method}.lua`, TYPES[type], Number(flags.seconds));
  // wrk makes its requests before it sends the first: what passed in the meantime costs the node nothing.
  const requests = perSecond * Number(flags.seconds);
  const used = usedOf(before, ranNs(pid));
  const us = (tid) => (used.get(tid) ?? 0) / 1000 / requests;
  const others = [...used.keys()].filter((tid) => tid !== front).sort((a, b) => us(b) - us(a));
  const sum = (tids) => tids.reduce((total, tid) => total + us(tid), 0);
  return {
    rate: perSecond,
    all: us(front) + sum(others),
    front: us(front),
    second: sum(others.slice(0, 1)),
    third: sum(others.slice(1, 2)),
    rest: sum(others.slice(2)),
    wallMs: performance.now() - started,
  };
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const contests = flags.only.split(',');
const servers = [];
try {
  for (const [index, [root, more = '']] of builds.entries()) {
    const name = index === 0 ? 'this' : `${basename(resolve(root))} ${more}`.trim();
    const directory = join(parent, String(index));
    servers.push({ name, ...(await startNode(root, directory, more)) });
    await fillHttp(servers.at(-1).url);
  }
  if (contests.some((one) => one.startsWith('bare-'))) servers.push({ name: 'bare', ...(await startBare()) });
  for (const server of servers) {
    // The thread that serves GETs from memory is the front end.
    const before = ranNs(server.pid);
    await wrk(server.url, 'get.lua', TYPES.raw, 1);
    const used = [...usedOf(before, ranNs(server.pid))];
    server.front = used.sort((a, b) => b[1] - a[1])[0][0];
  }
  for (const contest of contests) {
    const bare = contest.startsWith('bare-');
    const entries = servers.filter(({ name }) => (name === 'bare') === bare);
    const figures = new Map(entries.map(({ name }) => [name, []]));
    const [method, type] = contest.replace('bare-', '').split('-');
    for (const { url } of entries) await wrk(url, `${method}.lua`, TYPES[type], WARM_UP_SECONDS);
    for (let round = 0; round < Number(flags.rounds); round++) {
      const turns = round % 2 === 0 ? entries : [...entries].reverse();
      for (const server of turns) figures.get(server.name).push(await measure(server, contest));
    }
    for (const { name } of entries) {
      const list = figures.get(name);
      const of = (what) => median(list.map((figure) => figure[what]));
      const us = (what) => of(what).toFixed(2).padStart(6);
      const each = list.map(({ all }) => all.toFixed(1)).join(' ');
      console.log(
        `${contest.padEnd(13)} ${name.padEnd(16)} ${String(Math.round(of('rate'))).padStart(7)}/s, us a request: ${us('all')} = front end ${us('front')},` +
          ` next two ${us('second')} ${us('third')}, rest ${us('rest')}  (${each})`,
      );
    }
  }
} finally {
  await Promise.all(servers.map(({ stop }) => stop()));
  rmSync(parent, { recursive: true, force: true });
}
