import { CorruptionError } from '../../src/base/errors.ts';
import { checksumMatches, writeChecksum } from '../../src/base/checksum.ts';
import {
  comparePlace,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  expiresMsAt,
  flagsAt,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../../src/base/record.ts';
import type { EngineLookup, FoundRecord, TableBuilder, TableLookupListener, TableMeta, TableReader } from '../../src/engine/contract.ts';
import type { TableAccess } from '../../src/engine/engine-tables.ts';
import type { TableFactory } from '../../src/engine/job-tools.ts';
import type { RecordCursor, SeekTarget } from '../../src/ipc/contract.ts';
import type { File, FileSystem } from '../../src/vfs/file-system.ts';

const path = (directory: string, number: number): string => `${directory}/t-${number}.sst`;

class Builder implements TableBuilder {
  readonly number: number;
  bytes = 8;
  records = 0;
  readonly #parts: Uint8Array[] = [];
  readonly #file: File;
  readonly #fs: FileSystem;
  #meta = { tombstones: 0, expiring: 0, versionMin: Infinity, versionMax: 0, expiresMsMin: 0, expiresMsMax: 0, tombstoneVersionMin: 0 };
  #first: [number, number] = [0, 0];
  #last: [number, number] = [0, 0];
  constructor(fs: FileSystem, directory: string, number: number) {
    this.#fs = fs;
    this.number = number;
    this.#file = fs.open(path(directory, number), 'create');
  }
  add(view: DataView, bytes: Uint8Array, offset: number): void {
    const size = recordBytesAt(view, offset);
    this.#parts.push(bytes.slice(offset, offset + size));
    this.bytes += size;
    const at: [number, number] = [tokenHiAt(view, offset), tokenLoAt(view, offset)];
    if (this.records++ === 0) this.#first = at;
    this.#last = at;
    const m = this.#meta;
    const version = versionAt(view, offset);
    m.versionMin = Math.min(m.versionMin, version);
    m.versionMax = Math.max(m.versionMax, version);
    if (flagsAt(view, offset) & FLAG_TOMBSTONE) {
      m.tombstones++;
      m.tombstoneVersionMin = m.tombstoneVersionMin === 0 ? version : Math.min(m.tombstoneVersionMin, version);
    }
    if (flagsAt(view, offset) & FLAG_EXPIRING) {
      m.expiring++;
      const e = expiresMsAt(view, offset);
      m.expiresMsMin = m.expiresMsMin === 0 ? e : Math.min(m.expiresMsMin, e);
      m.expiresMsMax = Math.max(m.expiresMsMax, e);
    }
  }
  finish(): TableMeta {
    const all = Buffer.concat(this.#parts);
    const out = new Uint8Array(all.length + 8);
    out.set(all);
    writeChecksum(out, 0, all.length, out, all.length);
    this.#file.writeSync(out, 0, out.length, 0);
    this.#file.syncSync();
    this.#file.close();
    return {
      number: this.number,
      bytes: out.length,
      records: this.records,
      ...this.#meta,
      range: { firstHi: this.#first[0], firstLo: this.#first[1], lastHi: this.#last[0], lastLo: this.#last[1] },
    };
  }
  abandon(): void {
    this.#file.close();
    if (this.#fs.exists(this.#file.path)) this.#fs.unlink(this.#file.path);
  }
}

class Cursor implements RecordCursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;
  readonly #end: number;
  constructor(bytes: Uint8Array, end: number) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#end = end;
  }
  get valid(): boolean {
    return this.offset < this.#end;
  }
  next(): void {
    this.offset += recordBytesAt(this.view, this.offset);
  }
}

export class FakeReader implements TableReader {
  readonly meta: TableMeta;
  readonly path: string;
  readonly memoryBytes = 0;
  readonly found: FoundRecord = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)), offset: 0, seq: 0 };
  readonly #file: File;
  #cached: Uint8Array | null = null;
  constructor(fs: FileSystem, directory: string, meta: TableMeta) {
    this.meta = meta;
    this.path = path(directory, meta.number);
    this.#file = fs.open(this.path, 'read');
    if (this.#file.size() !== meta.bytes) throw new CorruptionError(this.path, this.#file.size(), `file has ${this.#file.size()} bytes, not ${meta.bytes}`);
  }
  #check(bytes: Uint8Array): Cursor {
    const end = this.meta.bytes - 8;
    if (!checksumMatches(bytes, 0, end, bytes, end)) throw new CorruptionError(this.path, 0, 'checksum');
    return new Cursor(bytes, end);
  }
  #find(bytes: Uint8Array, k: number, hi: number, lo: number, key: Uint8Array): EngineLookup {
    for (const c = this.#check(bytes); c.valid; c.next())
      if (comparePlace(c.view, c.bytes, c.offset, hi, lo, k, key) === 0) {
        this.found.bytes = c.bytes;
        this.found.view = c.view;
        this.found.offset = c.offset;
        return 1;
      }
    return 0;
  }
  lookup(k: number, hi: number, lo: number, key: Uint8Array, ticket: number, listener: TableLookupListener): EngineLookup {
    if (this.#cached !== null) return this.#find(this.#cached, k, hi, lo, key);
    const bytes = new Uint8Array(this.meta.bytes);
    const mine = key.slice();
    this.#file.read(bytes, 0, bytes.length, 0, (error) => {
      if (error !== null) return listener.onTableLookup(ticket, 0, error);
      let outcome: EngineLookup = 0;
      try {
        outcome = this.#find(bytes, k, hi, lo, mine);
        this.#cached = bytes;
      } catch (e) {
        return listener.onTableLookup(ticket, 0, e as Error);
      }
      listener.onTableLookup(ticket, outcome, null);
    });
    return 2;
  }
  cursor(from: SeekTarget | null): RecordCursor {
    const bytes = new Uint8Array(this.meta.bytes);
    this.#file.readSync(bytes, 0, bytes.length, 0);
    const cursor = this.#check(bytes);
    if (from !== null)
      while (cursor.valid && comparePlace(cursor.view, cursor.bytes, cursor.offset, from.tokenHi, from.tokenLo, from.keyspace, from.key) < 0)
        cursor.next();
    return cursor;
  }
  close(): void {
    this.#file.close();
  }
}

export const fakeFactory: TableFactory = {
  path,
  create: (fs, directory, number) => new Builder(fs, directory, number),
  open: (fs, directory, meta) => new FakeReader(fs, directory, meta),
  verify: (fs, directory, meta) => {
    try {
      new FakeReader(fs, directory, meta).cursor(null);
      return { bytes: meta.bytes, records: meta.records, damage: [] };
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      return { bytes: meta.bytes, records: 0, damage: [{ file: error.file, offset: error.offset, what: error.message }] };
    }
  },
};
export const fakeAccess = (fs: FileSystem, directory: string): TableAccess => ({
  path,
  numberOfName: (name) => Number(/^t-(\d+)\.sst$/.exec(name)?.[1] ?? -1),
  open: (meta) => new FakeReader(fs, directory, meta),
  cacheStats: () => ({ bytes: 0, hits: 0, misses: 0 }),
});
