/** etcd by the JSON gateway of its version 3.4: keys and values in base64. Reads are linearizable. */
import type { HttpDialect } from '../transports/http-dialects.ts';
import { keyText, type Slot } from '../transports/transport.ts';
import type { Values } from '../values.ts';

const VALUE_BEFORE = '"value":"';
const post = (path: string, length: number): string =>
  `POST ${path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
const base64Of = (key: number): string => Buffer.from(keyText(key)).toString('base64');
const base64Length = (bytes: number): number => 4 * Math.ceil(bytes / 3);

export class EtcdDialect implements HttpDialect {
  readonly #values: Values;
  readonly #writer: number;
  readonly #scratch: Buffer;
  constructor(values: Values, writer: number, valueBytesMax: number) {
    this.#values = values;
    this.#writer = writer;
    this.#scratch = Buffer.allocUnsafeSlow(valueBytesMax);
  }
  read({ key }: Slot): string {
    const body = `{"key":"${base64Of(key)}"}`;
    return post('/v3/kv/range', body.length) + body;
  }
  writeHead(slot: Slot): string {
    return post('/v3/kv/put', this.bodyBytes(slot));
  }
  bodyBytes({ key, valueBytes }: Slot): number {
    return '{"key":"","value":""}'.length + base64Of(key).length + base64Length(valueBytes);
  }
  writeBody({ key, serial, valueBytes }: Slot, into: Buffer, at: number): void {
    this.#values.write(this.#scratch, 0, valueBytes, key, this.#writer, serial);
    const value = this.#scratch.toString('base64', 0, valueBytes);
    into.write(`{"key":"${base64Of(key)}","value":"${value}"}`, at, 'latin1');
  }
  /** An absent key is an answer without it. */
  valueIn(body: Buffer): Buffer | null {
    const before = body.indexOf(VALUE_BEFORE);
    if (before < 0) return null;
    const start = before + VALUE_BEFORE.length;
    return Buffer.from(body.toString('latin1', start, body.indexOf('"', start)), 'base64');
  }
}
