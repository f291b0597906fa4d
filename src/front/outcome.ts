/**
 * How outcomes look in HTTP: one row for each status of the store, and the errors that only HTTP knows. Any
 * thread; nothing here has state.
 */
import { RingKvError } from '../base/errors.ts';
import { Status, type StatusCode } from '../base/status.ts';

export interface Outcome {
  readonly http: number;
  /** Of the error body. '' for success. */
  readonly code: string;
  /** Where the store gave no message. */
  readonly message: string;
  readonly retryAfter: boolean;
}

const row = (http: number, code: string, message: string, retryAfter = false): Outcome => ({
  http,
  code,
  message,
  retryAfter,
});

/** The error table of the public contract. CORRUPTION, READ_ONLY and SHARD_DOWN are decided in docs/http-api.md. */
const outcomes: Readonly<Record<StatusCode, Outcome>> = {
  [Status.OK]: row(200, '', ''),
  [Status.NOT_FOUND]: row(404, 'NOT_FOUND', 'no live record has this key'),
  [Status.VERSION_MISMATCH]: row(
    409,
    'VERSION_MISMATCH',
    'the current version is another; nothing was written',
  ),
  [Status.BAD_REQUEST]: row(400, 'BAD_REQUEST', 'the request is malformed'),
  [Status.KEY_TOO_LARGE]: row(413, 'KEY_TOO_LARGE', 'the key is too large'),
  [Status.VALUE_TOO_LARGE]: row(413, 'VALUE_TOO_LARGE', 'the value is too large'),
  [Status.RATE_LIMITED]: row(429, 'RATE_LIMITED', 'too many requests for this key; nothing was done', true),
  [Status.OVERLOADED]: row(503, 'OVERLOADED', 'a queue is full; nothing was done, repeat later', true),
  [Status.UNAVAILABLE]: row(
    503,
    'UNAVAILABLE',
    'needs 1 replica, which did not answer; a write may have been done or not',
    true,
  ),
  [Status.TIMEOUT]: row(504, 'TIMEOUT', 'the deadline passed; a write may have been done or not'),
  [Status.DISK_FULL]: row(507, 'DISK_FULL', 'the disk is full; nothing was written, reads go on'),
  [Status.PRECONDITION_FAILED]: row(
    412,
    'PRECONDITION_FAILED',
    'the condition does not hold; nothing was done',
  ),
  [Status.CORRUPTION]: row(500, 'CORRUPTION', 'the stored bytes of this key fail their checksum'),
  [Status.READ_ONLY]: row(
    503,
    'UNAVAILABLE',
    'needs 1 replica that takes writes, 0 are up: its disk failed and it is read-only; nothing was written',
  ),
  [Status.SHARD_DOWN]: row(
    503,
    'UNAVAILABLE',
    'needs 1 replica, 0 are up: its shard is being restarted; nothing was done',
    true,
  ),
};
const unknown = row(500, 'INTERNAL', 'the store answered with an unknown status');

export function outcomeOf(status: number): Outcome {
  return (outcomes as Readonly<Record<number, Outcome>>)[status] ?? unknown;
}

/** An error that HTTP alone knows: its status line is not in the table of the store. */
export class HttpError extends RingKvError {
  readonly code: string;
  readonly http: number;
  /** Of 405. */
  readonly allow: string;
  constructor(http: number, code: string, message: string, allow = '') {
    super(message);
    this.http = http;
    this.code = code;
    this.allow = allow;
  }
}

export const notFoundPath = (path: string): HttpError =>
  new HttpError(404, 'NOT_FOUND', `there is no ${short(path)} here; paths begin with /v1`);
export const unsupportedMediaType = (type: string, supported: string): HttpError =>
  new HttpError(
    415,
    'UNSUPPORTED_MEDIA_TYPE',
    `Content-Type ${short(type)} is not supported; send ${supported}`,
  );
export const preconditionFailed = (message: string): HttpError =>
  new HttpError(412, 'PRECONDITION_FAILED', message);

/** The HTTP status of a caller's mistake found before the store was asked. */
export function httpOfError(error: RingKvError): number {
  if (error instanceof HttpError) return error.http;
  if (error.code === 'KEY_TOO_LARGE' || error.code === 'VALUE_TOO_LARGE') return 413;
  if (error.code === 'OVERLOADED') return 503;
  if (error.code === 'BAD_REQUEST') return 400;
  return 500;
}

const lines = new Map<number, string>(
  Object.entries({
    200: 'OK',
    204: 'No Content',
    304: 'Not Modified',
    400: 'Bad Request',
    403: 'Forbidden',
    404: 'Not Found',
    405: 'Method Not Allowed',
    408: 'Request Timeout',
    409: 'Conflict',
    412: 'Precondition Failed',
    413: 'Content Too Large',
    415: 'Unsupported Media Type',
    426: 'Upgrade Required',
    429: 'Too Many Requests',
    500: 'Internal Server Error',
    501: 'Not Implemented',
    503: 'Service Unavailable',
    504: 'Gateway Timeout',
    507: 'Insufficient Storage',
  }).map(([status, reason]) => [Number(status), `${status} ${reason}`]),
);
export const statusLine = (http: number): string => lines.get(http) ?? `${http} Unknown`;

const SHOWN_MAX = 64;
/** What a client sent, quoted and cut, for a message. */
export function short(text: string): string {
  return JSON.stringify(text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}...` : text);
}
