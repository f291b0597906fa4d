/** Child processes that run the build, for tests: their lines, their end, and that none outlives its test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

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

/** For afterEach. */
export async function killAll(): Promise<void> {
  for (const child of [...children]) {
    child.kill('SIGKILL');
    await new Promise((done) =>
      child.exitCode !== null || child.signalCode !== null ? done(0) : child.once('close', done),
    );
  }
}
