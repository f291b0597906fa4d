/** From an error to what a person reads, one line, and what a script reads, the exit code. No stack traces. */
import {
  BadRequestError,
  ConfigurationError,
  CorruptionError,
  DiskFullError,
  FormatVersionError,
  IoError,
  ListenError,
  LockedError,
  OverloadedError,
  RingKvError,
  TimeoutError,
  UnavailableError,
} from '../base/errors.ts';
import { ConnectionError, ProtocolError, RateLimitedError } from '../client/errors.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';

/** A failure of a command that has its own exit code. An empty message prints nothing. */
export class CommandError extends RingKvError {
  readonly code = 'COMMAND';
  readonly exitCode: ExitCodeValue;
  constructor(message: string, exitCode: ExitCodeValue, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
/** A wrong argument or a wrong combination of flags. */
export class UsageError extends CommandError {
  constructor(message: string) {
    super(message, ExitCode.USAGE);
  }
}
/** A person pressed Ctrl-C, or the system asked for the end. */
export class InterruptedError extends CommandError {
  constructor() {
    super('interrupted', ExitCode.INTERRUPTED);
  }
}
/** Whoever read the output has gone, as `head` does: nothing to say, and no failure. */
export class PipeClosedError extends CommandError {
  constructor() {
    super('', ExitCode.OK);
  }
}

type ErrorClass = abstract new (...args: never[]) => Error;
const exitCodes: readonly (readonly [kind: ErrorClass, code: ExitCodeValue])[] = [
  [ConfigurationError, ExitCode.USAGE],
  [BadRequestError, ExitCode.USAGE],
  [ConnectionError, ExitCode.UNAVAILABLE],
  [ProtocolError, ExitCode.UNAVAILABLE],
  [RateLimitedError, ExitCode.UNAVAILABLE],
  [OverloadedError, ExitCode.UNAVAILABLE],
  [UnavailableError, ExitCode.UNAVAILABLE],
  [TimeoutError, ExitCode.UNAVAILABLE],
  [ListenError, ExitCode.LISTEN],
  [LockedError, ExitCode.DATA],
  [FormatVersionError, ExitCode.DATA],
  [CorruptionError, ExitCode.DATA],
  [DiskFullError, ExitCode.DATA],
  [IoError, ExitCode.DATA],
];

export function exitCodeOf(error: unknown): ExitCodeValue {
  if (error instanceof CommandError) return error.exitCode;
  if (isAbort(error)) return ExitCode.INTERRUPTED;
  const known = exitCodes.find(([kind]) => error instanceof kind);
  if (known !== undefined) return known[1];
  return error instanceof RingKvError || isSystemError(error) ? ExitCode.FAILED : ExitCode.INTERNAL;
}

/** What the client and functions of Node end with when their signal aborts: in a command that is context.interrupted. */
const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';
const isSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

/** One line, without line breaks; '' where there is nothing to say. */
export function messageOf(error: unknown): string {
  if (isAbort(error)) return new InterruptedError().message;
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*[\r\n]+\s*/g, ' ').trim();
}
