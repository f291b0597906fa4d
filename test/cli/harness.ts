/**
 * Runs the program in this process: streams that collect, an environment of its own, a store over Maps where a data
 * directory is opened, and the real HTTP client against whatever the test starts.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { systemClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import type { Context } from '../../src/cli/context.ts';
import { createLog } from '../../src/cli/log.ts';
import { Output } from '../../src/cli/output.ts';
import { runProgram } from '../../src/cli/program.ts';
import { connect } from '../../src/client/index.ts';
import type { TableFactory } from '../../src/engine/job-tools.ts';
import type { NodeConfig } from '../../src/node/contract.ts';
import { DataDirectory } from '../../src/node/data-directory.ts';
import { Store } from '../../src/node/store.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { FakeClient } from '../node/fake-client.ts';

export class Collected extends Writable {
  /** cli-progress asks. */
  isTTY = false;
  readonly #parts: Buffer[] = [];
  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#parts.push(Buffer.from(chunk));
    done();
  }
  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
  get text(): string {
    return this.bytes.toString();
  }
}

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly bytes: Buffer;
  readonly err: string;
}
export interface RunOptions extends Partial<Omit<Context, 'stdin' | 'stdout' | 'stderr'>> {
  readonly stdin?: string | Uint8Array | Readable;
  readonly stdout?: Writable;
  readonly terminal?: boolean;
}

const unexpected = (): never => {
  throw new Error('no tables in this test');
};
/** The data directories of these tests hold no tables. */
const noTables: TableFactory = {
  path: unexpected,
  numberOf: () => -1,
  create: unexpected,
  open: unexpected,
  verify: unexpected,
};

/** A place for files, and the stores that stand for data directories, by path. */
export class World {
  readonly directory = mkdtempSync(join(tmpdir(), 'ringkv-cli-'));
  readonly stores = new Map<string, FakeClient>();
  readonly opened: NodeConfig[] = [];
  closed = 0;

  path(name: string): string {
    return join(this.directory, name);
  }
  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Makes a data directory that looks real from outside. */
  makeDirectory(name: string, shards = 2, vnodes = 16): string {
    const path = this.path(name);
    const newNodeId = (): string => '0'.repeat(32);
    DataDirectory.open(realFileSystem, { path, shards, vnodes, newNodeId }).close();
    return path;
  }

  async run(arguments_: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    const { stdin = '', stdout = new Collected(), terminal = false, ...rest } = options;
    const stderr = new Collected();
    stderr.isTTY = terminal;
    const err = new Output(stderr, terminal);
    const input = stdin instanceof Readable ? stdin : Readable.from(stdin === '' ? [] : [Buffer.from(stdin)]);
    const code = await runProgram(arguments_, {
      stdin: input,
      stdout: new Output(stdout, terminal),
      stderr: err,
      environment: {},
      clock: systemClock,
      random: new Random(1),
      fileSystem: realFileSystem,
      tables: () => Promise.resolve(noTables),
      interrupted: new AbortController().signal,
      onHangup: () => undefined,
      connect,
      openStore: (config) => Promise.resolve(this.#open(config)),
      startNode: () => Promise.reject(new Error('no node in this test')),
      log: (level) => createLog(level, err),
      columns: 100,
      ...rest,
    });
    const bytes = stdout instanceof Collected ? stdout.bytes : Buffer.alloc(0);
    return { code, out: bytes.toString(), bytes, err: stderr.text };
  }

  #open(config: NodeConfig): Store {
    this.opened.push(config);
    if (!existsSync(join(config.data, 'node.json'))) {
      const newNodeId = (): string => '0'.repeat(32);
      const { data: path, shards, vnodes } = config;
      DataDirectory.open(realFileSystem, { path, shards, vnodes, newNodeId }).close();
    }
    const client = this.stores.get(config.data) ?? new FakeClient(config.shards, 4096);
    this.stores.set(config.data, client);
    const { maxKeyBytes, maxValueBytes } = config;
    const onClose = (): Promise<void> => {
      this.closed += 1;
      return Promise.resolve();
    };
    return new Store({ client, clock: systemClock, maxKeyBytes, maxValueBytes, onClose });
  }
}

/** Standard output whose reader goes away after so many bytes, as `head` does. */
export class ClosingPipe extends PassThrough {
  #left: number;
  constructor(bytes: number) {
    super();
    this.#left = bytes;
  }
  override _transform(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#left -= chunk.length;
    done(
      this.#left < 0 ? Object.assign(new Error('write EPIPE'), { code: 'EPIPE', syscall: 'write' }) : null,
    );
  }
}
