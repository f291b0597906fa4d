// Cuts the power of a real disk under a server that takes writes, many times, and compares what is there afterwards
// with what had been acknowledged. The data directory lies on ext4 on a file that itself lies on XFS: a reflink copy
// of that file is the disk as it stood at one moment, page cache not included.
//
//   npm run build && npm run test:power-cut -- [--cuts 20] [--seed 7] [--lying]
//
// With --lying every fdatasync says yes and does nothing (strace): then losses must show, or this test is blind.
// Needs Linux, root, and from Debian: xfsprogs, e2fsprogs, mount; strace for --lying. Figures: docs/reliability.md.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Pool } from 'undici';

const { values: flags } = parseArgs({
  options: {
    cuts: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    lying: { type: 'boolean', default: false },
  },
});
const cuts = Number(flags.cuts);
const KEYS = 2000;
const LANES = 64;
const CUT_AFTER_MS_MAX = 1500;
const root = fileURLToPath(new URL('../..', import.meta.url));
const { open } = await import('../../dist/src/index.js');

let state = Number(flags.seed) >>> 0;
/** 32 random bits from the seed (splitmix32). */
function random() {
  state = (state + 0x9e3779b9) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

const mounted = [];
const sh = (command, ...args) =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
function mount(image, at, options = []) {
  mkdirSync(at, { recursive: true });
  sh('mount', '-o', ['loop', ...options].join(','), image, at);
  mounted.push(at);
}
function unmount(at) {
  sh('umount', at);
  mounted.splice(mounted.indexOf(at), 1);
}

/** What was asked of each key in order, and how far the acknowledgements have come. */
const history = Array.from({ length: KEYS }, () => ({ ops: [null], acknowledged: 0 }));
const keyName = (key) => `key-${key}`;

async function lane(pool, number, running) {
  let count = 0;
  while (running.on) {
    // Each key belongs to one lane, so the order of its writes is the order of its history.
    const key = number + LANES * (random() % Math.floor(KEYS / LANES));
    const one = history[key];
    const deletes = random() % 10 === 0;
    const text = deletes ? null : `${key}:${number}:${count++}:`.padEnd(64 + (random() % 4000), 'x');
    const index = one.ops.push(text) - 1;
    const path = `/v1/kv/${keyName(key)}`;
    const headers = { 'content-type': 'application/octet-stream' };
    try {
      const answer = await pool.request(
        deletes ? { method: 'DELETE', path } : { method: 'PUT', path, headers, body: text },
      );
      await answer.body.dump();
      if (answer.statusCode === 204) one.acknowledged = index;
      else if (answer.statusCode !== 503) throw new Error(`${path}: ${answer.statusCode}`);
    } catch (error) {
      if (running.on) throw error;
    }
  }
}

function start(data) {
  const flagsOfServer = [
    '--port',
    '0',
    '--data',
    data,
    '--memtable-bytes',
    '2MiB',
    '--log-level',
    'warn',
    '--shards',
    '2',
  ];
  const server = [process.execPath, join(root, 'dist/src/cli/main.js'), 'serve', ...flagsOfServer];
  const lying = [
    'strace',
    '-f',
    '-qq',
    '-o',
    '/dev/null',
    '-e',
    'trace=fdatasync,fsync',
    '-e',
    'inject=fdatasync,fsync:retval=0',
  ];
  const [command, ...args] = flags.lying ? [...lying, ...server] : server;
  // A group of its own: a signal must reach the server behind strace too.
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  return new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout.on('data', (text) => {
      const url = /ready (http:\S+)/.exec(String(text))?.[1];
      if (url !== undefined) resolve({ child, url });
    });
  });
}

/** Recovers from the image and counts what is not as it must be. */
async function judge(image, at, before) {
  mount(image, at);
  const found = new Map();
  let damage = 0;
  try {
    // After a real power cut nobody holds the lock; here the server that took it lives on, beside its disk.
    rmSync(join(at, 'data/LOCK.holder'), { recursive: true, force: true });
    const store = await open({ path: join(at, 'data'), shards: 2, memtableBytes: '2MiB' });
    for await (const { key, value } of store.scan())
      found.set(Buffer.from(key).toString(), Buffer.from(value).toString());
    for (const { damage: list } of await store.verify()) damage += list.length;
    await store.close();
  } catch (error) {
    // A store that does not open has lost everything.
    console.log(`does not open: ${error.message}`);
    damage++;
  } finally {
    unmount(at);
  }
  let lost = 0;
  history.forEach(({ ops }, key) => {
    const text = found.get(keyName(key)) ?? null;
    const possible = ops.slice(before[key].acknowledged, before[key].issued);
    if (!possible.includes(text)) lost++;
  });
  return { lost, damage, keys: found.size };
}

const base = mkdtempSync(join(tmpdir(), 'ringkv-power-cut-'));
let server = null;
try {
  console.log(
    `power cuts: ${cuts}, seed ${flags.seed}${flags.lying ? ', with a disk that lies about syncs' : ''}`,
  );
  sh('truncate', '-s', '6G', join(base, 'xfs.img'));
  sh('mkfs.xfs', '-q', '-m', 'reflink=1', join(base, 'xfs.img'));
  mount(join(base, 'xfs.img'), join(base, 'xfs'));
  const disk = join(base, 'xfs/disk.img');
  sh('truncate', '-s', '2G', disk);
  sh('mkfs.ext4', '-q', disk);
  mount(disk, join(base, 'disk'));
  server = await start(join(base, 'disk/data'));
  const pool = new Pool(server.url, { connections: LANES });
  const running = { on: true };
  const lanes = Promise.all(Array.from({ length: LANES }, (_, number) => lane(pool, number, running)));
  lanes.catch(() => undefined);
  let lost = 0;
  let damage = 0;
  for (let cut = 1; cut <= cuts; cut++) {
    await new Promise((resolve) => setTimeout(resolve, 200 + (random() % CUT_AFTER_MS_MAX)));
    const acknowledged = history.map((one) => one.acknowledged);
    const image = join(base, 'xfs/cut.img');
    sh('cp', '--reflink=always', disk, image);
    // What was asked for until the copy was made may be in it or not.
    const before = history.map((one, key) => ({ acknowledged: acknowledged[key], issued: one.ops.length }));
    const result = await judge(image, join(base, 'cut'), before);
    rmSync(image);
    lost += result.lost;
    damage += result.damage;
    const writes = acknowledged.reduce((sum, count) => sum + count, 0);
    console.log(
      `cut ${cut}: ${writes} writes acknowledged, ${result.keys} keys there, ${result.lost} wrong, ${result.damage} damaged`,
    );
  }
  running.on = false;
  await lanes;
  await pool.destroy();
  const failed = flags.lying ? lost === 0 : lost + damage > 0;
  if (flags.lying)
    console.log(failed ? 'FAILED: the lies were not noticed' : `the lies were noticed: ${lost} wrong`);
  else
    console.log(failed ? `FAILED: ${lost} wrong, ${damage} damaged` : `nothing lost in ${cuts} power cuts`);
  process.exitCode = failed ? 1 : 0;
} finally {
  if (server !== null) {
    server.child.removeAllListeners('exit');
    const ended = new Promise((resolve) => server.child.on('exit', resolve));
    process.kill(-server.child.pid, 'SIGTERM');
    await ended;
  }
  for (const at of [...mounted].reverse()) sh('umount', at);
  rmSync(base, { recursive: true, force: true });
}
