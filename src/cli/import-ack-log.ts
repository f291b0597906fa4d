/**
 * The log of `import --ack-log`: a line for each acknowledged key, as `{"key": ...}` or `{"keyBase64": ...}`. It is
 * written after the acknowledgement, so that it never names a key that is not stored. A test that kills the server
 * compares with it.
 */
import { createWriteStream, type WriteStream } from 'node:fs';
import { ExitCode } from './exit-codes.ts';
import { CommandError } from './failure.ts';
import { keyFields } from './keys.ts';

export class AckLog {
  readonly #path: string;
  readonly #stream: WriteStream;
  #failure: Error | null = null;

  constructor(path: string) {
    this.#path = path;
    this.#stream = createWriteStream(path);
    this.#stream.on('error', (error) => {
      this.#failure = error;
    });
  }

  /** A promise where the log is behind: then no more should be written before it resolves. Rejects where it fails. */
  add(key: Uint8Array): Promise<void> | null {
    if (this.#failure === null && this.#stream.write(`${JSON.stringify(keyFields(key))}\n`)) return null;
    return this.#drained();
  }

  /** Resolves when every line is in the file. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.#stream.closed) resolve();
      this.#stream.once('close', resolve);
      this.#stream.end();
    });
    this.#check();
  }

  async #drained(): Promise<void> {
    if (this.#failure === null && this.#stream.writableNeedDrain)
      await new Promise<void>((resolve) => {
        this.#stream.once('drain', resolve);
        this.#stream.once('close', resolve);
      });
    this.#check();
  }

  #check(): void {
    if (this.#failure === null) return;
    const what = `${this.#path}: cannot be written: ${this.#failure.message}`;
    throw new CommandError(what, ExitCode.FAILED, { cause: this.#failure });
  }
}
