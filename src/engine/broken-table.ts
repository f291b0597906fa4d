/**
 * Stands in for a table that could not be opened, so that a shard serves what is whole: whoever asks for a
 * token in its range gets the error that names file and offset, and never an older version of the key.
 * Owned by the shard's thread.
 */
import type { EngineLookup, FoundRecord, TableMeta, TableReader, TableRecordCursor } from './contract.ts';

const NO_BYTES = new Uint8Array(0);

export class BrokenTable implements TableReader {
  readonly meta: TableMeta;
  readonly path: string;
  readonly memoryBytes = 0;
  readonly error: Error;
  readonly found: FoundRecord = {
    bytes: NO_BYTES,
    view: new DataView(NO_BYTES.buffer),
    offset: 0,
    seq: 0,
  };

  constructor(meta: TableMeta, path: string, error: Error) {
    this.meta = meta;
    this.path = path;
    this.error = error;
  }
  lookup(): EngineLookup {
    throw this.error;
  }
  cursor(): TableRecordCursor {
    throw this.error;
  }
  close(): void {
    return;
  }
}
