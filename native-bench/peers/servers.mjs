// Starts the servers of the comparison, each in a process of its own, and the load generators against them.
import { execFile, spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
export const CONNECTIONS = 64;
const START_MS_MAX = 30_000;

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function untilListening(port, child, name) {
  const end = performance.now() + START_MS_MAX;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}`);
    const open = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('connect', () => resolve(true) ?? socket.destroy());
      socket.on('error', () => resolve(false));
    });
    if (open) return;
    if (performance.now() > end) throw new Error(`${name} does not listen after ${START_MS_MAX} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function start(name, command, args, port) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  await untilListening(port, child, name);
  const stop = () =>
    new Promise((resolve) => {
      child.on('exit', resolve);
      child.kill('SIGTERM');
    });
  return { port, url: `http://127.0.0.1:${port}`, pid: child.pid, stop };
}

/** `nodeFlags` are for Node.js itself. */
export async function startRingkv(directory, flags = [], nodeFlags = []) {
  const port = await freePort();
  const main = join(root, 'dist/src/cli/main.js');
  const args = [
    ...nodeFlags,
    main,
    'serve',
    '--port',
    String(port),
    '--data',
    join(directory, 'ringkv-http'),
  ];
  const server = await start('ringkv', process.execPath, [...args, '--log-level', 'warn', ...flags], port);
  await run('curl', ['--silent', '--retry', '20', '--retry-all-errors', '--fail', `${server.url}/readyz`]);
  return server;
}
export async function startBare() {
  const port = await freePort();
  return await start('bare', process.execPath, [join(here, 'bare-server.mjs'), String(port)], port);
}
export async function startRedis(directory) {
  const port = await freePort();
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    directory,
    '--save',
    '',
    '--loglevel',
    'warning',
  ];
  return await start(
    'redis',
    'redis-server',
    [...args, '--appendonly', 'yes', '--appendfsync', 'always'],
    port,
  );
}

export function run(command, args) {
  return new Promise((resolve, reject) => {
    execFile(command, args, { maxBuffer: 2 ** 24, cwd: root }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${command} ${args.join(' ')}: ${error.message}\n${stderr}`));
    });
  });
}

const milliseconds = (text, unit) => Number(text) * { us: 0.001, ms: 1, s: 1000 }[unit];

/** wrk with a script of this folder: requests per second and the 99th percentile in ms. */
export async function wrk(url, script, mediaType, seconds) {
  const options = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency', '-s', join(here, script)];
  const args = [...options, url, '--', mediaType];
  const text = await run('wrk', args);
  if (/FAILED|Non-2xx/.test(text)) throw new Error(`wrk ${url} ${script} ${mediaType}:\n${text}`);
  const [, p99, unit] = /99%\s+([0-9.]+)(us|ms|s)/.exec(text);
  return { perSecond: Number(/Requests\/sec:\s+([0-9.]+)/.exec(text)[1]), p99Ms: milliseconds(p99, unit) };
}

/** redis-benchmark without pipelining at the same number of connections. */
export async function redisBenchmark(port, command, requests) {
  const args = ['-p', String(port), '-t', command, '-d', '2048', '-c', String(CONNECTIONS)];
  const text = await run('redis-benchmark', [...args, '-n', String(requests), '-r', '1000000', '--csv']);
  const row = text
    .trim()
    .split('\n')
    .at(-1)
    .split(',')
    .map((cell) => cell.replaceAll('"', ''));
  return { perSecond: Number(row[1]), p99Ms: Number(row[6]) };
}

/** RocksDB's own benchmark, without sync: the figure that no durable store reaches. */
export async function dbBench(directory, keys) {
  const args = [`--db=${join(directory, 'rocksdb')}`, '--benchmarks=fillrandom', '--value_size=2048'];
  const text = await run('db_bench', [
    ...args,
    '--key_size=16',
    `--num=${keys}`,
    '--compression_type=snappy',
    '--sync=0',
  ]);
  return { perSecond: Number(/fillrandom\s*:.*?([0-9]+) ops\/sec/.exec(text)[1]) };
}

export async function has(command) {
  try {
    await run('which', [command]);
    return true;
  } catch (error) {
    console.error(`${command} is not installed: left out (${error.message.split('\n')[0]})`);
    return false;
  }
}
