/** One node as a process of its own, from the build. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { OwnProcess } from './own-process.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
/** A node with a log to replay takes its time. */
const READY_MS_MAX = 120_000;
const STOP_MS_MAX = 30_000;
/** The end of what it said, for a message. */
const SAID_CHARS_MAX = 2000;

export class NodeProcess extends OwnProcess {
  readonly name: string;
  readonly #flags: readonly string[];
  readonly #port: number;
  #said = '';
  url = '';

  /** `flags` without --port; `port` 0 takes a free one. */
  constructor(name: string, port: number, flags: readonly string[]) {
    super(STOP_MS_MAX);
    this.name = name;
    this.#port = port;
    this.#flags = flags;
    if (!existsSync(MAIN)) throw new Error(`${MAIN} is not there: run npm run build`);
  }

  /** Resolves when it serves. */
  async start(signal: AbortSignal): Promise<void> {
    const child = spawn(
      process.execPath,
      [MAIN, 'serve', '--port', String(this.#port), '--log-level', 'warn', ...this.#flags],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        // A node that npm has started ends when its parent has gone: so none stays behind, however this program ends.
        env: { ...process.env, npm_lifecycle_event: 'npx' },
      },
    );
    this.child = child;
    this.#said = '';
    let out = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-SAID_CHARS_MAX);
    });
    this.url = await new Promise((resolve, reject) => {
      const end = (act: () => void): void => {
        clearTimeout(late);
        signal.removeEventListener('abort', stopped);
        act();
      };
      const fail = (why: string): void =>
        end(() =>
          reject(new Error(`node ${this.name} ${why}${this.#said === '' ? '' : `:\n${this.#said}`}`)),
        );
      const late = setTimeout(() => fail(`does not serve after ${READY_MS_MAX} ms`), READY_MS_MAX);
      const stopped = (): void => fail('was interrupted while it started');
      signal.addEventListener('abort', stopped);
      child.once('error', (error) => fail(`could not be started: ${error.message}`));
      child.once('exit', (code, by) => fail(`ended with ${by ?? code} before it served`));
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        out += text;
        const found = /^ready (http:\S+)$/m.exec(out)?.[1];
        if (found !== undefined) end(() => resolve(found));
      });
    });
  }
}
