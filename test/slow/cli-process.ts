/** Real processes of the built command line: started, watched through pipes, and never left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const MAIN = resolve(import.meta.dirname, '../../dist/src/cli/main.js');
const ROOT = resolve(import.meta.dirname, '../..');
const READY_MS_MAX = 60_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export class Process {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  out = '';
  err = '';

  constructor(command: string, arguments_: readonly string[], cwd: string, group = false) {
    const { RINGKV_URL: _, ...env } = process.env;
    this.child = spawn(command, arguments_, { cwd, env, detached: group, stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    // The reader may have ended before the input has.
    this.child.stdin?.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
    this.ended = new Promise((done) => {
      this.child.once('close', (code, signal) => done({ code, signal, out: this.out, err: this.err }));
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
  /** The whole process group, as a terminal does at Ctrl-C. */
  killGroup(signal: NodeJS.Signals): void {
    if (this.child.pid !== undefined) process.kill(-this.child.pid, signal);
  }
  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }
}

/** A directory for one test, and the processes that it started. */
export class Workplace {
  readonly directory = mkdtempSync(join(tmpdir(), 'ringkv-slow-cli-'));
  readonly #processes: Process[] = [];

  path(name: string): string {
    return join(this.directory, name);
  }

  start(...arguments_: readonly string[]): Process {
    return this.#kept(new Process(process.execPath, [MAIN, ...arguments_], this.directory));
  }
  /** `npm start` of the project, in a process group of its own. */
  startNpm(...arguments_: readonly string[]): Process {
    return this.#kept(new Process('npm', ['start', '--silent', '--', ...arguments_], ROOT, true));
  }
  startShell(script: string): Process {
    return this.#kept(new Process('bash', ['-o', 'pipefail', '-c', script], this.directory));
  }
  run(...arguments_: readonly string[]): Promise<Ended> {
    const started = this.start(...arguments_);
    started.child.stdin?.end();
    return started.ended;
  }

  /** A server that serves, and its URL. */
  async serve(...flags: readonly string[]): Promise<{ readonly server: Process; readonly url: string }> {
    const server = this.start('serve', '--port', '0', ...flags);
    return { server, url: await urlOf(server) };
  }

  async remove(): Promise<void> {
    const running = this.#processes.filter((one) => one.running);
    for (const one of running) one.kill('SIGKILL');
    await Promise.all(running.map((one) => one.ended));
    rmSync(this.directory, { recursive: true, force: true });
  }

  #kept(one: Process): Process {
    this.#processes.push(one);
    return one;
  }
}

/** Waits for the ready line of a server. */
export async function urlOf(server: Process): Promise<string> {
  const found = (): string | undefined => /^ready (http:\/\/\S+)$/m.exec(server.out)?.[1];
  await until(() => found() !== undefined || !server.running, READY_MS_MAX);
  const url = found();
  if (url === undefined) throw new Error(`the server did not start: ${server.err}`);
  return url;
}

const POLL_MS = 10;
export async function until(holds: () => boolean, msMax: number): Promise<void> {
  for (let waitedMs = 0; !holds(); waitedMs += POLL_MS) {
    if (waitedMs > msMax) throw new Error(`not so within ${msMax} ms`);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}
