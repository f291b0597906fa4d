/** The answer to a GET or HEAD that found a record: JSON or bytes, its headers and its conditions. Front-end thread. */
import type { HttpResponse } from 'uWebSockets.js';
import { KiB } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { Answers } from './answers.ts';
import { evaluateRead, READ_FAILED, READ_NOT_MODIFIED, READ_PROCEEDS } from './conditions.ts';
import { keyMember } from './key-text.ts';

const JSON_HEADERS = '\r\nVary: Accept\r\nContent-Type: application/json';
const BYTES_HEADERS = '\r\nVary: Accept\r\nContent-Type: application/octet-stream';

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
      res.writeHeader('Vary', 'Accept');
      answers.endEmpty(res);
      return 304;
    }
  }
  // One call for three headers: each costs 170 ns, however long.
  res.writeHeader('ETag', `"${version}"${raw ? BYTES_HEADERS : JSON_HEADERS}`);
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

/** The JSON of a record in a buffer that the next call reuses: half the time of one long string. */
function jsonBody(key: Uint8Array, { version, bytes, start, length }: FoundRecord, ttl: number): Uint8Array {
  const head = `{${keyMember(key)},"value":"`;
  const tail = `","version":${version}${ttl === 0 ? '' : `,"ttl":${ttl}`}}`;
  const value = Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('base64');
  // A character of the head takes at most three bytes of UTF-8.
  const size = 3 * head.length + value.length + tail.length;
  if (scratch.length < size) scratch = Buffer.alloc(2 * size);
  let at = scratch.write(head, 0, 'utf8');
  at += scratch.write(value, at, 'latin1');
  at += scratch.write(tail, at, 'latin1');
  return scratch.subarray(0, at);
}
