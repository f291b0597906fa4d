import type { Random } from '../../src/base/random.ts';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  KEYSPACE_IDEMPOTENCY,
  KEYSPACE_USER,
  type RecordFields,
  recordBytes,
  recordBytesAt,
  writeRecord,
} from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { EngineLookup, TableMeta, TableOptions, TableReader } from '../../src/engine/contract.ts';
import { createTable } from '../../src/engine/table-builder.ts';
import type { RecordCursor } from '../../src/ipc/contract.ts';
import type { FileSystem } from '../../src/vfs/file-system.ts';

export const DIRECTORY = '/shard';
export const defaults: TableOptions = { blockBytes: 512, compression: 'snappy', bloomBitsPerKey: 10 };

export function encode(record: RecordFields): Uint8Array {
  const bytes = new Uint8Array(recordBytes(record.key.length, record.value.length));
  writeRecord(bytes, 0, record);
  return bytes;
}
export function order(a: RecordFields, b: RecordFields): number {
  return (
    a.tokenHi - b.tokenHi || a.tokenLo - b.tokenLo || a.keyspace - b.keyspace || Buffer.compare(a.key, b.key)
  );
}

export function recordOf(key: string, value: Uint8Array | string, version = 1): RecordFields {
  const bytes = Buffer.from(key);
  hashToken(bytes);
  return {
    tokenHi: token.hi,
    tokenLo: token.lo,
    keyspace: KEYSPACE_USER,
    key: bytes,
    value: typeof value === 'string' ? Buffer.from(value) : value,
    version,
    origin: 1,
    flags: 0,
    expiresMs: 0,
  };
}

/** Random records in order, one a key: both keyspaces, shared tokens, tombstones, expiries, values up to `valueMax`. */
export function randomRecords(random: Random, count: number, valueMax: number): RecordFields[] {
  const shared = Array.from({ length: 3 }, () => [random.uint32(), random.uint32()] as const);
  const byPlace = new Map<string, RecordFields>();
  for (let i = 0; i < count; i++) {
    const record = recordOf(`key-${random.below(count * 2)}`, random.bytes(random.below(valueMax + 1)));
    record.version = 1 + random.below(2 ** 31) * 2 ** 20;
    record.keyspace = random.chance(0.2) ? KEYSPACE_IDEMPOTENCY : KEYSPACE_USER;
    if (random.chance(0.2)) record.value = Buffer.alloc(random.below(valueMax + 1), 'ab');
    if (random.chance(0.3)) [record.tokenHi, record.tokenLo] = random.pick(shared);
    if (random.chance(0.02)) record.key = random.bytes(random.between(1, 600));
    const kind = random.below(10);
    if (kind === 0) {
      record.flags = FLAG_TOMBSTONE;
      record.value = new Uint8Array(0);
    } else if (kind === 1) {
      record.flags = FLAG_EXPIRING;
      record.expiresMs = random.between(1, 2 ** 41);
    }
    const key = Buffer.from(record.key).toString('hex');
    byPlace.set(`${record.tokenHi} ${record.tokenLo} ${record.keyspace} ${key}`, record);
  }
  return [...byPlace.values()].sort(order);
}

export function build(
  fs: FileSystem,
  number: number,
  records: readonly RecordFields[],
  options: TableOptions = defaults,
  salt = 0x1234_5678,
): TableMeta {
  const builder = createTable(fs, DIRECTORY, number, options, salt);
  for (const record of records) {
    const bytes = encode(record);
    builder.add(new DataView(bytes.buffer), bytes, 0);
  }
  return builder.finish();
}

export interface Ended {
  ticket: number;
  outcome: EngineLookup;
  error: Error | null;
  found: Uint8Array | null;
}
export function foundBytes(reader: TableReader): Uint8Array {
  const { bytes, view, offset } = reader.found;
  return bytes.slice(offset, offset + recordBytesAt(view, offset));
}
/** Keeps what came back, with a copy of the record. */
export class Listener {
  readonly ended: Ended[] = [];
  readonly #reader: TableReader;
  constructor(reader: TableReader) {
    this.#reader = reader;
  }
  onTableLookup(ticket: number, outcome: EngineLookup, error: Error | null): void {
    const found = outcome === 1 && error === null ? foundBytes(this.#reader) : null;
    this.ended.push({ ticket, outcome, error, found });
  }
}
export function lookup(
  reader: TableReader,
  record: RecordFields,
  ticket: number,
  listener: Listener,
): EngineLookup {
  return reader.lookup(record.keyspace, record.tokenHi, record.tokenLo, record.key, ticket, listener);
}
export function drain(cursor: RecordCursor): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (; cursor.valid; cursor.next())
    out.push(cursor.bytes.slice(cursor.offset, cursor.offset + recordBytesAt(cursor.view, cursor.offset)));
  return out;
}
