/**
 * Checked reading of the fields of a message, in order, from its bytes. Bytes from a peer are untrusted: every field is asked for
 * with its bounds, and what is wrong is told with the field's name. One reader is reused for all messages of a thread: a
 * message is read to its end before the next.
 */

import { limits } from '../base/limits.ts';
import { recordBytesIn, recordFault, tokenHiIn, tokenLoIn } from '../base/record.ts';
import { type PagePlace, WriteMode, type WriteModeCode } from './contract.ts';
import { ItemReader, MessageError, type Plain } from './message-bytes.ts';

export const UINT32_MAX = 0xffff_ffff;
const EMPTY = new Uint8Array(0);

export class Fields {
  readonly #items = new ItemReader();
  #count = 0;
  #read = 0;
  #what = '';

  /** Starts reading a message, which is an array, and returns its first item. `start` and `end` must follow. */
  begin(bytes: Uint8Array): Plain {
    this.#what = 'a message';
    this.#count = this.#items.startArray(bytes);
    this.#read = 0;
    return this.#count === 0 ? null : this.#next();
  }
  /** `what` names the message in errors, `count` are its fields with the one that `begin` returned. */
  start(what: string, count: number): void {
    this.#what = what;
    if (this.#count !== count) throw new MessageError(`${what}: ${this.#count} fields instead of ${count}`);
  }
  /** The same for a message to which later versions may add fields: they are left alone. */
  startOpen(what: string, count: number): void {
    this.#what = what;
    if (this.#count < count) throw new MessageError(`${what}: ${this.#count} fields instead of ${count}`);
  }
  /** Nothing follows the fields that were read, but for those of a later version. */
  end(): void {
    this.#items.end(this.#count - this.#read);
  }

  #next(): Plain {
    this.#read++;
    return this.#items.next();
  }
  /** The error of the field read last. */
  fault(name: string, wrong: string): MessageError {
    return new MessageError(`${this.#what}: field ${this.#read - 1}, ${name}, ${wrong}`);
  }

  integer(name: string, min: number, max: number): number {
    const value = this.#next();
    if (typeof value !== 'number' || !Number.isSafeInteger(value))
      throw this.fault(name, `is ${describe(value)}, no integer`);
    if (value < min || value > max) throw this.fault(name, `is ${value}, not within ${min} to ${max}`);
    return value;
  }
  boolean(name: string): boolean {
    const value = this.#next();
    if (typeof value !== 'boolean') throw this.fault(name, `is ${describe(value)}, no boolean`);
    return value;
  }
  text(name: string, charactersMax: number): string {
    const value = this.#next();
    if (typeof value !== 'string') throw this.fault(name, `is ${describe(value)}, no text`);
    if (value.length > charactersMax)
      throw this.fault(name, `has ${value.length} characters; the limit is ${charactersMax}`);
    return value;
  }
  bytes(name: string, min: number, max: number): Uint8Array {
    return this.#asBytes(name, this.#next(), min, max);
  }
  bytesOrNull(name: string, min: number, max: number): Uint8Array | null {
    const value = this.#next();
    return value === null ? null : this.#asBytes(name, value, min, max);
  }
  #asBytes(name: string, value: Plain, min: number, max: number): Uint8Array {
    if (!(value instanceof Uint8Array)) throw this.fault(name, `is ${describe(value)}, no byte string`);
    if (value.length < min || value.length > max)
      throw this.fault(name, `has ${value.length} bytes, not ${min} to ${max}`);
    return value;
  }
  /** A numeric array with each item in [min, max]. */
  integers(name: string, countMax: number, min: number, max: number): readonly number[] {
    const value = this.array(name, countMax);
    for (const item of value)
      if (typeof item !== 'number' || !Number.isSafeInteger(item) || item < min || item > max)
        throw this.fault(name, `holds ${describe(item)}, no integer within ${min} to ${max}`);
    return value as readonly number[];
  }
  array(name: string, countMax: number): readonly Plain[] {
    const value = this.#next();
    if (!Array.isArray(value)) throw this.fault(name, `is ${describe(value)}, no array`);
    if (value.length > countMax)
      throw this.fault(name, `has ${value.length} items; the limit is ${countMax}`);
    return value as readonly Plain[];
  }
  plain(): Plain {
    return this.#next();
  }

  key(name: string): Uint8Array {
    return this.bytes(name, 1, limits.keyBytesCeiling);
  }
  version(name: string): number {
    return this.integer(name, 0, limits.versionMax);
  }
  writeMode(): WriteModeCode {
    return this.integer('mode', WriteMode.FRESH, WriteMode.MERGE) as WriteModeCode;
  }
  /** One whole encoded record. */
  record(name: string): Uint8Array {
    return this.#checkRecord(name, this.bytes(name, 1, limits.peerRecordBytesMax));
  }
  recordOrNull(name: string): Uint8Array | null {
    const value = this.bytesOrNull(name, 1, limits.peerRecordBytesMax);
    return value === null ? null : this.#checkRecord(name, value);
  }
  #checkRecord(name: string, record: Uint8Array): Uint8Array {
    const fault = recordFault(record, 0, record.length);
    if (fault !== '') throw this.fault(name, `is no record: ${fault}`);
    if (recordBytesIn(record) !== record.length)
      throw this.fault(name, `has ${record.length} bytes, its record takes ${recordBytesIn(record)}`);
    return record;
  }
  /** A second record of the same token as `first`, or null. */
  also(first: Uint8Array): Uint8Array | null {
    const also = this.recordOrNull('also');
    if (also === null) return null;
    if (tokenHiIn(first) !== tokenHiIn(also) || tokenLoIn(first) !== tokenLoIn(also))
      throw this.fault('also', 'is a record of another token');
    return also;
  }
  /** Whole encoded records one after another. */
  records(name: string): Uint8Array {
    const records = this.bytes(name, 0, limits.peerMessageBytesMax);
    if (records.length === 0) return EMPTY;
    for (let at = 0; at < records.length; ) {
      const fault = recordFault(records, at, records.length);
      if (fault !== '') throw this.fault(name, `holds no record at byte ${at}: ${fault}`);
      at += recordBytesIn(records, at);
      if (at > records.length) throw this.fault(name, 'ends inside the padding of its last record');
    }
    return records;
  }
  /** [tokenHi, tokenLo, keyspace, key] or null. */
  placeOrNull(name: string): PagePlace | null {
    const value = this.#next();
    if (value === null) return null;
    if (!Array.isArray(value) || value.length !== 4)
      throw this.fault(name, `is ${describe(value)}, no array of 4`);
    const [tokenHi, tokenLo, keyspace, key] = value as readonly Plain[];
    if (!isUint(tokenHi, UINT32_MAX) || !isUint(tokenLo, UINT32_MAX) || !isUint(keyspace, 255))
      throw this.fault(name, 'is no place: token and keyspace are 32, 32 and 8 bits');
    if (!(key instanceof Uint8Array) || key.length > limits.keyBytesCeiling)
      throw this.fault(name, `has a key that is no byte string up to ${limits.keyBytesCeiling}`);
    return { tokenHi, tokenLo, keyspace, key };
  }
}

function isUint(value: Plain | undefined, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max;
}

function describe(value: Plain | undefined): string {
  if (typeof value === 'number') return String(value);
  if (value === null || value === undefined) return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return Array.isArray(value) ? `an array of ${value.length}` : `a ${typeof value}`;
}
