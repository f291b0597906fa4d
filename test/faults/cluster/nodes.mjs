/** Nodes of one cluster as processes of dist/, each with an address of its own that it keeps over restarts. */
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import { until } from './random.mjs';

const MAIN = fileURLToPath(new URL('../../../dist/src/cli/main.js', import.meta.url));
const PORT = 7070;
const READY_MS_MAX = 60_000;
const CONNECTIONS = 32;
/** Above the server's own limit of a request: what takes longer hangs, and its outcome is unknown. */
const REQUEST_MS_MAX = 8000;
/** '' where Debian's package faketime is not installed. */
export const FAKETIME =
  readdirSync('/usr/lib')
    .map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`)
    .find((path) => existsSync(path)) ?? '';

export class Node {
  nodeId = '';
  child = null;
  pool = null;
  /** Requests of clients go to it. */
  serves = false;
  /** It was told to leave. */
  leaves = false;
  #cluster;
  #namespace;
  #clockFile = null;

  constructor(cluster, name, address, namespace) {
    this.#cluster = cluster;
    this.name = name;
    this.address = address;
    this.#namespace = namespace;
    this.url = `http://${address}:${PORT}`;
    this.peer = `${address}:${PORT + 1000}`;
    this.data = join(cluster.directory, name);
  }

  get running() {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Until it says that it is ready; who calls sends requests to it from then on. `flags` beside those that all nodes have. */
  async start(...flags) {
    const seeds = this.#cluster.nodes.slice(0, 3).map(({ peer }) => peer);
    const own = ['--host', this.address, '--port', String(PORT), '--data', this.data, '--rack', this.name];
    const common = ['--vnodes', '64', '--memtable-bytes', '4MiB', '--seeds', seeds.join()];
    const bind = this.#namespace === null ? [] : ['--insecure-bind'];
    const serve = [process.execPath, MAIN, 'serve', ...own, ...common, ...bind, ...flags];
    const inside = this.#namespace === null ? [] : ['ip', 'netns', 'exec', this.#namespace];
    const [command, ...args] = [...inside, ...serve];
    const log = openSync(join(this.#cluster.directory, `${this.name}.log`), 'a');
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', log], env: this.#environment() });
    closeSync(log);
    const { child } = this;
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      out += text;
    });
    await until(`${this.name} is ready`, READY_MS_MAX, () => {
      if (child.exitCode !== null) throw new Error(`${this.name} ended with ${child.exitCode}: ${this.log}`);
      return Promise.resolve(out.includes('ready '));
    });
    this.pool = new Pool(this.url, {
      connections: CONNECTIONS,
      headersTimeout: REQUEST_MS_MAX,
      bodyTimeout: REQUEST_MS_MAX,
    });
    this.nodeId = (await this.getJson('/v1/cluster')).self;
  }

  /** With a clock that can be set while it runs: from its next start. */
  useFakeClock() {
    this.#clockFile = join(this.#cluster.directory, `${this.name}.clock`);
    this.setClock(0);
  }
  /** So many seconds ahead of (or, negative, behind) the machine's clock. */
  setClock(seconds) {
    writeFileSync(this.#clockFile, `${seconds < 0 ? '' : '+'}${seconds}\n`);
  }
  #environment() {
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith('RINGKV_')),
    );
    if (this.#clockFile === null) return env;
    return {
      ...env,
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: this.#clockFile,
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  get log() {
    return readFileSync(join(this.#cluster.directory, `${this.name}.log`), 'utf8');
  }

  async signal(name) {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill(name);
    if (name === 'SIGKILL') {
      await ended;
      await this.pool?.destroy();
    }
  }
  wipe() {
    rmSync(this.data, { recursive: true });
  }

  /** A whole answer: its status, headers and body. Throws where there is none. */
  async ask(method, path, headers = {}, body = undefined) {
    const answer = await this.pool.request({ method, path, headers, body });
    return { status: answer.statusCode, headers: answer.headers, body: await answer.body.text() };
  }
  async getJson(path) {
    const { status, body } = await this.ask('GET', path);
    if (status !== 200) throw new Error(`${this.name} ${path}: ${status} ${body}`);
    return JSON.parse(body);
  }
  async change(name, fields = {}) {
    const { status, body } = await this.ask(
      'POST',
      `/v1/cluster/${name}`,
      { 'content-type': 'application/json' },
      JSON.stringify(fields),
    );
    if (status !== 200) throw new Error(`${this.name} ${name}: ${status} ${body}`);
    return JSON.parse(body);
  }
  async isReady() {
    return (await this.ask('GET', '/readyz')).status === 200;
  }
}

export class Cluster {
  nodes = [];
  #network;

  /** `network`: namespaces for the nodes; null where they share the machine's loopback. */
  constructor(directory, network) {
    mkdirSync(directory, { recursive: true });
    this.directory = directory;
    this.#network = network;
  }

  add() {
    const index = this.nodes.length;
    const name = `n${index + 1}`;
    const { address, namespace } =
      this.#network === null
        ? {
            address: `127.${213 + (process.pid % 32)}.${(process.pid >> 5) % 256}.${10 + index}`,
            namespace: null,
          }
        : this.#network.add(name);
    const node = new Node(this, name, address, namespace);
    this.nodes.push(node);
    return node;
  }

  get serving() {
    return this.nodes.filter(({ serves }) => serves);
  }

  /** So many members, all up, and no change under way, as each node that serves sees it. */
  async settled(count, msMax = 90_000) {
    return await until(`${count} members, up, and no change of the ring`, msMax, async () => {
      const all = await Promise.all(this.serving.map((node) => node.getJson('/v1/cluster')));
      return all.every(({ nodes, change }) => {
        const members = nodes.filter(({ member }) => member);
        return change === null && members.length === count && members.every(({ state }) => state === 'up');
      });
    });
  }
  /** Until each node that serves calls `node` this. */
  async seenAs(node, state, msMax = 60_000) {
    return await until(`${node.name} is ${state}`, msMax, async () => {
      const all = await Promise.all(this.serving.map((one) => one.getJson('/v1/cluster')));
      return all.every(({ nodes }) =>
        nodes.some(({ nodeId, state: seen }) => nodeId === node.nodeId && seen === state),
      );
    });
  }

  async end() {
    for (const node of this.nodes) {
      if (!node.running) continue;
      // A process that is stopped takes SIGKILL all the same.
      await node.signal('SIGKILL');
    }
  }
}
