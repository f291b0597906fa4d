/**
 * `ringkv serve`: one node, until a signal ends it. Standard output gets one line, `ready URL`; standard error the
 * banner for a person and the log. A second signal does not wait for the end (signals.ts). With certificates for other nodes SIGHUP
 * makes it look at them at once.
 */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { ClosedError } from '../base/errors.ts';
import { resolveConfig } from '../node/config.ts';
import { readConfigFile } from '../node/config-file.ts';
import type { Log, NodeConfig, RunningNode } from '../node/contract.ts';
import { packageVersion } from '../node/package-version.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { CommandError, exitCodeOf, messageOf, PipeClosedError } from './failure.ts';
import type { Output } from './output.ts';
import { type SettingFlags, settingsOf, withSettings } from './setting-flags.ts';

/** Requests in flight have 30 s at most; what is longer hangs. */
const CLOSE_MS_MAX = 60_000;

export function addServe(program: Command, run: Run): void {
  withSettings(
    program
      .command('serve')
      .summary('run a node')
      .description(
        'Runs one node: without flags at http://127.0.0.1:8080 with its data in ./data. Prints `ready URL` on ' +
          'standard output when it serves, and logs on standard error. Ctrl-C or SIGTERM ends it cleanly.',
      ),
  )
    .addHelpText(
      'after',
      '\nSettings come from the file, then RINGKV_* of the environment, then flags; the later wins.\n' +
        '\nExamples:\n  ringkv serve\n  ringkv serve --port 9000 --data /var/lib/ringkv --shards 4',
    )
    .action((flags: SettingFlags) => run((context) => serve(flags, context)));
}

async function serve(flags: SettingFlags, context: Context): Promise<ExitCodeValue> {
  const { environment, interrupted, stderr, stdout } = context;
  const file = readConfigFile(flags.config, environment);
  const { config } = resolveConfig({ flags: settingsOf(flags), environment, file });
  const log = context.log(config.logLevel);
  let running: RunningNode | null = null;
  // Without certificates SIGHUP keeps its default, which `nohup` relies on.
  if (config.peerTlsCert !== '') context.onHangup(() => running?.renewCertificates());
  const node = await start(config, log, context);
  running = node;
  if (node === null) {
    log('info', 'stopped before it served');
    return ExitCode.OK;
  }
  if (!interrupted.aborted) {
    await tell(stderr, `${banner(node)}\n`);
    await tell(stdout, `ready ${node.url}\n`);
  }
  const failure = await Promise.race([node.failed, aborted(interrupted)]);
  if (failure === null) log('info', 'stopping');
  await end(node, log);
  if (failure !== null)
    throw new CommandError(`the node gave up: ${messageOf(failure)}`, ExitCode.NODE_FAILED, {
      cause: failure,
    });
  log('info', 'stopped');
  return ExitCode.OK;
}

/** null where a signal came first. */
async function start(config: NodeConfig, log: Log, context: Context): Promise<RunningNode | null> {
  const { interrupted } = context;
  try {
    return await context.startNode(config, log, interrupted);
  } catch (error) {
    if (interrupted.aborted && error instanceof ClosedError) return null;
    throw new CommandError(`cannot start: ${messageOf(error)}`, exitCodeOf(error), { cause: error });
  }
}

/** A reader that has gone is no reason to stop serving. */
async function tell(output: Output, text: string): Promise<void> {
  try {
    await output.write(text);
  } catch (error) {
    if (!(error instanceof PipeClosedError)) throw error;
  }
}

function banner({ config, url }: RunningNode): string {
  const promises = {
    always: 'a write is acknowledged when it is on disk',
    interval: `a write is acknowledged before it is on disk, synced every ${config.syncIntervalMs} ms`,
    os: 'a write is acknowledged before it is on disk, synced when the system likes',
  };
  const rows = config.inMemory
    ? [['data', 'in memory: nothing is left after the end']]
    : [
        ['data', resolve(config.data)],
        ['durability', `${config.durability}: ${promises[config.durability]}`],
      ];
  const all = [
    ['address', url],
    ['shards', String(config.shards)],
    ...rows,
    ['stop', `Ctrl-C, or kill ${process.pid}`],
  ];
  const lines = all.map(([name = '', value = '']) => `  ${name.padEnd(10)}  ${value}`);
  return [`RingKV ${packageVersion}`, ...lines].join('\n');
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((done) => {
    if (signal.aborted) done(null);
    else signal.addEventListener('abort', () => done(null), { once: true });
  });
}

async function end(node: RunningNode, log: Log): Promise<void> {
  const limit = new AbortController();
  const late = sleep(CLOSE_MS_MAX, 'late' as const, { signal: limit.signal }).catch(() => 'ended' as const);
  try {
    if ((await Promise.race([node.close(), late])) === 'late')
      throw new CommandError(`the node did not end within ${CLOSE_MS_MAX} ms`, ExitCode.NODE_FAILED);
  } catch (error) {
    log('error', `closing failed: ${messageOf(error)}`);
    throw error;
  } finally {
    limit.abort();
  }
}
