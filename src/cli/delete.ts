/** `ringkv delete`: a key, there or not. */
import type { Command } from 'commander';
import type { Consistency } from '../client/index.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { versionFlag, withConsistency, withKey, withTarget } from './flags.ts';
import { keyOf } from './keys.ts';
import { type TargetFlags, usingTarget } from './open-target.ts';

interface DeleteFlags extends TargetFlags {
  readonly keyBase64?: string;
  readonly version?: number;
  readonly consistency?: Consistency;
  readonly timeout?: number;
}

export function addDelete(program: Command, run: Run): void {
  const command = program
    .command('delete')
    .summary('delete a key')
    .description('Deletes a key. A key that is not there is no failure.');
  withConsistency(withTarget(withKey(command)))
    .addOption(versionFlag())
    .addHelpText('after', '\nExamples:\n  ringkv delete user_123\n  ringkv delete user_123 --version 102')
    .action((key: string | undefined, flags: DeleteFlags) => run((context) => remove(key, flags, context)));
}

async function remove(
  text: string | undefined,
  flags: DeleteFlags,
  context: Context,
): Promise<ExitCodeValue> {
  const key = keyOf(text, flags.keyBase64);
  const { consistency, timeout: timeoutMs, version } = flags;
  const options = { consistency, timeoutMs, version, signal: context.interrupted };
  const needs = { fallBack: false, create: false };
  await usingTarget(flags, needs, context, (target) => target.delete(key, options));
  return ExitCode.OK;
}
