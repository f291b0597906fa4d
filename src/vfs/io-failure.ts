/**
 * The errors of both file systems: one place that turns an operation, a path and a system error's name into
 * the classes of file-system.ts, so that code above cannot tell the two apart by their failures.
 */
import { assert } from '../base/assert.ts';
import { DiskFullError, IoError } from '../base/errors.ts';

/** `operation path: ERRNO, detail`, as a DiskFullError where there is no room and as an IoError otherwise. */
export function ioFailure(
  operation: string,
  path: string,
  errno: string,
  detail = '',
  cause?: unknown,
): DiskFullError | IoError {
  const message = `${operation} ${path}: ${errno}${detail === '' ? '' : `, ${detail}`}`;
  const options = cause === undefined ? {} : { cause };
  return errno === 'ENOSPC' || errno === 'EDQUOT'
    ? new DiskFullError(message, options)
    : new IoError(message, errno, options);
}

/** A call on a file after its `close`. */
export function closedFailure(operation: string, path: string): DiskFullError | IoError {
  return ioFailure(operation, path, 'EBADF', 'the file is closed');
}

/** Whether an error came from the system, and not from a mistake in how a call was made. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  if (!(error instanceof Error)) return false;
  const { errno, code } = error as NodeJS.ErrnoException;
  return typeof errno === 'number' && typeof code === 'string';
}

/** The failure that a system error stands for; any other error is given back as it is. */
export function failureOf(error: unknown, operation: string, path: string, detail = ''): Error {
  if (isSystemError(error)) return ioFailure(operation, path, error.code, detail, error);
  assert(error instanceof Error, 'failureOf: not an error');
  return error;
}

/** The bounds that every read and write must keep; breaking them is a mistake of the caller's code. */
export function checkTransfer(buffer: Uint8Array, start: number, length: number, position: number): void {
  assert(
    Number.isSafeInteger(start) && start >= 0 && Number.isSafeInteger(length) && length >= 0,
    () => `file transfer: start ${start}, length ${length}`,
  );
  assert(
    start + length <= buffer.length,
    () => `file transfer: ${length} bytes at ${start} exceed the buffer of ${buffer.length}`,
  );
  assert(
    Number.isSafeInteger(position) && position >= 0 && Number.isSafeInteger(position + length),
    () => `file transfer: position ${position}`,
  );
}
