/** Durations (500ms, 10s, 5m, 3h, 10d) and sizes (64KiB, 64MiB, 2GiB); plain numbers are ms and bytes. */
import { ConfigurationError } from './errors.ts';

const durationMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const sizeBytes = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 } as const;
/** As disks are sold and data sets are told; settings keep to the exact units above. */
const decimalBytes = { kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, PB: 1e15 } as const;
const amountBytes = { ...sizeBytes, ...decimalBytes } as const;

function parse(text: string, units: Readonly<Record<string, number>>, plain: string, what: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  const unit = match === null ? undefined : match[2] === '' ? 1 : units[match[2] ?? ''];
  if (match === null || unit === undefined)
    throw new ConfigurationError(
      `${JSON.stringify(text)} is not ${what}: use ${plain} or ${Object.keys(units).join(', ')}`,
    );
  const result = Number(match[1]) * unit;
  if (result > Number.MAX_SAFE_INTEGER)
    throw new ConfigurationError(
      `${JSON.stringify(text)} is above the maximum of ${Number.MAX_SAFE_INTEGER} ${plain}`,
    );
  if (!Number.isSafeInteger(result))
    throw new ConfigurationError(`${JSON.stringify(text)} is not a whole number of ${plain}`);
  return result;
}

/** Milliseconds of a duration such as 10s. Throws ConfigurationError. */
export function parseDurationMs(text: string): number {
  return parse(text, durationMs, 'milliseconds', 'a duration');
}
/** Bytes of a size such as 64MiB. Throws ConfigurationError. */
export function parseSizeBytes(text: string): number {
  return parse(text, sizeBytes, 'bytes', 'a size');
}
/** Bytes of an amount of data such as 2KB (2,000) or 100TB; also with the units of sizes. Throws ConfigurationError. */
export function parseAmountBytes(text: string): number {
  return parse(text, amountBytes, 'bytes', 'an amount of data');
}

function format(value: number, units: Readonly<Record<string, number>>, plain: string): string {
  const best = Object.entries(units)
    .filter(([, size]) => value !== 0 && value % size === 0)
    .at(-1);
  return best === undefined ? `${value}${plain}` : `${value / best[1]}${best[0]}`;
}
export const formatDurationMs = (ms: number): string => format(ms, durationMs, 'ms');
export const formatSizeBytes = (bytes: number): string => format(bytes, sizeBytes, 'B');

const THREE_DIGITS = 3;
/** Of three digits, in decimal units, for people: 1.44 TB. */
export function formatAmountBytes(bytes: number): string {
  const { PB, TB, GB, MB, KB } = decimalBytes;
  for (const [unit, size] of Object.entries({ PB, TB, GB, MB, KB }))
    if (Math.abs(bytes) >= size) return `${Number((bytes / size).toPrecision(THREE_DIGITS))} ${unit}`;
  return `${Number(bytes.toPrecision(THREE_DIGITS))} B`;
}
