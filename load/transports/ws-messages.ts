/** Messages of ringkv.v1 (docs/websocket.md): requests written in columns from slots, answers read in place. */
import {
  ARRAY,
  BYTES,
  FALSE,
  FLOAT_64,
  MAP,
  NULL,
  TEXT,
  TRUE,
  UNSIGNED,
  writeHead,
} from '../../src/base/cbor-head.ts';
import type { Values } from '../values.ts';
import { keyText, type Slot } from './transport.ts';
import { FRAME_HEAD_BYTES_MAX, Opcode, writeFrameHead } from './ws-frames.ts';

/** Of the protocol. */
export const WsOp = { PUT: 1, GET: 2, DELETE: 3 } as const;
const CONSISTENCIES: Readonly<Record<string, number>> = { ONE: 1, QUORUM: 2, ALL: 3, SERIAL: 4 };

const TAGGED = 0xc0;
const MAJOR_BITS = 0xe0;
const ARGUMENT_BITS = 0x1f;
const TWO_32 = 2 ** 32;
const MS_PER_S = 1000;

function writeName(bytes: Buffer, at: number, name: string): number {
  const start = writeHead(bytes, at, TEXT, name.length);
  bytes.write(name, start, 'latin1');
  return start + name.length;
}

/** What a request takes beside its value: id, op, key, ttl, and heads. */
export const REQUEST_BYTES = 48;
const MESSAGE_BYTES = 256;

export interface WsOptions {
  readonly values: Values;
  readonly writer: number;
  /** As in `consistency=QUORUM&sloppy=false`; may be empty. */
  readonly query: string;
}

/** Requests that wait to be sent together, and the frame that they become. */
export class RequestBatch {
  readonly #options: WsOptions;
  readonly #consistency: number;
  readonly #sloppy: string;
  readonly #slots: Slot[] = [];
  readonly #ops: number[] = [];
  #hasPut = false;
  #hasTtl = false;
  /** What the frame takes at most. */
  bytesMax = MESSAGE_BYTES + FRAME_HEAD_BYTES_MAX;

  constructor(options: WsOptions) {
    this.#options = options;
    const parameters = new URLSearchParams(options.query);
    this.#consistency = CONSISTENCIES[parameters.get('consistency') ?? ''] ?? 0;
    this.#sloppy = parameters.get('sloppy') ?? '';
  }
  get count(): number {
    return this.#slots.length;
  }
  add(slot: Slot, op: number): void {
    this.#slots.push(slot);
    this.#ops.push(op);
    this.bytesMax += REQUEST_BYTES;
    if (op !== WsOp.PUT) return;
    this.#hasPut = true;
    this.bytesMax += slot.valueBytes;
    if (slot.ttlMs > 0) this.#hasTtl = true;
  }

