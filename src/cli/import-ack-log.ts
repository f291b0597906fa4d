/**
 * The log of `import --ack-log`: a line for each acknowledged key, as `{"key": ...}` or `{"keyBase64": ...}`. It is
 * written after the acknowledgement, so that it never names a key that is not stored. A test that kills the server
 * compares with it.
 */

import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { ExitCode } from './exit-codes.ts';
import { CommandError } from './failure.ts';
import { keyFields } from './keys.ts';

export class AckLog {
  readonly #path: string;
  readonly #stream: WriteStream;
  #failure: Error | null = null;

  private constructor(path: string, stream: WriteStream) {
    this.#path = path;
    this.#stream = stream;
    stream.on('error', (error) => {
      this.#failure = error;
    });
  }

  /** Makes the file, or empties it. Rejects with a CommandError. */
  static async open(path: string): Promise<AckLog> {
    const log = new AckLog(path, createWriteStream(path));
    try {
      await once(log.#stream, 'open');
    } catch (error) {
      log.#failure = error as Error;
    }
    log.#check();
    return log;
  }

  add(key: Uint8Array): void {
    this.#stream.write(`${JSON.stringify(keyFields(key))}\n`);
  }

  /** null, or a promise where the log is behind, or has failed: then no more should be added before it resolves. */
  behind(): Promise<void> | null {
    if (this.#failure === null && !this.#stream.writableNeedDrain) return null;
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
    if (this.#failure === null)
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
