/** The two forms of RingKV's HTTP interface: values as bytes, and in base64 inside JSON. */
import type { Values } from '../values.ts';
import { keyText, type Slot } from './transport.ts';

export interface HttpDialect {
  read(slot: Slot): string;
  /** Head of a PUT, and how many bytes of body follow. */
  writeHead(slot: Slot): string;
  bodyBytes(slot: Slot): number;
  writeBody(slot: Slot, into: Buffer, at: number): void;
  /** The value in the body of an answer to a read; null where there is none. */
  valueIn(body: Buffer): Buffer | null;
}

const HOST = 'Host: load\r\n';
const VALUE_BEFORE = '"value":"';
const MS_PER_S = 1000;

/** `key?query` of a request. */
export const target = (slot: Slot, query: string, ttlMs: number): string => {
  const ttl = ttlMs > 0 ? `ttl=${ttlMs / MS_PER_S}` : '';
  const both = ttl !== '' && query !== '' ? `${ttl}&${query}` : ttl + query;
  return `/v1/kv/${keyText(slot.key)}${both === '' ? '' : `?${both}`}`;
};

export class RawDialect implements HttpDialect {
  readonly #values: Values;
  readonly #writer: number;
  readonly #query: string;
  readonly #readQuery: string;
  constructor(values: Values, writer: number, query: string) {
    this.#values = values;
    this.#writer = writer;
    this.#query = query;
    this.#readQuery = withoutSloppy(query);
  }
  read(slot: Slot): string {
    return `GET ${target(slot, this.#readQuery, 0)} HTTP/1.1\r\n${HOST}Accept: application/octet-stream\r\n\r\n`;
  }
  writeHead(slot: Slot): string {
    return `PUT ${target(slot, this.#query, slot.ttlMs)} HTTP/1.1\r\n${HOST}Content-Type: application/octet-stream\r\nContent-Length: ${slot.valueBytes}\r\n\r\n`;
  }
  bodyBytes(slot: Slot): number {
    return slot.valueBytes;
  }
  writeBody(slot: Slot, into: Buffer, at: number): void {
    this.#values.write(into, at, slot.valueBytes, slot.key, this.#writer, slot.serial);
  }
  valueIn(body: Buffer): Buffer {
    return body;
  }
}

export class JsonDialect implements HttpDialect {
  readonly #values: Values;
  readonly #writer: number;
  readonly #readQuery: string;
  /** Options of a write stand in its body. */
  readonly #options: string;
  readonly #scratch: Buffer;
  readonly #decoded: Buffer;
  constructor(values: Values, writer: number, query: string, valueBytesMax: number) {
    this.#values = values;
    this.#writer = writer;
    this.#readQuery = withoutSloppy(query);
    this.#options = [...new URLSearchParams(query)]
      .map(([name, value]) => `,"${name}":${name === 'sloppy' ? value : JSON.stringify(value)}`)
      .join('');
    this.#scratch = Buffer.allocUnsafeSlow(valueBytesMax);
    this.#decoded = Buffer.allocUnsafeSlow(valueBytesMax);
  }
  read(slot: Slot): string {
    return `GET ${target(slot, this.#readQuery, 0)} HTTP/1.1\r\n${HOST}Accept: application/json\r\n\r\n`;
  }
  writeHead(slot: Slot): string {
    return `PUT ${target(slot, '', 0)} HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nContent-Length: ${this.bodyBytes(slot)}\r\n\r\n`;
  }
  bodyBytes(slot: Slot): number {
    const base64 = 4 * Math.ceil(slot.valueBytes / 3);
    return '{"value":""'.length + base64 + this.#options.length + ttlOf(slot).length + '}'.length;
  }
  writeBody(slot: Slot, into: Buffer, at: number): void {
    this.#values.write(this.#scratch, 0, slot.valueBytes, slot.key, this.#writer, slot.serial);
    const value = this.#scratch.toString('base64', 0, slot.valueBytes);
    into.write(`{"value":"${value}"${this.#options}${ttlOf(slot)}}`, at, 'latin1');
  }
  /** Not by JSON.parse, which would take a third of the generator's time: the answer is RingKV's own, and is checked byte by byte. */
  valueIn(body: Buffer): Buffer | null {
    const before = body.indexOf(VALUE_BEFORE);
    if (before < 0) return null;
    const start = before + VALUE_BEFORE.length;
    const end = body.indexOf('"', start);
    if (end < 0 || ((end - start) / 4) * 3 > this.#decoded.length + 3) return null;
    const length = this.#decoded.write(body.toString('latin1', start, end), 0, 'base64');
    return this.#decoded.subarray(0, length);
  }
}

const ttlOf = (slot: Slot): string => (slot.ttlMs > 0 ? `,"ttl":${slot.ttlMs / MS_PER_S}` : '');

/** A read takes no `sloppy`. */
export function withoutSloppy(query: string): string {
  const parameters = new URLSearchParams(query);
  parameters.delete('sloppy');
  return parameters.toString();
}
