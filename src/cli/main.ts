#!/usr/bin/env node
/**
 * The entry of `ringkv`: hands the process's own streams, clock, signals and stores to the program. The client, the store,
 * the node and the tables are loaded by the command that asks for them: a server keeps no HTTP client in memory.
 */
import { systemClock } from '../base/clock.ts';
import { Random, systemSeed } from '../base/random.ts';
import type { NodeConfig } from '../node/contract.ts';
import type { Store } from '../node/store.ts';
import { realFileSystem } from '../vfs/real.ts';
import type { Context } from './context.ts';
import { ExitCode } from './exit-codes.ts';
import { messageOf } from './failure.ts';
import { createLog } from './log.ts';
import { Output } from './output.ts';
import { runProgram } from './program.ts';
import { npmParent, type WatchedSignals, watchSignals } from './signals.ts';

const COLUMNS_DEFAULT = 80;
const ARGUMENTS_START = 2;

async function openStore(config: NodeConfig): Promise<Store> {
  const { open } = await import('../index.ts');
  const { data: path, gcGraceMs: gcGrace, syncIntervalMs: syncInterval } = config;
  const { blockBytes, blockCacheBytes, compactionBytesPerSecond, compactionDial, compression } = config;
  const { durability, maxKeyBytes, maxValueBytes, memtableBytes, shards, vnodes } = config;
  return await open({
    ...{ path, shards, vnodes, durability, syncInterval, gcGrace, maxKeyBytes, maxValueBytes, memtableBytes },
    ...{ blockBytes, blockCacheBytes, compactionBytesPerSecond, compactionDial, compression },
  });
}

function processContext(): Context {
  const stderr = new Output(process.stderr, process.stderr.isTTY === true);
  let signals: WatchedSignals | null = null;
  return {
    stdin: process.stdin,
    stdout: new Output(process.stdout, process.stdout.isTTY === true),
    stderr,
    environment: process.env,
    clock: systemClock,
    random: new Random(systemSeed()),
    fileSystem: realFileSystem,
    tables: async () => new (await import('../engine/sstables.ts')).Sstables(systemClock),
    get interrupted(): AbortSignal {
      signals ??= watchSignals(
        process,
        systemClock,
        (exitCode) => process.exit(exitCode),
        npmParent(process.env),
      );
      return signals.interrupted;
    },
    onHangup: (run) => void process.on('SIGHUP', run),
    connect: async (options) => await (await import('../client/index.ts')).connect(options),
    openStore,
    startNode: async (config, log, interrupted) =>
      await (await import('../node/node.ts')).startNode(config, log, interrupted),
    log: (level) => createLog(level, stderr),
    columns: process.stderr.columns ?? COLUMNS_DEFAULT,
  };
}

/** A broken invariant, or a promise that nobody waits for: the process cannot go on. */
function crash(error: unknown): never {
  const stack = error instanceof Error ? `${error.stack ?? ''}\n` : '';
  process.stderr.write(`ringkv: defect, please report it: ${messageOf(error)}\n${stack}`);
  process.exit(ExitCode.INTERNAL);
}
process.on('uncaughtException', crash);

const exitCode = await runProgram(process.argv.slice(ARGUMENTS_START), processContext());
// What is left open, such as a standard input that nobody closes, must not keep the process.
process.exit(exitCode);
