/** What the model of the engine (engine-model.ts) holds of each key. */
import { hashToken, token } from '../../src/base/token.ts';
import type { Put } from './engine-harness.ts';

/** A key with its name in the states. */
export interface Key {
  readonly bytes: Uint8Array;
  readonly name: string;
}
export interface Entry {
  readonly seq: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly deleted: boolean;
  /** 0: never. */
  readonly expiresMs: number;
}
export type State = Map<string, Entry>;

const NO_BYTES = new Uint8Array(0);

export const isLive = (entry: Entry | undefined, nowMs: number): entry is Entry =>
  entry !== undefined && !entry.deleted && (entry.expiresMs === 0 || entry.expiresMs > nowMs);

export function entryOf({ version, value, deleted, expiresMs }: Put, seq: number): Entry {
  return { seq, version, value: value ?? NO_BYTES, deleted: deleted ?? false, expiresMs: expiresMs ?? 0 };
}

export function inScanOrder(keys: readonly Uint8Array[]): Key[] {
  const rows = keys.map((bytes) => {
    hashToken(bytes);
    return { key: { bytes, name: Buffer.from(bytes).toString() }, hi: token.hi, lo: token.lo };
  });
  rows.sort((a, b) => a.hi - b.hi || a.lo - b.lo || Buffer.compare(a.key.bytes, b.key.bytes));
  return rows.map(({ key }) => key);
}
