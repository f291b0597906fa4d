/**
 * `ringkv cluster`: several nodes on this machine, each a process of its own, in one terminal, to look at how a cluster
 * behaves when nodes die and come back. Data lies in DIR/node-1, DIR/node-2 and so on, and stays.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { Option } from 'commander';
import { RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { CommandError } from './failure.ts';
import { integer } from './flags.ts';

const NODES_DEFAULT = 3;
const NODES_MAX = 9;
const PORT_DEFAULT = 8081;
const PORT_MAX = 64_000;
const PEER_PORT_OFFSET = 1000;
/** A node with data to take in may take a while to serve; one that takes longer than this does not come. */
const READY_MS_MAX = 60_000;
/** After SIGTERM, before SIGKILL. */
const STOP_MS_MAX = 30_000;
const COMPLETE_POLL_MS = 500;

interface ClusterFlags {
  readonly nodes: number;
  readonly port: number;
  readonly data: string;
}

export function addLocalCluster(program: Command, run: Run): void {
  program
    .command('cluster')
    .summary('run several nodes on this machine, to try things out')
    .description(
      'Starts nodes on loopback, each a process of its own, joined to one cluster. While it runs, type: status, kill N, ' +
        'start N, pause N, resume N, quit. The cores are divided among their shards; RINGKV_SHARDS says otherwise.',
    )
    .addOption(new Option('--nodes <n>', 'nodes').argParser(integer(1, NODES_MAX)).default(NODES_DEFAULT))
    .addOption(
      new Option('--port <n>', 'port of the first node; the next ones follow')
        .argParser(integer(1, PORT_MAX))
        .default(PORT_DEFAULT),
    )
    .option('--data <dir>', 'parent of their data directories', './data/cluster')
    .addHelpText(
      'after',
      '\nExample:\n  ringkv cluster\n  ringkv put cart_7 apples --url http://127.0.0.1:8082',
    )
    .action((flags: ClusterFlags) => run((context) => new LocalCluster(flags, context).run()));
}

/** The nodes share the cores: more threads than cores only wake each other (docs/performance.md, three nodes). */
const shardsOfEach = (nodes: number): number =>
  Math.min(Math.max(1, Math.floor(availableParallelism() / nodes)), limits.shardsMax);

interface LocalNode {
  readonly number: number;
  readonly url: string;
  process: ChildProcess | null;
}

class LocalCluster {
  readonly #flags: ClusterFlags;
  readonly #context: Context;
  readonly #nodes: LocalNode[];
  #ending = false;

