/** The status that an error of the engine becomes in a reply. What is not in the table is a bug, and ends the thread. */
import {
  BadRequestError,
  ClosedError,
  CorruptionError,
  DiskFullError,
  IoError,
  KeyTooLargeError,
  OverloadedError,
  ReadOnlyError,
  ShardDownError,
  TimeoutError,
  UnavailableError,
  ValueTooLargeError,
} from '../base/errors.ts';
import { Status, type StatusCode } from '../base/status.ts';

type ErrorClass = abstract new (...args: never[]) => Error;

/** Subclasses before their classes. */
const table: readonly (readonly [ErrorClass, StatusCode])[] = [
  [CorruptionError, Status.CORRUPTION],
  [IoError, Status.UNAVAILABLE],
  [DiskFullError, Status.DISK_FULL],
  [OverloadedError, Status.OVERLOADED],
  [ReadOnlyError, Status.READ_ONLY],
  [ShardDownError, Status.SHARD_DOWN],
  [ClosedError, Status.SHARD_DOWN],
  [KeyTooLargeError, Status.KEY_TOO_LARGE],
  [ValueTooLargeError, Status.VALUE_TOO_LARGE],
  [BadRequestError, Status.BAD_REQUEST],
  [TimeoutError, Status.TIMEOUT],
  [UnavailableError, Status.UNAVAILABLE],
];

/** Throws `error` where it is none of the store's. */
export function statusOfError(error: unknown): StatusCode {
  for (const [type, status] of table) if (error instanceof type) return status;
  throw error;
}
