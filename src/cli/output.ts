/**
 * Standard output and standard error: writes wait while the reader is slow, and a reader that has gone ends the
 * command with a PipeClosedError rather than an uncaught EPIPE.
 */
import type { Writable } from 'node:stream';
import { PipeClosedError } from './failure.ts';

export class Output {
  readonly stream: Writable;
  readonly isTerminal: boolean;
  #failure: NodeJS.ErrnoException | null = null;

  constructor(stream: Writable, isTerminal: boolean) {
    this.stream = stream;
    this.isTerminal = isTerminal;
    stream.on('error', (error) => {
      this.#failure = error;
    });
  }

  async write(chunk: string | Uint8Array): Promise<void> {
    this.#check();
    if (this.stream.write(chunk)) return;
    await this.#settled((done) => {
      this.stream.once('drain', done);
      return () => this.stream.off('drain', done);
    });
  }
  async line(text: string): Promise<void> {
    await this.write(`${text}\n`);
  }

  /** Resolves when all that was written has left the process. */
  async flush(): Promise<void> {
    this.#check();
    await new Promise<void>((resolve) => {
      this.stream.write('', () => resolve());
    });
    this.#check();
  }

  /** Throws what ended the stream, if something has. */
  #check(): void {
    if (this.#failure === null) return;
    if (this.#failure.code === 'EPIPE' || this.#failure.code === 'ECONNRESET') throw new PipeClosedError();
    throw this.#failure;
  }

  async #settled(listen: (done: () => void) => () => void): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        stop();
        this.stream.off('error', done);
        this.stream.off('close', done);
        resolve();
      };
      const stop = listen(done);
      this.stream.once('error', done);
      this.stream.once('close', done);
    });
    this.#check();
  }
}
