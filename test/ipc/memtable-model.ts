/** The memtable set as plain maps and arrays: slow, obvious, and what the shared one is compared with. */
import { compareRecordPlaces, type RecordFields, recordBytes, writeRecord } from '../../src/base/record.ts';

export interface Entry {
  readonly seq: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly name: string;
}

export const nameOf = (keyspace: number, hi: number, lo: number, key: Uint8Array): string =>
  `${hi}/${lo}/${keyspace}/${Buffer.from(key).toString('latin1')}`;

export function encode(record: RecordFields): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(recordBytes(record.key.length, record.value.length));
  const view = new DataView(bytes.buffer);
  writeRecord(bytes, 0, record);
  return { bytes, view };
}

export class ModelSlot {
  readonly index: number;
  durableSeq = 0;
  readonly entries: Entry[] = [];
  constructor(index: number) {
    this.index = index;
  }
  append(record: RecordFields): number {
    const seq = this.entries.length + 1;
    const name = nameOf(record.keyspace, record.tokenHi, record.tokenLo, record.key);
    this.entries.push({ seq, name, ...encode(record) });
    return seq;
  }
  newest(name: string, seqMax: number): Entry | undefined {
    return this.entries.findLast((entry) => entry.name === name && entry.seq <= seqMax);
  }
  /** Versions of a key that a reader passes here before it comes to a durable one. */
  notDurable(name: string): number {
    return this.entries.filter((entry) => entry.name === name && entry.seq > this.durableSeq).length;
  }
  /** One entry per key, the newest up to seqMax, in record order, from the place of `from` on. */
  ordered(from: { bytes: Uint8Array; view: DataView } | null, seqMax: number): Entry[] {
    const newest = new Map<string, Entry>();
    for (const entry of this.entries) if (entry.seq <= seqMax) newest.set(entry.name, entry);
    return [...newest.values()]
      .filter(
        (entry) =>
          from === null || compareRecordPlaces(entry.view, entry.bytes, 0, from.view, from.bytes, 0) >= 0,
      )
      .sort((a, b) => compareRecordPlaces(a.view, a.bytes, 0, b.view, b.bytes, 0));
  }
}
