/** Flags that several commands have, and how their texts are read. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { limits } from '../base/limits.ts';
import { formatAmountBytes, parseAmountBytes, parseDurationMs } from '../base/units.ts';
import { DEFAULT_URL } from './open-target.ts';

export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`Not a whole number from ${min} to ${max}.`);
    return value;
  };
}

/** A duration such as 10s in milliseconds. */
export function duration(minMs: number, maxMs: number): (text: string) => number {
  return (text) => {
    let ms: number;
    try {
      ms = parseDurationMs(text);
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
    if (ms < minMs || ms > maxMs)
      throw new InvalidArgumentError(`${ms} ms lie outside ${minMs} to ${maxMs} ms.`);
    return ms;
  };
}

/** Bytes of an amount of data such as 2KB or 100TB. */
export function amount(min: number, max: number): (text: string) => number {
  return (text) => {
    let bytes: number;
    try {
      bytes = parseAmountBytes(text);
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
    if (bytes < min || bytes > max)
      throw new InvalidArgumentError(
        `${bytes} bytes lie outside ${formatAmountBytes(min)} to ${formatAmountBytes(max)}.`,
      );
    return bytes;
  };
}

/** A share from 0 to 1. */
export function fraction(text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('Not a number from 0 to 1.');
  return value;
}

/** Seconds, above 0: a number, or a duration with a unit such as 1h. */
export function seconds(text: string): number {
  const plain = /^[0-9]+(\.[0-9]+)?$/.test(text);
  const value = plain ? Number(text) : duration(1, limits.ttlSecondsMax * 1000)(text) / 1000;
  if (!(value > 0 && value <= limits.ttlSecondsMax))
    throw new InvalidArgumentError(`It lies outside 0 to ${limits.ttlSecondsMax} seconds.`);
  return value;
}

export function withTarget(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', `server, or several with commas (default: RINGKV_URL, or ${DEFAULT_URL})`),
    )
    .addOption(new Option('--data <dir>', 'open this data directory in place of a server'));
}
export function withKey(command: Command): Command {
  return command.argument('[key]', 'key as text').option('--key-base64 <text>', 'key as base64');
}
export function withConsistency(command: Command): Command {
  return command
    .addOption(
      new Option('--consistency <level>', 'replicas that answer').choices(['ONE', 'QUORUM', 'ALL', 'SERIAL']),
    )
    .addOption(
      new Option('--timeout <duration>', 'longest wait for a server, such as 10s (default: 5s)').argParser(
        duration(1, limits.requestTimeoutMsMax),
      ),
    );
}
export const versionFlag = (): Option =>
  new Option(
    '--version <n>',
    'only where the current version is n; 0: only where the key is absent',
  ).argParser(integer(0, limits.versionMax));
export const jsonFlag = (): Option => new Option('--json', 'print JSON');
