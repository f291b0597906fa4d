/** `ringkv put`: a value from an argument, a file or standard input, byte for byte. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { limits } from '../base/limits.ts';
import type { Consistency } from '../client/index.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { UsageError } from './failure.ts';
import { jsonFlag, seconds, versionFlag, withConsistency, withKey, withTarget } from './flags.ts';
import { readWhole, readWholeFile } from './import-file.ts';
import { keyFields, keyOf } from './keys.ts';
import { type TargetFlags, usingTarget } from './open-target.ts';

interface PutFlags extends TargetFlags {
  readonly keyBase64?: string;
  readonly file?: string;
  readonly ttl?: number;
  readonly version?: number;
  readonly consistency?: Consistency;
  readonly timeout?: number;
  readonly json?: true;
}

export function addPut(program: Command, run: Run): void {
  const command = program
    .command('put')
    .summary('write a value')
    .description(
      'Writes a value: the argument, standard input where it is - or left out, or a file. Bytes are kept as they are.',
    );
  withConsistency(withTarget(withKey(command).argument('[value]', 'value as text; - reads standard input')))
    .option('--file <path>', 'read the value from a file')
    .addOption(
      new Option('--ttl <time>', 'the entry expires after this: seconds, or 10m, 3h, 10d').argParser(seconds),
    )
    .addOption(versionFlag())
    .addOption(jsonFlag())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkv put user_123 Ada\n  ringkv put logo --file logo.png --ttl 10d\n' +
        '  date | ringkv put now -\n  ringkv put --key-base64 AAEC --version 0 first',
    )
    .action((key: string | undefined, value: string | undefined, flags: PutFlags) =>
      run((context) => put(key, value, flags, context)),
    );
}

async function put(
  first: string | undefined,
  second: string | undefined,
  flags: PutFlags,
  context: Context,
): Promise<ExitCodeValue> {
  // With --key-base64 the only argument is the value.
  const positional = flags.keyBase64 === undefined;
  if (!positional && second !== undefined)
    throw new UsageError('give the key as an argument or with --key-base64, not both');
  const key = keyOf(positional ? first : undefined, flags.keyBase64);
  const value = await givenValue(positional ? second : first, flags, context);
  const { consistency, timeout: timeoutMs, ttl, version } = flags;
  const options = { consistency, timeoutMs, ttl, version, signal: context.interrupted };
  const needs = { fallBack: false, create: true };
  const written = await usingTarget(flags, needs, context, (target) => target.put(key, value, options));
  if (flags.json === true) await context.stdout.line(JSON.stringify({ ...keyFields(key), version: written }));
  return ExitCode.OK;
}

async function givenValue(text: string | undefined, flags: PutFlags, context: Context): Promise<Uint8Array> {
  if (flags.file !== undefined) {
    if (text !== undefined) throw new UsageError('give the value as an argument or with --file, not both');
    return await readWholeFile(flags.file, limits.valueBytesCeiling);
  }
  if (text !== undefined && text !== '-') return new TextEncoder().encode(text);
  return await readWhole(context.stdin, 'standard input', limits.valueBytesCeiling);
}
