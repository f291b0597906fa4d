/**
 * Messages of answers in the making: one for each connection that has answers in a turn of the loop. Front-end thread.
 * Values are copied once, as elements of the last column, into the place where they are sent from; the columns before
 * them are written in front of them when the message is complete. Byte by byte: docs/websocket.md.
 */
import { assert } from '../base/assert.ts';
import { ARRAY, BYTES, MAP, NULL, TEXT, TRUE, UNSIGNED, writeHead } from '../base/cbor-head.ts';
import { KiB, limits, MiB } from '../base/limits.ts';
import { ANSWER_COLUMNS } from './ws-wire.ts';

const COUNT_MAX = limits.wsBatchRequestsMax;
/** What the columns but messages and values take: an id and a version of 9 bytes, a status of 2, a ttl of 5, sloppy of 1. */
const HEAD_BYTES_EACH = 9 + 9 + 2 + 5 + 1;
/** Names, heads of map and arrays; the head of a text. */
const HEAD_BYTES_BASE = 256;
const TEXT_HEAD_BYTES = 3;
const HEADROOM =
  HEAD_BYTES_BASE +
  COUNT_MAX * (HEAD_BYTES_EACH + 1) +
  limits.wsAnswerTextBytesMax +
  limits.wsErrorTextBytesMax +
  TEXT_HEAD_BYTES;
const FIRST_BYTES = 64 * KiB;
/** A buffer that one answer made larger than this is not kept. */
const KEPT_BYTES_MAX = MiB;
const VALUE_HEAD_BYTES_MAX = 5;

/** Stands for null in the columns of numbers. */
const NONE = -1;

const encoder = new TextEncoder();
const NAMES = Object.fromEntries(ANSWER_COLUMNS.map((name) => [name, encoder.encode(name)])) as Readonly<
  Record<(typeof ANSWER_COLUMNS)[number], Uint8Array>
>;

function writeText(bytes: Uint8Array, at: number, text: Uint8Array): number {
  const start = writeHead(bytes, at, TEXT, text.length);
  bytes.set(text, start);
  return start + text.length;
}

