/** Every setting of a node as a flag of the command line, made from the settings' own table. */
import { type Command, Option } from 'commander';
import { fileName, flagName, settings, settingsNotSupported } from '../node/settings.ts';

/** As commander gives them: by name in camel case. */
export type SettingFlags = Readonly<Record<string, unknown>> & { readonly config?: string };

export function withSettings(command: Command): Command {
  command.option(
    '--config <path>',
    'configuration file (default: RINGKV_CONFIG, or ./ringkv.json where there is one)',
  );
  for (const setting of settings) {
    const name = flagName(setting.name);
    // A toggle can be switched off too, where the file or the environment switches it on.
    const flags = setting.toggle ? `${name} [true|false]` : `${name} <value>`;
    const option = new Option(flags, `${setting.help} (default: ${setting.show(setting.fallback())})`);
    command.addOption(setting.toggle ? option.preset('true') : option);
  }
  // Known by name, so that the refusal says more than "unknown option".
  for (const name of settingsNotSupported)
    command.addOption(new Option(`${flagName(name)} <value>`).hideHelp());
  return command;
}

/** The settings among the flags of a command, by setting name, as typed. */
export function settingsOf(flags: SettingFlags): Readonly<Record<string, string>> {
  const names = [...settings.map(({ name }) => name), ...settingsNotSupported];
  const given = names.map((name) => [name, flags[fileName(name)]] as const);
  return Object.fromEntries(given.filter((pair): pair is [string, string] => typeof pair[1] === 'string'));
}
