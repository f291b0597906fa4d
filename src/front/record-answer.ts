/** The answer to a GET or HEAD that found a record: JSON or bytes, its headers and its conditions. Front-end thread. */
import type { HttpResponse } from 'uWebSockets.js';
import { KiB } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { Answers } from './answers.ts';
import { evaluateRead, READ_FAILED, READ_NOT_MODIFIED, READ_PROCEEDS } from './conditions.ts';
import { DECIMAL_DIGITS_MAX, decimalBefore } from './decimal.ts';
import { ETAG, TagLine } from './entity-tag.ts';
import { kept } from './keep-alive.ts';
import { keyMember } from './key-text.ts';

/** One call for four headers: each costs 170 ns, however long. */
const jsonTag = new TagLine(kept('\r\nVary: Accept\r\nContent-Type: application/json'));
const bytesTag = new TagLine(kept('\r\nVary: Accept\r\nContent-Type: application/octet-stream'));

const encoder = new TextEncoder();
const KEY = encoder.encode('{"key":"');
const VALUE = encoder.encode('","value":"');
const VERSION = encoder.encode('","version":');
const CLOSING = 0x7d;
/** What a JSON answer has at most beside key and value. */
const FRAME_BYTES_MAX = 128;

/** A record wherever it lies: a reply, or shared memory. Valid during the call. */
export interface FoundRecord {
  readonly version: number;
  readonly expiresMs: number;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly length: number;
}

/** Whole seconds that a live record has left, rounded up, so that it never says 0. */
export const secondsLeft = (expiresMs: number, nowMs: number): number =>
  Math.max(1, Math.ceil((expiresMs - nowMs) / 1000));

/** Answers, and returns the HTTP status. Runs corked. */
export function answerRecord(
  answers: Answers,
  res: HttpResponse,
  record: FoundRecord,
  key: Uint8Array,
  nowMs: number,
  head: boolean,
  raw: boolean,
  ifMatch: string,
  ifNoneMatch: string,
): number {
  const { version, expiresMs, bytes, start, length } = record;
  if (ifMatch !== '' || ifNoneMatch !== '') {
    const outcome = evaluateRead(ifMatch, ifNoneMatch, version);
    if (outcome === READ_FAILED) {
      const message = `If-Match does not list the current version ${version}`;
      return answers.fail(res, Status.PRECONDITION_FAILED, message, version, head);
    }
    if (outcome === READ_NOT_MODIFIED) res.writeStatus('304 Not Modified');
    if (outcome !== READ_PROCEEDS) {
      res.writeHeader('ETag', `"${version}"`);
      res.writeHeader('Vary', kept('Accept'));
      answers.endEmpty(res);
      return 304;
    }
  }
  res.writeHeader(ETAG, (raw ? bytesTag : jsonTag).of(version));
  const ttl = expiresMs === 0 ? 0 : secondsLeft(expiresMs, nowMs);
  if (raw) {
    if (ttl !== 0) res.writeHeader('X-RingKV-TTL', String(ttl));
    answers.end(res, bytes.subarray(start, start + length), head);
    return 200;
  }
  const body = jsonBody(key, record, ttl);
  answers.end(res, body, head);
  return 200;
}

let scratch = Buffer.alloc(16 * KiB);
const digits = new Uint8Array(DECIMAL_DIGITS_MAX);

/**
 * The JSON of a record in a buffer that the next call reuses: half the time of one long string. Keys of printable ASCII, which
 * stand in JSON as they are, and the version are copied byte by byte; the rest is left to JSON.stringify and Buffer.
 */
function jsonBody(key: Uint8Array, { version, bytes, start, length }: FoundRecord, ttl: number): Uint8Array {
  const value = Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('base64');
  // A byte of a key takes at most six characters, as \u0000 does.
  const size = 6 * key.length + value.length + FRAME_BYTES_MAX;
  if (scratch.length < size) scratch = Buffer.alloc(2 * size);
  let at = putKey(key);
  at += scratch.write(value, at, 'latin1');
  at = put(VERSION, at);
  const first = decimalBefore(digits, DECIMAL_DIGITS_MAX, version);
  for (let digit = first; digit < DECIMAL_DIGITS_MAX; digit++) scratch[at++] = digits[digit] as number;
  if (ttl !== 0) at += scratch.write(`,"ttl":${ttl}`, at, 'latin1');
  scratch[at++] = CLOSING;
  return scratch.subarray(0, at);
}

/** From the opening brace to the quote before the value; where that begins. */
function putKey(key: Uint8Array): number {
  if (!isPlain(key)) return scratch.write(`{${keyMember(key)},"value":"`, 0, 'utf8');
  let at = put(KEY, 0);
  for (let i = 0; i < key.length; i++) scratch[at++] = key[i] as number;
  return put(VALUE, at);
}

function put(text: Uint8Array, at: number): number {
  for (let i = 0; i < text.length; i++) scratch[at + i] = text[i] as number;
  return at + text.length;
}

/** Whether JSON has each byte as it is: printable ASCII, neither quote nor backslash. */
function isPlain(key: Uint8Array): boolean {
  for (let i = 0; i < key.length; i++) {
    const byte = key[i] as number;
    if (byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c) return false;
  }
  return true;
}