/** One message of answers. Reused. */
export class AnswerMessage {
  count = 0;
  readonly #ids = new Float64Array(COUNT_MAX);
  readonly #statuses = new Uint8Array(COUNT_MAX);
  readonly #versions = new Float64Array(COUNT_MAX);
  readonly #ttls = new Float64Array(COUNT_MAX);
  readonly #sloppy = new Uint8Array(COUNT_MAX);
  /** Elements of the column messages, and how many answers they are for. */
  readonly #text = new Uint8Array(
    COUNT_MAX + limits.wsAnswerTextBytesMax + limits.wsErrorTextBytesMax + TEXT_HEAD_BYTES,
  );
  #textLength = 0;
  #textCount = 0;
  #hasVersions = false;
  #hasTtls = false;
  #hasSloppy = false;
  #hasValues = false;
  /** HEADROOM free bytes, then elements of the column values. */
  #bytes = new Uint8Array(HEADROOM + FIRST_BYTES);
  #end = HEADROOM;
  readonly #head = new Uint8Array(HEADROOM);

  /** Whether it is to be sent before it takes another answer. */
  get full(): boolean {
    return (
      this.count === COUNT_MAX ||
      this.#end - HEADROOM >= limits.wsAnswerBytes ||
      this.#textLength >= limits.wsAnswerTextBytesMax
    );
  }
  /** Bytes that its values take. */
  get valueBytes(): number {
    return this.#end - HEADROOM;
  }

  /** An answer without a value. `version` and `message` are -1 and '' where there is none. */
  add(id: number, status: number, version: number, sloppy: boolean, message: string): void {
    this.#row(id, status, version, NONE, sloppy);
    this.#grow(1);
    this.#bytes[this.#end++] = NULL;
    if (message !== '') this.#message(message);
  }

  /** A value, copied; `ttl` is 0 where it does not expire. */
  addValue(id: number, version: number, ttl: number, bytes: Uint8Array, start: number, length: number): void {
    this.#row(id, 0, version, ttl === 0 ? NONE : ttl, false);
    this.#grow(length + VALUE_HEAD_BYTES_MAX);
    const at = writeHead(this.#bytes, this.#end, BYTES, length);
    this.#bytes.set(bytes.subarray(start, start + length), at);
    this.#end = at + length;
    this.#hasValues = true;
  }

  /** The message, valid until the next answer is added. */
  finish(): Uint8Array {
    const length = this.#writeHead();
    const start = HEADROOM - length;
    this.#bytes.set(this.#head.subarray(0, length), start);
    return this.#bytes.subarray(start, this.#hasValues ? this.#end : HEADROOM);
  }

  reset(): void {
    this.count = 0;
    this.#textLength = 0;
    this.#textCount = 0;
    this.#hasVersions = false;
    this.#hasTtls = false;
    this.#hasSloppy = false;
    this.#hasValues = false;
    this.#end = HEADROOM;
    if (this.#bytes.length > HEADROOM + KEPT_BYTES_MAX) this.#bytes = new Uint8Array(HEADROOM + FIRST_BYTES);
  }

  #row(id: number, status: number, version: number, ttl: number, sloppy: boolean): void {
    assert(this.count < COUNT_MAX, 'answers: a message with too many');
    const index = this.count++;
    this.#ids[index] = id;
    this.#statuses[index] = status;
    this.#versions[index] = version;
    this.#ttls[index] = ttl;
    this.#sloppy[index] = sloppy ? 1 : 0;
    if (version !== NONE) this.#hasVersions = true;
    if (ttl !== NONE) this.#hasTtls = true;
    if (sloppy) this.#hasSloppy = true;
  }

  /** Of the answer added last. */
  #message(message: string): void {
    this.#fillMessages(this.count - 1);
    const text = encoder.encode(message);
    this.#textLength = writeText(this.#text, this.#textLength, cut(text));
    this.#textCount++;
  }
  #fillMessages(count: number): void {
    while (this.#textCount < count) {
      this.#text[this.#textLength++] = NULL;
      this.#textCount++;
    }
  }

  #grow(more: number): void {
    const needed = this.#end + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(HEADROOM, this.#end), HEADROOM);
    this.#bytes = grown;
  }

  #writeHead(): number {
    const head = this.#head;
    const { count } = this;
    const hasMessages = this.#textCount > 0;
    const columns = [this.#hasVersions, this.#hasTtls, this.#hasSloppy, hasMessages, this.#hasValues];
    let at = writeHead(head, 0, MAP, 2 + columns.filter(Boolean).length);
    at = this.#column(at, NAMES.ids);
    for (let i = 0; i < count; i++) at = writeHead(head, at, UNSIGNED, this.#ids[i] as number);
    at = this.#column(at, NAMES.statuses);
    for (let i = 0; i < count; i++) at = writeHead(head, at, UNSIGNED, this.#statuses[i] as number);
    if (this.#hasVersions) at = this.#numbers(this.#column(at, NAMES.versions), this.#versions);
    if (this.#hasTtls) at = this.#numbers(this.#column(at, NAMES.ttls), this.#ttls);
    if (this.#hasSloppy) {
      at = this.#column(at, NAMES.sloppy);
      for (let i = 0; i < count; i++) head[at++] = this.#sloppy[i] === 1 ? TRUE : NULL;
    }
    if (hasMessages) {
      this.#fillMessages(count);
      at = this.#column(at, NAMES.messages);
      head.set(this.#text.subarray(0, this.#textLength), at);
      at += this.#textLength;
    }
    return this.#hasValues ? this.#column(at, NAMES.values) : at;
  }
  #column(at: number, name: Uint8Array): number {
    return writeHead(this.#head, writeText(this.#head, at, name), ARRAY, this.count);
  }
  #numbers(start: number, numbers: Float64Array): number {
    let at = start;
    for (let i = 0; i < this.count; i++) {
      const value = numbers[i] as number;
      if (value === NONE) this.#head[at++] = NULL;
      else at = writeHead(this.#head, at, UNSIGNED, value);
    }
    return at;
  }
}

/** At most limits.wsErrorTextBytesMax bytes of a text, and no part of a character. */
function cut(text: Uint8Array): Uint8Array {
  let end: number = limits.wsErrorTextBytesMax;
  if (text.length <= end) return text;
  while (((text[end] as number) & 0xc0) === 0x80) end--;
  return text.subarray(0, end);
}

/** The message that opens a connection: no answers, and the limits of this node. */
export function encodeLimits(figures: Readonly<Record<string, number>>): Uint8Array {
  const entries = Object.entries(figures);
  const bytes = new Uint8Array(HEAD_BYTES_BASE + entries.length * HEAD_BYTES_BASE);
  let at = writeHead(bytes, 0, MAP, 3);
  for (const name of [NAMES.ids, NAMES.statuses]) at = writeHead(bytes, writeText(bytes, at, name), ARRAY, 0);
  at = writeHead(bytes, writeText(bytes, at, NAMES.limits), MAP, entries.length);
  for (const [name, figure] of entries)
    at = writeHead(bytes, writeText(bytes, at, encoder.encode(name)), UNSIGNED, figure);
  return bytes.slice(0, at);
}
