/**
 * Reads a message of answers of ringkv.v1 (docs/websocket.md). Whatever the bytes are, it throws ProtocolError and
 * nothing else, and allocates no more than they could hold. Unknown columns are passed over.
 */
import { ProtocolError } from './errors.ts';

export interface WsAnswers {
  readonly ids: readonly number[];
  readonly statuses: readonly number[];
  readonly versions: readonly (number | null)[] | null;
  readonly ttls: readonly (number | null)[] | null;
  readonly messages: readonly (string | null)[] | null;
  readonly values: readonly (Uint8Array | null)[] | null;
  readonly limits: Readonly<Record<string, number>> | null;
}

const UNSIGNED = 0;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;
const SIMPLE = 7;
const NULL = 0xf6;
const INFO_8 = 24;
const INFO_64 = 27;
/** Of columns that this client does not know. */
const NESTING_MAX = 8;
const decoder = new TextDecoder();

export function decodeAnswers(bytes: Uint8Array): WsAnswers {
  const reader = new AnswerReader(bytes);
  let ids: readonly number[] | null = null;
  let statuses: readonly number[] = [];
  let versions: WsAnswers['versions'] = null;
  let ttls: WsAnswers['ttls'] = null;
  let messages: WsAnswers['messages'] = null;
  let values: WsAnswers['values'] = null;
  let told: WsAnswers['limits'] = null;
  const lengths: number[] = [];
  for (let left = reader.length(MAP, 'the message'); left > 0; left--) {
    const name = reader.text('a column name');
    if (name === 'limits') {
      told = reader.limits();
      continue;
    }
    switch (name) {
      case 'ids':
        ids = reader.column(name, () => reader.unsigned(name));
        break;
      case 'statuses':
        statuses = reader.column(name, () => reader.unsigned(name));
        lengths.push(statuses.length);
        break;
      case 'versions':
        versions = reader.column(name, () => reader.optional(() => reader.unsigned(name)));
        lengths.push(versions.length);
        break;
      case 'ttls':
        ttls = reader.column(name, () => reader.optional(() => reader.unsigned(name)));
        lengths.push(ttls.length);
        break;
      case 'messages':
        messages = reader.column(name, () => reader.optional(() => reader.text(name)));
        lengths.push(messages.length);
        break;
      case 'values':
        values = reader.column(name, () => reader.optional(() => reader.byteString(name)));
        lengths.push(values.length);
        break;
      default:
        reader.pass(NESTING_MAX);
    }
  }
  reader.finish();
  if (ids === null) {
    if (told === null) throw new ProtocolError('a message of answers without ids');
    ids = [];
  }
  const count = ids.length;
  if ((count > 0 && statuses.length !== count) || lengths.some((length) => length !== count))
    throw new ProtocolError(`columns of ${lengths.join(', ')} elements for ${count} ids`);
  return { ids, statuses, versions, ttls, messages, values, limits: told };
}

class AnswerReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  column<T>(name: string, element: () => T): T[] {
    const length = this.length(ARRAY, name);
    const items: T[] = [];
    for (let i = 0; i < length; i++) items.push(element());
    return items;
  }
  optional<T>(read: () => T): T | null {
    if (this.#bytes[this.#at] !== NULL) return read();
    this.#at++;
    return null;
  }
  unsigned(what: string): number {
    const value = this.#argument(UNSIGNED, what);
    if (!Number.isSafeInteger(value)) return this.#fail(`${what} is ${value}, beyond 2^53`);
    return value;
  }
  text(what: string): string {
    return decoder.decode(this.#string(TEXT, what));
  }
  /** A copy: a view would keep the whole message alive. */
  byteString(what: string): Uint8Array {
    return this.#string(BYTES, what).slice();
  }
  limits(): Record<string, number> {
    const told: [string, number][] = [];
    for (let left = this.length(MAP, 'limits'); left > 0; left--) {
      const name = this.text('a limit');
      if ((this.#bytes[this.#at] ?? 0) >> 5 === UNSIGNED) told.push([name, this.unsigned(name)]);
      else this.pass(NESTING_MAX);
    }
    return Object.fromEntries(told);
  }
  /** Length of an array or map. Each element has a byte at least, so that a lie is found before it costs anything. */
  length(major: number, what: string): number {
    const length = this.#argument(major, what);
    if (length > this.#bytes.length - this.#at)
      return this.#fail(
        `${what} declares ${length} elements and ${this.#bytes.length - this.#at} bytes follow`,
      );
    return length;
  }

  /** Passes over one item of any kind. */
  pass(nesting: number): void {
    const initial = this.#bytes[this.#at] ?? this.#fail('the message ends early');
    const major = initial >> 5;
    if (nesting === 0) this.#fail(`more than ${NESTING_MAX} levels`);
    const argument = this.#argument(major, 'an unknown column');
    if (major === BYTES || major === TEXT) this.#take(argument, 'an unknown column');
    const inner =
      major === ARRAY || major === TAG ? (major === TAG ? 1 : argument) : major === MAP ? 2 * argument : 0;
    for (let i = 0; i < inner; i++) this.pass(nesting - 1);
  }
  finish(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) this.#fail(`${left} bytes after the message`);
  }

  #string(major: number, what: string): Uint8Array {
    return this.#take(this.#argument(major, what), what);
  }
  #take(length: number, what: string): Uint8Array {
    if (length > this.#bytes.length - this.#at)
      return this.#fail(`${what} declares ${length} bytes, too many`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
  #argument(major: number, what: string): number {
    const initial = this.#bytes[this.#at] ?? this.#fail(`the message ends before ${what}`);
    if (initial >> 5 !== major) return this.#fail(`${what} begins with 0x${initial.toString(16)}`);
    this.#at++;
    const info = initial & 0x1f;
    if (info < INFO_8) return info;
    if (info > INFO_64) return this.#fail(`${what} begins with 0x${initial.toString(16)}`);
    const bytes = this.#take(2 ** (info - INFO_8), what);
    let value = 0;
    // Of a float only the length counts: it is passed over.
    for (const byte of bytes) value = major === SIMPLE ? 0 : value * 256 + byte;
    return value;
  }
  #fail(what: string): never {
    throw new ProtocolError(`not a message of ringkv.v1: ${what} (at byte ${this.#at})`);
  }
}