  /** Writes the frame into `bytes`, which has room for `bytesMax`, and empties the batch. */
  take(bytes: Buffer): Buffer {
    const slots = this.#slots;
    const ops = this.#ops;
    const { length: count } = slots;
    const columns =
      3 +
      (this.#hasPut ? 1 : 0) +
      (this.#hasTtl ? 1 : 0) +
      (this.#consistency > 0 ? 1 : 0) +
      (this.#sloppy !== '' ? 1 : 0);
    let at = writeHead(bytes, FRAME_HEAD_BYTES_MAX, MAP, columns);
    at = writeHead(bytes, writeName(bytes, at, 'ids'), ARRAY, count);
    for (const { index } of slots) at = writeHead(bytes, at, UNSIGNED, index);
    at = writeHead(bytes, writeName(bytes, at, 'ops'), ARRAY, count);
    for (const op of ops) bytes[at++] = op;
    at = writeHead(bytes, writeName(bytes, at, 'keys'), ARRAY, count);
    for (const { key } of slots) at = writeName(bytes, at, keyText(key));
    if (this.#consistency > 0) {
      at = writeName(bytes, at, 'consistency');
      bytes[at++] = this.#consistency;
    }
    if (this.#sloppy !== '') {
      at = writeName(bytes, at, 'sloppy');
      bytes[at++] = this.#sloppy === 'true' ? TRUE : FALSE;
    }
    if (this.#hasTtl) at = this.#writeTtls(bytes, at);
    if (this.#hasPut) at = this.#writeValues(bytes, at);
    slots.length = 0;
    ops.length = 0;
    this.#hasPut = false;
    this.#hasTtl = false;
    this.bytesMax = MESSAGE_BYTES + FRAME_HEAD_BYTES_MAX;
    const start = writeFrameHead(bytes, FRAME_HEAD_BYTES_MAX, at - FRAME_HEAD_BYTES_MAX, Opcode.BINARY);
    return bytes.subarray(start, at);
  }

  #writeTtls(bytes: Buffer, start: number): number {
    let at = writeHead(bytes, writeName(bytes, start, 'ttls'), ARRAY, this.#slots.length);
    this.#slots.forEach(({ ttlMs }, index) => {
      if (this.#ops[index] !== WsOp.PUT || ttlMs === 0) bytes[at++] = NULL;
      else {
        bytes[at] = FLOAT_64;
        at = bytes.writeDoubleBE(ttlMs / MS_PER_S, at + 1);
      }
    });
    return at;
  }
  #writeValues(bytes: Buffer, start: number): number {
    const { values, writer } = this.#options;
    let at = writeHead(bytes, writeName(bytes, start, 'values'), ARRAY, this.#slots.length);
    this.#slots.forEach(({ key, serial, valueBytes }, index) => {
      if (this.#ops[index] !== WsOp.PUT) {
        bytes[at++] = NULL;
        return;
      }
      at = writeHead(bytes, at, BYTES, valueBytes);
      values.write(bytes, at, valueBytes, key, writer, serial);
      at += valueBytes;
    });
    return at;
  }
}

/** The answers of one message, in arrays that are used again. Columns that a client may pass over are. */
export class AnswerBatch {
  count = 0;
  readonly ids: number[] = [];
  readonly statuses: number[] = [];
  /** Where values lie in the message; 0 where there is none. */
  readonly valueStarts: number[] = [];
  readonly valueEnds: number[] = [];
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #argument = 0;

  /** Throws where it is not what docs/websocket.md describes. */
  read(message: Buffer): void {
    this.#bytes = message;
    this.#at = 0;
    this.count = 0;
    if (this.#head() !== MAP) throw new Error('a message that is no map');
    let rows = -1;
    for (let pairs = this.#argument; pairs > 0; pairs--) {
      if (this.#head() !== TEXT) throw new Error('a column whose name is no text');
      const name = message.toString('latin1', this.#at, this.#at + this.#argument);
      this.#at += this.#argument;
      const rowsHere = this.#column(name);
      if (rowsHere < 0) continue;
      if (rows >= 0 && rowsHere !== rows)
        throw new Error(`column ${name} has ${rowsHere} elements and ids has ${rows}`);
      rows = rowsHere;
    }
    if (this.#at !== message.length) throw new Error(`${message.length - this.#at} bytes behind the item`);
    this.count = Math.max(0, rows);
    // Without the column there are no values.
    if (this.#valuesSeen) this.#valuesSeen = false;
    else this.valueStarts.fill(0, 0, this.count);
  }
  #valuesSeen = false;

  /** Elements of the column; -1 for one that has none. */
  #column(name: string): number {
    if (name === 'ids' || name === 'statuses') {
      if (this.#head() !== ARRAY) throw new Error(`${name} is no array`);
      const into = name === 'ids' ? this.ids : this.statuses;
      const count = this.#argument;
      for (let i = 0; i < count; i++) {
        if (this.#head() !== UNSIGNED) throw new Error(`${name} has an element that is no integer`);
        into[i] = this.#argument;
      }
      return count;
    }
    if (name !== 'values') {
      this.#skip();
      return -1;
    }
    if (this.#head() !== ARRAY) throw new Error('values is no array');
    const count = this.#argument;
    for (let i = 0; i < count; i++) {
      if (this.#bytes[this.#at] === NULL) {
        this.#at++;
        this.valueStarts[i] = 0;
        continue;
      }
      if (this.#head() !== BYTES) throw new Error('values has an element that is no byte string');
      this.valueStarts[i] = this.#at;
      this.#at += this.#argument;
      this.valueEnds[i] = this.#at;
    }
    this.#valuesSeen = true;
    return count;
  }

  /** Major type of the next item, its argument in #argument. */
  #head(): number {
    const bytes = this.#bytes;
    const first = bytes[this.#at] ?? -1;
    if (first < 0) throw new Error('a message that ends early');
    const short = first & ARGUMENT_BITS;
    this.#at++;
    if (short < 24) this.#argument = short;
    else if (short === 24) this.#argument = bytes.readUInt8(this.#take(1));
    else if (short === 25) this.#argument = bytes.readUInt16BE(this.#take(2));
    else if (short === 26) this.#argument = bytes.readUInt32BE(this.#take(4));
    else if (short === 27) {
      const at = this.#take(8);
      this.#argument = bytes.readUInt32BE(at) * TWO_32 + bytes.readUInt32BE(at + 4);
    } else throw new Error('an item of indefinite length');
    return first & MAJOR_BITS;
  }
  #take(count: number): number {
    const at = this.#at;
    this.#at += count;
    return at;
  }
  #skip(): void {
    const major = this.#head();
    const argument = this.#argument;
    if (major === BYTES || major === TEXT) this.#at += argument;
    else if (major === ARRAY) for (let i = 0; i < argument; i++) this.#skip();
    else if (major === MAP) for (let i = 0; i < 2 * argument; i++) this.#skip();
    else if (major === TAGGED) this.#skip();
  }
}
