/**
 * `ringkv verify`: reads every file of a data directory that no node has open and checks every checksum. It holds the
 * directory's lock meanwhile, and changes nothing. Reading is synchronous, so that no signal is watched: Ctrl-C ends
 * the process as it always does, and the lock goes with it.
 */
import type { Command } from 'commander';
import { CorruptionError } from '../base/errors.ts';
import { MiB } from '../base/limits.ts';
import type { ShardVerification } from '../engine/verify-shard.ts';
import { type Layout, shardDirectory } from '../node/layout.ts';
import type { Context, Run } from './context.ts';
import { isDataDirectory, layoutOf } from './directory-view.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { CommandError, UsageError } from './failure.ts';
import { jsonFlag } from './flags.ts';
import { shownText } from './keys.ts';
import { configuredData } from './open-target.ts';
import { startProgress } from './progress.ts';

type Damage = ShardVerification['damage'][number];
interface Findings {
  /** Of what lies above the shards: node.json, CURRENT, layout.json. */
  readonly damage: readonly Damage[];
  readonly shards: readonly (ShardVerification & { readonly shard: number })[];
}
interface VerifyFlags {
  readonly data?: string;
  readonly json?: true;
}

export function addVerify(program: Command, run: Run): void {
  program
    .command('verify')
    .summary('check every checksum on disk')
    .description(
      'Reads every file of a data directory and checks every checksum; changes nothing. The directory must not be in ' +
        'use. Names each damage with file and offset, and ends with 1 where there is any.',
    )
    .argument('[dir]', 'data directory (default: the setting data, which is ./data)')
    .option('--data <dir>', 'the same as a flag')
    .addOption(jsonFlag())
    .addHelpText('after', '\nExamples:\n  ringkv verify\n  ringkv verify /var/lib/ringkv --json')
    .action((directory: string | undefined, flags: VerifyFlags) =>
      run((context) => verify(directory, flags, context)),
    );
}

async function verify(
  directory: string | undefined,
  flags: VerifyFlags,
  context: Context,
): Promise<ExitCodeValue> {
  if (directory !== undefined && flags.data !== undefined)
    throw new UsageError('name the data directory as an argument or with --data, not both');
  const path = directory ?? flags.data ?? configuredData(context);
  if (!isDataDirectory(context.fileSystem, path))
    throw new CommandError(`${path} is not a data directory of RingKV: there is no node.json`, ExitCode.DATA);
  const lock = context.fileSystem.lock(path);
  let findings: Findings;
  try {
    findings = await findingsOf(path, context);
  } finally {
    lock.release();
  }
  const damaged = findings.damage.length + sum(findings.shards, ({ damage }) => damage.length);
  if (flags.json === true)
    await context.stdout.line(JSON.stringify({ data: path, damaged, ...findings }, null, 2));
  else await print(path, findings, damaged, context);
  return damaged === 0 ? ExitCode.OK : ExitCode.FAILED;
}

async function findingsOf(path: string, context: Context): Promise<Findings> {
  let layout: Layout;
  try {
    layout = layoutOf(context.fileSystem, path);
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    const { file, message, offset } = error;
    const what = message.slice(`${file}: corrupt at byte ${offset}: `.length);
    return { damage: [{ file, offset, what }], shards: [] };
  }
  const { verifyShard } = await import('../engine/verify-shard.ts');
  const tables = await context.tables();
  const progress = startProgress('verifying', layout.shards, context);
  try {
    const shards = Array.from({ length: layout.shards }, (_, shard) => {
      const found = verifyShard(context.fileSystem, shardDirectory(layout, shard), tables, (done, total) =>
        progress.update(shard + (total > 0 ? done / total : 0), shard),
      );
      return { shard, ...found };
    });
    return { damage: [], shards };
  } finally {
    progress.stop();
  }
}

async function print(
  path: string,
  { damage, shards }: Findings,
  damaged: number,
  { stdout }: Context,
): Promise<void> {
  for (const one of [...damage, ...shards.flatMap((found) => found.damage)])
    await stdout.line(`damaged: ${shownText(one.file)} at byte ${one.offset}: ${one.what}`);
  for (const { shard, tables, segments, bytes, records, foreign } of shards) {
    await stdout.line(
      `shard ${shard}: ${records} records in ${tables} tables and ${segments} log segments, ${(bytes / MiB).toFixed(1)} MiB`,
    );
    for (const name of foreign) await stdout.line(`shard ${shard}: not a file of RingKV: ${shownText(name)}`);
  }
  const unchecked = shards.length === 0 ? '; the shards were not checked' : '';
  await stdout.line(damaged === 0 ? `${path} is whole` : `${path}: ${damaged} damaged${unchecked}`);
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);
