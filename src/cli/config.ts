/** `ringkv config`: the effective configuration, and where each value comes from. */
import type { Command } from 'commander';
import { resolveConfig } from '../node/config.ts';
import { readConfigFile } from '../node/config-file.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { jsonFlag } from './flags.ts';
import { type SettingFlags, settingsOf, withSettings } from './setting-flags.ts';

export function addConfig(program: Command, run: Run): void {
  withSettings(
    program
      .command('config')
      .summary('print the effective configuration')
      .description(
        'Prints every setting with where its value comes from. Takes the flags of serve, reads RINGKV_* of the ' +
          'environment and the configuration file, and refuses what serve would refuse.',
      ),
  )
    .addOption(jsonFlag())
    .addHelpText('after', '\nExamples:\n  ringkv config\n  RINGKV_PORT=9000 ringkv config --shards 4 --json')
    .action((flags: SettingFlags & { readonly json?: true }) =>
      run((context) => printConfig(flags, context)),
    );
}

async function printConfig(
  flags: SettingFlags & { readonly json?: true },
  { environment, stdout }: Context,
): Promise<ExitCodeValue> {
  const file = readConfigFile(flags.config, environment);
  const { settings } = resolveConfig({ flags: settingsOf(flags), environment, file });
  if (flags.json === true) {
    const rows = settings.map(({ name, value, shown, source }) => [name, { value, shown, source }]);
    await stdout.line(JSON.stringify(Object.fromEntries(rows), null, 2));
    return ExitCode.OK;
  }
  const head = { name: 'SETTING', shown: 'VALUE', source: 'FROM' };
  const rows = [head, ...settings];
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const valueWidth = Math.max(...rows.map(({ shown }) => shown.length));
  for (const { name, shown, source } of rows)
    await stdout.line(`${name.padEnd(nameWidth)}  ${shown.padEnd(valueWidth)}  ${source}`);
  return ExitCode.OK;
}
