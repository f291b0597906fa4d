/** Child processes that run the build, for tests: their lines, their end, and that none outlives its test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Random, systemSeed } from '../../src/base/random.ts';

const children = new Set<ChildProcess>();

export interface Child {
  readonly process: ChildProcess;
  /** Lines of standard output. */
  readonly lines: string[];
  readonly errors: () => string;
  /** Resolves with the code, or minus 1 where a signal ended it. */
  readonly ended: Promise<number>;
  /** Resolves when a line has come for which `holds`. */
  line(holds: (line: string) => boolean): Promise<string>;
}

export function run(script: string, argument: unknown): Child {
  const child = spawn(process.execPath, [resolve(import.meta.dirname, script), JSON.stringify(argument)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  children.add(child);
  const lines: string[] = [];
  const waiting: { holds: (line: string) => boolean; found: (line: string) => void }[] = [];
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  if (child.stdout !== null)
    createInterface({ input: child.stdout }).on('line', (line) => {
      lines.push(line);
      for (const one of waiting.filter(({ holds }) => holds(line))) {
        waiting.splice(waiting.indexOf(one), 1);
        one.found(line);
      }
    });
  const ended = new Promise<number>((done) => {
    child.once('close', (code) => {
      children.delete(child);
      done(code ?? -1);
    });
  });
  return {
    process: child,
    lines,
    errors: () => errors,
    ended,
    line: (holds) => {
      const known = lines.find(holds);
      if (known !== undefined) return Promise.resolve(known);
      const found = new Promise<string>((resolveLine) => waiting.push({ holds, found: resolveLine }));
      const lost = ended.then((code) => {
        throw new Error(`the process ended with ${code} before it said so: ${errors}`);
      });
      return Promise.race([found, lost]);
    },
  };
}

const PORT_MIN = 10_000;
/** Above it, at the latest, the system takes ports for connections of whatever runs beside the tests. */
const PORT_MAX = 30_000;
const PORT_TRIES_MAX = 1000;
/** A server on a port that stays free when the server has gone, until it is asked for by its number. */
export async function takePort(): Promise<{ readonly server: Server; readonly port: number }> {
  const random = new Random(systemSeed());
  for (let tries = 0; tries < PORT_TRIES_MAX; tries++) {
    const port = random.between(PORT_MIN, PORT_MAX);
    const server = createServer();
    const isTaken = await new Promise<boolean>((done) => {
      server.once('error', () => done(false));
      server.listen(port, '127.0.0.1', () => done(true));
    });
    if (isTaken) return { server, port };
  }
  throw new Error(`none of ${PORT_TRIES_MAX} ports from ${PORT_MIN} to ${PORT_MAX} is free`);
}

/** For afterEach. */
export async function killAll(): Promise<void> {
  for (const child of [...children]) {
    child.kill('SIGKILL');
    await new Promise((done) =>
      child.exitCode !== null || child.signalCode !== null ? done(0) : child.once('close', done),
    );
  }
}
