/** Encoded records as clients see them. */
import { expiresMsAt, keyAt, recordBytesAt, valueAt, versionAt } from '../../src/base/record.ts';
import type { Seen } from './history.ts';

const decoder = new TextDecoder();
const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function seenAt(view: DataView, bytes: Uint8Array, at: number): Seen {
  const value = decoder.decode(valueAt(view, bytes, at));
  return { value, version: versionAt(view, at), expiresMs: expiresMsAt(view, at) };
}
export const seenOf = (record: Uint8Array): Seen => seenAt(viewOf(record), record, 0);

/** Visits records that lie one after another. */
export function eachSeen(records: Uint8Array, visit: (key: string, seen: Seen) => void): void {
  const view = viewOf(records);
  for (let at = 0; at < records.length; at += recordBytesAt(view, at))
    visit(decoder.decode(keyAt(view, records, at)), seenAt(view, records, at));
}
