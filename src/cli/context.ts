/** What a command works with: streams, environment, time, and the ways to a store. Tests put their own in its place. */
import type { Readable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Client, ConnectOptions } from '../client/index.ts';
import type { TableFactory } from '../engine/job-tools.ts';
import type { Log, LogLevel, NodeConfig, RunningNode } from '../node/contract.ts';
import type { Store } from '../node/store.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { ExitCodeValue } from './exit-codes.ts';
import type { Output } from './output.ts';

export type { Log, LogLevel };

export interface Context {
  readonly stdin: Readable;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
  /** The file system of data directories. */
  readonly fileSystem: FileSystem;
  /** SSTables, for `verify`. */
  readonly tables: () => Promise<TableFactory>;
  /**
   * Aborts at the first SIGINT or SIGTERM; a second one ends the process. Signals are watched from the first time on
   * that this is read.
   */
  readonly interrupted: AbortSignal;
  /** Calls `run` at each SIGHUP from now on, which ends the process otherwise. */
  readonly onHangup: (run: () => void) => void;
  readonly connect: (options: ConnectOptions) => Promise<Client>;
  /** Opens a data directory in this process. */
  readonly openStore: (config: NodeConfig) => Promise<Store>;
  readonly startNode: (config: NodeConfig, log: Log, interrupted: AbortSignal) => Promise<RunningNode>;
  /** A log of this level and above on standard error. */
  readonly log: (level: NodeConfig['logLevel']) => Log;
  /** Columns of the terminal that shows standard error. */
  readonly columns: number;
}

/** Runs a command's work, which gives its exit code or throws what failure.ts turns into one. */
export type Run = (work: (context: Context) => Promise<ExitCodeValue>) => Promise<void>;
