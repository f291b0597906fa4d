/**
 * The client's errors: those of the store, one class per code, and what only a network adds. `errorOfAnswer`
 * makes them from an HTTP answer, `errorOfWsStatus` from one over a WebSocket.
 */
import {
  BadRequestError,
  DiskFullError,
  KeyTooLargeError,
  OverloadedError,
  ReadOnlyError,
  ResourceError,
  RingKvError,
  ShardDownError,
  TimeoutError,
  UnavailableError,
  ValueTooLargeError,
  VersionMismatchError,
} from '../base/errors.ts';
import { Status, statusName } from '../base/status.ts';
import { isObject, parseJson, type RawAnswer } from './encoding.ts';

/** No answer came. `sent` says whether the request may have reached the server, and so may have been done. */
export class ConnectionError extends RingKvError {
  readonly code = 'CONNECTION';
  readonly sent: boolean;
  constructor(message: string, sent: boolean, options?: ErrorOptions) {
    super(message, options);
    this.sent = sent;
  }
}
/** The answer is not one of RingKV: another server listens there, or one of another version. */
export class ProtocolError extends RingKvError {
  readonly code = 'PROTOCOL';
}
/** Too many requests: nothing was done. */
export class RateLimitedError extends ResourceError {
  override readonly code = 'RATE_LIMITED';
}
/** The stored bytes of the key fail their checksum, or the server has a defect: repeating does not help. */
export class ServerError extends RingKvError {
  readonly code: 'CORRUPTION' | 'INTERNAL';
  constructor(code: 'CORRUPTION' | 'INTERNAL', message: string) {
    super(message);
    this.code = code;
  }
}
/** A path, a method or a content type that the server does not know: it is older or newer than this client. */
export class UnsupportedError extends RingKvError {
  readonly code = 'UNSUPPORTED';
}

/**
 * Some of the entries of a getMany, putMany or deleteMany failed. `results` has one element for each, in order: what it gave, or the
 * error that it ended with. `cause` is the first of these.
 */
export class PartialFailureError<T> extends RingKvError {
  readonly code = 'PARTIAL_FAILURE';
  readonly results: readonly (T | Error)[];
  constructor(message: string, results: readonly (T | Error)[], options?: ErrorOptions) {
    super(message, options);
    this.results = results;
  }
}

/** How long the server asked to be left alone, for errors that say so. */
const retryAfterMs = new WeakMap<RingKvError, number>();
export const retryAfterMsOf = (error: RingKvError): number => retryAfterMs.get(error) ?? 0;

const SECOND_MS = 1000;
const EXCERPT_CHARACTERS = 80;

/** The error that an answer with a status from 400 stands for. */
export function errorOfAnswer(answer: RawAnswer, url: string): RingKvError {
  const parsed = parseJson(answer.body);
  const body = isObject(parsed) && isObject(parsed.error) ? parsed.error : null;
  if (body === null || typeof body.code !== 'string') {
    const text = new TextDecoder().decode(answer.body).slice(0, EXCERPT_CHARACTERS);
    return new ProtocolError(
      `${url}: status ${answer.status} without an error of RingKV: ${JSON.stringify(text)}`,
    );
  }
  const version = isObject(parsed) ? (body.version ?? parsed.version) : 0;
  const message = typeof body.message === 'string' && body.message !== '' ? body.message : body.code;
  const error = errorOfCode(body.code, message, typeof version === 'number' ? version : 0);
  const after = Number(answer.header('retry-after') ?? Number.NaN);
  if (after >= 0) retryAfterMs.set(error, after * SECOND_MS);
  return error;
}

/** The error of a code of the contract. */
export function errorOfCode(code: string, message: string, version: number): RingKvError {
  switch (code) {
    case 'BAD_REQUEST':
      return new BadRequestError(message);
    case 'KEY_TOO_LARGE':
      return new KeyTooLargeError(message);
    case 'VALUE_TOO_LARGE':
      return new ValueTooLargeError(message);
    case 'VERSION_MISMATCH':
    case 'PRECONDITION_FAILED':
      return new VersionMismatchError(message, version);
    case 'RATE_LIMITED':
      return new RateLimitedError(message);
    case 'OVERLOADED':
      return new OverloadedError(message);
    case 'DISK_FULL':
      return new DiskFullError(message);
    case 'READ_ONLY':
      return new ReadOnlyError(message);
    case 'SHARD_DOWN':
      return new ShardDownError(message);
    case 'UNAVAILABLE':
      return new UnavailableError(message);
    case 'TIMEOUT':
      return new TimeoutError(message);
    case 'CORRUPTION':
    case 'INTERNAL':
      return new ServerError(code, message);
    case 'NOT_FOUND':
    case 'METHOD_NOT_ALLOWED':
    case 'UNSUPPORTED_MEDIA_TYPE':
      return new UnsupportedError(message);
    default:
      return new ProtocolError(`an error of an unknown code ${JSON.stringify(code)}: ${message}`);
  }
}

/** The error that a status of the WebSocket protocol stands for. */
export function errorOfWsStatus(status: number, message: string, version: number): RingKvError {
  const code = statusName(status);
  const text = message === '' ? code : message;
  return status === Status.NOT_FOUND || code.startsWith('UNKNOWN')
    ? new ProtocolError(`status ${status}, which does not go with the request: ${text}`)
    : errorOfCode(code, text, version);
}