  constructor(flags: ClusterFlags, context: Context) {
    this.#flags = flags;
    this.#context = context;
    this.#nodes = Array.from({ length: flags.nodes }, (_, at) => ({
      number: at + 1,
      url: `http://127.0.0.1:${flags.port + at}`,
      process: null,
    }));
  }

  async run(): Promise<ExitCodeValue> {
    const { interrupted, stdout } = this.#context;
    let lines: Interface | null = null;
    let watch: Promise<void> = Promise.resolve();
    try {
      for (const node of this.#nodes) await this.#start(node);
      await stdout.line(`ready ${this.#nodes.map(({ url }) => url).join(' ')}`);
      await this.#say('type: status, kill N, start N, pause N, resume N, quit');
      watch = this.#tellWhenComplete();
      lines = createInterface({ input: this.#context.stdin });
      await new Promise<void>((done) => {
        interrupted.addEventListener('abort', () => done(), { once: true });
        if (interrupted.aborted) done();
        // The end of standard input is no command: a cluster in the background goes on.
        lines?.on('line', (line) => {
          if (line.trim() === 'quit') done();
          else
            this.#obey(line.trim()).catch((error: Error) => this.#say(error.message).catch(() => undefined));
        });
      });
    } finally {
      lines?.close();
      await this.#end();
      await watch;
    }
    return ExitCode.OK;
  }

  /**
   * A node serves as soon as it knows the ring; its vnodes come behind. Says once when every node is a member, up, and holds its
   * part: from then on any one of them may be killed.
   */
  async #tellWhenComplete(): Promise<void> {
    const { stdout } = this.#context;
    while (!this.#ending) {
      const ring = await this.#completeRing();
      if (ring !== 0) {
        await stdout.line(
          `complete: each of the ${this.#nodes.length} nodes holds its part of the data (ring ${ring})`,
        );
        return;
      }
      await sleep(COMPLETE_POLL_MS, undefined, { ref: false });
    }
  }
  /** The number of the ring that all nodes hold, with no change under way; 0 where it is not so, or no node answers. */
  async #completeRing(): Promise<number> {
    const url = this.#nodes.find(({ process }) => process !== null)?.url;
    if (url === undefined) return 0;
    try {
      const client = await this.#context.connect({ nodes: [url], connections: 1, discover: false });
      try {
        const { ring, change, nodes } = await client.clusterStatus();
        const members = nodes.filter(({ member }) => member);
        const hold = members.every((node) => node.state === 'up' && node.ring === ring);
        return change === null && hold && members.length === this.#nodes.length ? ring : 0;
      } finally {
        await client.close();
      }
    } catch (error) {
      // It may have been killed just now.
      if (!(error instanceof RingKvError)) throw error;
      return 0;
    }
  }

  async #obey(line: string): Promise<void> {
    const [verb = '', text = ''] = line.split(/\s+/);
    if (verb === '') return;
    if (verb === 'status') {
      await this.#status();
      return;
    }
    const node = this.#nodes[Number(text) - 1];
    if (!['kill', 'start', 'pause', 'resume'].includes(verb) || node === undefined) {
      await this.#say(
        `${JSON.stringify(line)}: type status, kill N, start N, pause N, resume N or quit, N from 1 to ${this.#nodes.length}`,
      );
      return;
    }
    if (verb === 'start') {
      if (node.process === null) await this.#start(node);
      else await this.#say(`node ${node.number} runs`);
      return;
    }
    if (node.process === null) await this.#say(`node ${node.number} does not run`);
    else node.process.kill(verb === 'kill' ? 'SIGKILL' : verb === 'pause' ? 'SIGSTOP' : 'SIGCONT');
  }

  async #status(): Promise<void> {
    for (const { url, process } of this.#nodes) {
      if (process === null) continue;
      const script = this.#script();
      const child = spawn(globalThis.process.execPath, [script, 'status', '--url', url], {
        stdio: ['ignore', 'inherit', 'inherit'],
      });
      const code = await new Promise<number | null>((done) => child.once('exit', done));
      if (code === 0) return;
    }
    await this.#say('no node answers');
  }

  /** Resolves when it serves. */
  async #start(node: LocalNode): Promise<void> {
    const { port, data } = this.#flags;
    const own = port + node.number - 1;
    const seeds = node.number === 1 ? this.#nodes.slice(1) : this.#nodes.slice(0, 1);
    const shards = this.#context.environment.RINGKV_SHARDS ?? String(shardsOfEach(this.#nodes.length));
    const arguments_ = [
      ...['serve', '--port', String(own), '--peer-port', String(own + PEER_PORT_OFFSET)],
      ...['--data', resolve(join(data, `node-${node.number}`)), '--rack', `rack-${node.number}`],
      ...['--shards', shards],
      ...(node.number === 1
        ? []
        : [
            '--seeds',
            seeds.map(({ number }) => `127.0.0.1:${port + number - 1 + PEER_PORT_OFFSET}`).join(','),
          ]),
    ];
    const child = spawn(process.execPath, [this.#script(), ...arguments_], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    node.process = child;
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on(
        'line',
        (line) => void this.#say(`${node.number} | ${line}`).catch(() => undefined),
      );
    child.once('exit', (code, signal) => {
      node.process = null;
      if (!this.#ending) void this.#say(`${node.number} | ended (${signal ?? code})`).catch(() => undefined);
    });
    await new Promise<void>((done, fail) => {
      const late = setTimeout(
        () =>
          fail(
            new CommandError(
              `node ${node.number} does not serve after ${READY_MS_MAX} ms`,
              ExitCode.NODE_FAILED,
            ),
          ),
        READY_MS_MAX,
      );
      const settle = (end: () => void): void => {
        clearTimeout(late);
        end();
      };
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.startsWith('ready ')) settle(done);
      });
      child.once('exit', () =>
        settle(() =>
          fail(new CommandError(`node ${node.number} ended before it served`, ExitCode.NODE_FAILED)),
        ),
      );
      this.#context.interrupted.addEventListener('abort', () => settle(done), { once: true });
    });
  }

  #script(): string {
    return process.argv[1] ?? '';
  }

  async #end(): Promise<void> {
    this.#ending = true;
    await Promise.all(
      this.#nodes.map(async ({ process: child }) => {
        if (child === null) return;
        const ended = new Promise((done) => child.once('exit', done));
        child.kill('SIGCONT');
        child.kill('SIGTERM');
        const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
        await ended;
        clearTimeout(late);
      }),
    );
  }

  #say(text: string): Promise<void> {
    return this.#context.stderr.line(text);
  }
}
