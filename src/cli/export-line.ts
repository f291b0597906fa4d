/** One line of an export, which an import takes back: see import-record.ts. */
import { keyFields, valueFields } from './keys.ts';

export interface ExportEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly version: number;
  /** Seconds left; null where it does not expire. */
  readonly ttl: number | null;
}

/**
 * With its line break. The time to live is always there, because an import without it would make the entry last for
 * ever; the version only where `meta` asks for it.
 */
export function exportLine(entry: ExportEntry, meta: boolean): string {
  const row = {
    ...keyFields(entry.key),
    ...valueFields(entry.value),
    ...(entry.ttl === null ? {} : { ttl: entry.ttl }),
    ...(meta ? { version: entry.version } : {}),
  };
  return `${JSON.stringify(row)}\n`;
}
