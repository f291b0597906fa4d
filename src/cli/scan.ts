/** `ringkv scan`: live keys in order of their tokens, one a line. */
import { type Command, Option } from 'commander';
import { limits } from '../base/limits.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { UsageError } from './failure.ts';
import { duration, integer, jsonFlag, withTarget } from './flags.ts';
import { bytesOfBase64, keyFields, shownBytes, valueFields } from './keys.ts';
import { type TargetFlags, usingTarget } from './open-target.ts';
import type { TargetEntry } from './target.ts';

interface ScanFlags extends TargetFlags {
  readonly prefix?: string;
  readonly prefixBase64?: string;
  readonly limit?: number;
  readonly values?: true;
  readonly json?: true;
  readonly timeout?: number;
}

export function addScan(program: Command, run: Run): void {
  withTarget(
    program
      .command('scan')
      .summary('list live keys')
      .description(
        'Lists live keys in order of their tokens, not of the alphabet. Keys and values that are not plain text ' +
          'are shown as a JSON text, or as base64: and their bytes; scripts use --json.',
      ),
  )
    .option('--prefix <text>', 'only keys that start so')
    .option('--prefix-base64 <text>', 'the same as base64')
    .addOption(new Option('--limit <n>', 'at most so many').argParser(integer(0, Number.MAX_SAFE_INTEGER)))
    .option('--values', 'values too, after a tab')
    .addOption(
      new Option('--timeout <duration>', 'longest wait for a page of a server (default: 5s)').argParser(
        duration(1, limits.requestTimeoutMsMax),
      ),
    )
    .addOption(jsonFlag())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkv scan --prefix user_ --limit 10\n  ringkv scan --values --json | head -3',
    )
    .action((flags: ScanFlags) => run((context) => scan(flags, context)));
}

async function scan(flags: ScanFlags, context: Context): Promise<ExitCodeValue> {
  const prefix = prefixOf(flags);
  const { limit = Number.POSITIVE_INFINITY, timeout: timeoutMs } = flags;
  const values = flags.values === true;
  const options = { prefix, limit, values, snapshot: false, timeoutMs, signal: context.interrupted };
  const line = flags.json === true ? jsonLine : plainLine;
  return await usingTarget(flags, { fallBack: false, create: false }, context, async (target) => {
    for await (const entry of target.scan(options)) await context.stdout.line(line(entry, values));
    return ExitCode.OK;
  });
}

function prefixOf({ prefix, prefixBase64 }: ScanFlags): Uint8Array {
  if (prefix !== undefined && prefixBase64 !== undefined)
    throw new UsageError('--prefix and --prefix-base64 exclude each other');
  if (prefixBase64 === undefined) return new TextEncoder().encode(prefix ?? '');
  const bytes = bytesOfBase64(prefixBase64);
  if (bytes === null) throw new UsageError(`--prefix-base64 ${JSON.stringify(prefixBase64)} is not base64`);
  return bytes;
}

function jsonLine({ key, value, version, ttl }: TargetEntry, values: boolean): string {
  return JSON.stringify({
    ...keyFields(key),
    ...(values ? valueFields(value) : {}),
    version,
    ...(ttl === null ? {} : { ttl }),
  });
}
function plainLine({ key, value }: TargetEntry, values: boolean): string {
  return values ? `${shownBytes(key)}\t${shownBytes(value)}` : shownBytes(key);
}
