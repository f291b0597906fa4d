/** Stores that RingKV is compared with, each a process of its own in a directory of its own. */
import { spawn, spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../target/free-port.ts';
import { OwnProcess } from '../target/own-process.ts';
import type { StoreProcess } from '../target/target.ts';

export type PeerName = 'redis-always' | 'redis-everysec' | 'etcd';
export const PEERS: readonly PeerName[] = ['redis-always', 'redis-everysec', 'etcd'];

const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 10_000;
const POLL_MS = 50;

export const programOf = (name: PeerName): string => (name === 'etcd' ? 'etcd' : 'redis-server');
export const isInstalled = (name: PeerName): boolean =>
  spawnSync(programOf(name), ['--version'], { stdio: 'ignore' }).error === undefined;

function argumentsOf(name: PeerName, directory: string, port: number, peerPort: number): string[] {
  if (name === 'etcd') {
    const http = (one: number): string => `http://127.0.0.1:${one}`;
    return [
      ...['--name', 'load', '--data-dir', directory, '--log-level', 'error', '--logger', 'zap'],
      ...['--listen-client-urls', http(port), '--advertise-client-urls', http(port)],
      ...['--listen-peer-urls', http(peerPort), '--initial-advertise-peer-urls', http(peerPort)],
      ...['--initial-cluster', `load=${http(peerPort)}`],
    ];
  }
  return [
    ...[
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
    ],
    ...['--appendonly', 'yes', '--appendfsync', name === 'redis-always' ? 'always' : 'everysec'],
  ];
}

export class PeerProcess extends OwnProcess implements StoreProcess {
  readonly name: PeerName;
  readonly #directory: string;
  url = '';
  constructor(name: PeerName, directory: string) {
    super(STOP_MS_MAX);
    this.name = name;
    this.#directory = directory;
  }
  async start(signal: AbortSignal): Promise<void> {
    const port = await freePort();
    const args = argumentsOf(this.name, this.#directory, port, await freePort());
    const child = spawn(programOf(this.name), args, { stdio: ['ignore', 'ignore', 'ignore'] });
    let failure: Error | null = null;
    child.once('error', (error) => {
      failure = error;
    });
    this.child = child;
    this.url = `http://127.0.0.1:${port}`;
    const end = performance.now() + READY_MS_MAX;
    while (!(await listens(port))) {
      signal.throwIfAborted();
      if (failure !== null) throw failure;
      if (!this.running) throw new Error(`${this.name} ended with ${child.exitCode}`);
      if (performance.now() > end) throw new Error(`${this.name} does not listen after ${READY_MS_MAX} ms`);
      await sleep(POLL_MS);
    }
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
