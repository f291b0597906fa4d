/** Tables as simple as they can be, on any file system: records one after another, the meta behind them. */
import { CorruptionError } from '../../src/base/errors.ts';
import {
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  recordBytesAt,
  recordFault,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../../src/base/record.ts';
import type { TableBuilder, TableMeta, TableReader, TableRecordCursor } from '../../src/engine/contract.ts';
import type { Damage, TableFactory, TableVerification } from '../../src/engine/job-tools.ts';
import type { File, FileSystem } from '../../src/vfs/file-system.ts';

export const plainPath = (directory: string, number: number): string => `${directory}/${number}.plain`;
const BUFFER_BYTES = 4096;
/** Room kept in the buffer of the builder for one record more. */
const RECORD_BYTES_MAX = 128 * 1024;

class PlainBuilder implements TableBuilder {
  readonly number: number;
  bytes = 0;
  records = 0;
  readonly #fs: FileSystem;
  readonly #path: string;
  readonly #file: File;
  readonly #buffer = new Uint8Array(BUFFER_BYTES + RECORD_BYTES_MAX);
  #used = 0;
  #written = 0;
  readonly #meta = {
    tombstones: 0,
    expiring: 0,
    firstHi: -1,
    firstLo: 0,
    lastHi: 0,
    lastLo: 0,
    versionMin: Number.POSITIVE_INFINITY,
    versionMax: 0,
    expiresMsMin: Number.POSITIVE_INFINITY,
    expiresMsMax: 0,
    tombstoneVersionMin: Number.POSITIVE_INFINITY,
  };

  constructor(fs: FileSystem, directory: string, number: number) {
    this.#fs = fs;
    this.number = number;
    this.#path = plainPath(directory, number);
    this.#file = fs.open(this.#path, 'create');
  }
  add(view: DataView, bytes: Uint8Array, offset: number): void {
    const size = recordBytesAt(view, offset);
    this.#buffer.set(bytes.subarray(offset, offset + size), this.#used);
    this.#used += size;
    this.bytes += size;
    this.records++;
    this.#note(view, offset);
    if (this.#used >= BUFFER_BYTES) this.#write();
  }
  #note(view: DataView, offset: number): void {
    const meta = this.#meta;
    meta.lastHi = tokenHiAt(view, offset);
    meta.lastLo = tokenLoAt(view, offset);
    if (meta.firstHi === -1) {
      meta.firstHi = meta.lastHi;
      meta.firstLo = meta.lastLo;
    }
    const version = versionAt(view, offset);
    meta.versionMin = Math.min(meta.versionMin, version);
    meta.versionMax = Math.max(meta.versionMax, version);
    const flags = flagsAt(view, offset);
    if ((flags & FLAG_TOMBSTONE) !== 0) {
      meta.tombstones++;
      meta.tombstoneVersionMin = Math.min(meta.tombstoneVersionMin, version);
    }
    if ((flags & FLAG_EXPIRING) !== 0) {
      meta.expiring++;
      meta.expiresMsMin = Math.min(meta.expiresMsMin, expiresMsAt(view, offset));
      meta.expiresMsMax = Math.max(meta.expiresMsMax, expiresMsAt(view, offset));
    }
  }
  #write(): void {
    this.#file.writeSync(this.#buffer, 0, this.#used, this.#written);
    this.#written += this.#used;
    this.#used = 0;
  }
  finish(): TableMeta {
    if (this.records === 0) throw new Error('a table without records');
    this.#write();
    this.#file.syncSync();
    this.#file.close();
    const { firstHi, firstLo, lastHi, lastLo, ...rest } = this.#meta;
    const meta: TableMeta = {
      ...rest,
      number: this.number,
      bytes: this.bytes,
      records: this.records,
      range: { firstHi, firstLo, lastHi, lastLo },
      expiresMsMin: rest.expiring === 0 ? 0 : rest.expiresMsMin,
      tombstoneVersionMin: rest.tombstones === 0 ? 0 : rest.tombstoneVersionMin,
    };
    return meta;
  }
  abandon(): void {
    this.#file.close();
    if (this.#fs.exists(this.#path)) this.#fs.unlink(this.#path);
  }
}

class PlainCursor implements TableRecordCursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }
  get valid(): boolean {
    return this.offset < this.bytes.length;
  }
  next(): void {
    this.offset += recordBytesAt(this.view, this.offset);
  }
  release(): void {
    this.offset = this.bytes.length;
  }
}

function openPlain(
  fs: FileSystem,
  directory: string,
  meta: TableMeta,
  opened: Set<TableReader>,
): TableReader {
  const path = plainPath(directory, meta.number);
  const file = fs.open(path, 'read');
  const none = new Uint8Array(0);
  const reader: TableReader = {
    meta,
    path,
    memoryBytes: 0,
    found: { bytes: none, view: new DataView(none.buffer), offset: 0, seq: 0 },
    lookup: () => {
      throw new Error('jobs look nothing up');
    },
    cursor: () => {
      const bytes = new Uint8Array(file.size());
      file.readSync(bytes, 0, bytes.length, 0);
      if (bytes.length !== meta.bytes) throw new CorruptionError(path, bytes.length, 'cut off');
      return new PlainCursor(bytes);
    },
    close: () => {
      opened.delete(reader);
      file.close();
    },
  };
  opened.add(reader);
  return reader;
}

export class PlainTables implements TableFactory {
  /** Readers that nobody has closed. */
  readonly opened = new Set<TableReader>();
  openedMax = 0;
  path(directory: string, number: number): string {
    return plainPath(directory, number);
  }
  create(fs: FileSystem, directory: string, number: number): TableBuilder {
    return new PlainBuilder(fs, directory, number);
  }
  open(fs: FileSystem, directory: string, meta: TableMeta): TableReader {
    const reader = openPlain(fs, directory, meta, this.opened);
    this.openedMax = Math.max(this.openedMax, this.opened.size);
    return reader;
  }
  numberOf(name: string): number {
    return Number(/^([0-9]+)\.plain$/.exec(name)?.[1] ?? -1);
  }
  /** Only that each record is sound, and that they are as many as the meta says. */
  verify(
    fs: FileSystem,
    path: string,
    meta: TableMeta | null,
    onBytes: (bytes: number) => void,
  ): TableVerification {
    const file = fs.open(path, 'read');
    try {
      const bytes = new Uint8Array(file.size());
      file.readSync(bytes, 0, bytes.length, 0);
      onBytes(bytes.length);
      const view = new DataView(bytes.buffer);
      const damage: Damage[] = [];
      let records = 0;
      for (let at = 0; at < bytes.length; at += recordBytesAt(view, at), records++) {
        const what = recordFault(bytes, at, bytes.length);
        if (what === '') continue;
        damage.push({ file: path, offset: at, what });
        break;
      }
      if (meta !== null && records !== meta.records)
        damage.push({ file: path, offset: 0, what: `${records} records, not ${meta.records}` });
      return { bytes: bytes.length, records, damage };
    } finally {
      file.close();
    }
  }
}
