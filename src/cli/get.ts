/** `ringkv get`: the value's bytes as they are, or JSON with version and time to live. */
import type { Command } from 'commander';
import type { Consistency } from '../client/index.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { CommandError } from './failure.ts';
import { jsonFlag, withConsistency, withKey, withTarget } from './flags.ts';
import { keyFields, keyOf, shownBytes, valueFields } from './keys.ts';
import { type TargetFlags, usingTarget } from './open-target.ts';

interface GetFlags extends TargetFlags {
  readonly keyBase64?: string;
  readonly consistency?: Consistency;
  readonly timeout?: number;
  readonly json?: true;
}

export function addGet(program: Command, run: Run): void {
  const command = program
    .command('get')
    .summary('print the value of a key')
    .description(
      'Prints the bytes of a value as they are; on a terminal a line break follows. Ends with 1 where the key is absent.',
    );
  withConsistency(withTarget(withKey(command)))
    .addOption(jsonFlag())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkv get user_123\n  ringkv get user_123 --json\n  ringkv get --key-base64 AAEC --data ./data > value',
    )
    .action((key: string | undefined, flags: GetFlags) => run((context) => get(key, flags, context)));
}

async function get(text: string | undefined, flags: GetFlags, context: Context): Promise<ExitCodeValue> {
  const key = keyOf(text, flags.keyBase64);
  const { consistency, timeout: timeoutMs } = flags;
  const options = { consistency, timeoutMs, signal: context.interrupted };
  const needs = { fallBack: false, create: false };
  const entry = await usingTarget(flags, needs, context, (target) => target.get(key, options));
  if (entry === null) throw new CommandError(`no live record at key ${shownBytes(key)}`, ExitCode.FAILED);
  const { value, version, ttl } = entry;
  const { stdout } = context;
  if (flags.json === true) {
    const row = { ...keyFields(key), ...valueFields(value), version, ...(ttl === null ? {} : { ttl }) };
    await stdout.line(JSON.stringify(row));
    return ExitCode.OK;
  }
  await stdout.write(value);
  if (stdout.isTerminal) await stdout.write('\n');
  return ExitCode.OK;
}
