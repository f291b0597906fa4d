/**
 * Error classes. Each has a stable `code`; messages name the offending value and the limit. A caller's
 * mistake, a full resource, a peer's failure and corruption are four different things and four branches
 * of this tree.
 */
import { Status } from './status.ts';

export abstract class RingKvError extends Error {
  abstract readonly code: string;
  override get name(): string {
    return this.constructor.name;
  }
}

/** The caller's mistake: repeating the same call fails again. */
export class BadRequestError extends RingKvError {
  readonly code: string = 'BAD_REQUEST';
}
export class KeyTooLargeError extends BadRequestError {
  override readonly code = 'KEY_TOO_LARGE';
}
export class ValueTooLargeError extends BadRequestError {
  override readonly code = 'VALUE_TOO_LARGE';
}
/** A setting that is unknown, ill-typed or out of its range. */
export class ConfigurationError extends RingKvError {
  readonly code = 'CONFIGURATION';
}

/** The condition of a conditional write did not hold; `version` is the current one, 0 where the key is absent. */
export class VersionMismatchError extends RingKvError {
  readonly code = 'VERSION_MISMATCH';
  readonly version: number;
  constructor(message: string, version: number) {
    super(message);
    this.version = version;
  }
}

/** A full resource: nothing was done, and repeating later may succeed. */
export class ResourceError extends RingKvError {
  readonly code: string = 'RESOURCE';
}
export class OverloadedError extends ResourceError {
  override readonly code = 'OVERLOADED';
}
export class DiskFullError extends ResourceError {
  override readonly code = 'DISK_FULL';
}

/** Part of the store does not answer; the message says whether anything may have been written. */
export class UnavailableError extends RingKvError {
  readonly code: string = 'UNAVAILABLE';
}
/** The shard stopped taking writes after a failed sync or an I/O error; reads go on. */
export class ReadOnlyError extends UnavailableError {
  override readonly code = 'READ_ONLY';
}
export class ShardDownError extends UnavailableError {
  override readonly code = 'SHARD_DOWN';
}
/** The deadline passed; the outcome of a write is unknown. */
export class TimeoutError extends RingKvError {
  readonly code = 'TIMEOUT';
}

/** The address cannot be listened on; the message names host and port. */
export class ListenError extends RingKvError {
  readonly code = 'LISTEN';
}

/**
 * Bytes on disk that are not what was written. Never retried, never served. Names file and offset; where the error
 * came as a status and a message, `file` is '' and `what` the whole message, which names them.
 */
export class CorruptionError extends RingKvError {
  readonly code = 'CORRUPTION';
  readonly file: string;
  readonly offset: number;
  readonly what: string;
  constructor(file: string, offset: number, what: string, options?: ErrorOptions) {
    super(file === '' ? what : `${file}: corrupt at byte ${offset}: ${what}`, options);
    this.file = file;
    this.offset = offset;
    this.what = what;
  }
}

/** A file written by a newer RingKV. */
export class FormatVersionError extends RingKvError {
  readonly code = 'FORMAT_VERSION';
}
/** Another process holds the data directory. */
export class LockedError extends RingKvError {
  readonly code = 'LOCKED';
}
/** A failed file-system call; `cause` is the system's error and `errno` its name, such as EIO. */
export class IoError extends RingKvError {
  readonly code = 'IO';
  readonly errno: string;
  constructor(message: string, errno: string, options?: ErrorOptions) {
    super(message, options);
    this.errno = errno;
  }
}
/** The store or handle was closed. */
export class ClosedError extends RingKvError {
  readonly code = 'CLOSED';
}

/** The error that a status code stands for. `version` is used by VERSION_MISMATCH only. */
export function errorOfStatus(status: number, message: string, version = 0): RingKvError {
  switch (status) {
    case Status.BAD_REQUEST:
      return new BadRequestError(message);
    case Status.KEY_TOO_LARGE:
      return new KeyTooLargeError(message);
    case Status.VALUE_TOO_LARGE:
      return new ValueTooLargeError(message);
    case Status.VERSION_MISMATCH:
    case Status.PRECONDITION_FAILED:
      return new VersionMismatchError(message, version);
    case Status.OVERLOADED:
    case Status.RATE_LIMITED:
      return new OverloadedError(message);
    case Status.DISK_FULL:
      return new DiskFullError(message);
    case Status.CORRUPTION:
      return new CorruptionError('', 0, message);
    case Status.READ_ONLY:
      return new ReadOnlyError(message);
    case Status.SHARD_DOWN:
      return new ShardDownError(message);
    case Status.TIMEOUT:
      return new TimeoutError(message);
    default:
      return new UnavailableError(message);
  }
}
