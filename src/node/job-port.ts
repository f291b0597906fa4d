/**
 * Carries jobs from a shard thread to the main thread and results back, over one MessagePort: PortJobRunner on
 * the shard's end, `serveJobs` on the main thread's. A job's error crosses as plain data and becomes an error of
 * the same class again, since the engine decides by class whether to repeat a job.
 */
import type { MessagePort } from 'node:worker_threads';
import {
  ClosedError,
  ConfigurationError,
  CorruptionError,
  DiskFullError,
  FormatVersionError,
  IoError,
  ListenError,
  OverloadedError,
  ReadOnlyError,
  TimeoutError,
  UnavailableError,
} from '../base/errors.ts';
import type { Job, JobResult, JobRunner } from '../engine/contract.ts';

export interface PlainError {
  readonly code: string;
  readonly message: string;
  readonly file: string;
  readonly offset: number;
  readonly errno: string;
}
interface JobRequest {
  readonly id: number;
  readonly job: Job;
}
/** How a job ended, as plain data; exactly one of the two is not null. */
export interface JobOutcome {
  readonly result: JobResult | null;
  readonly error: PlainError | null;
}
interface JobReply extends JobOutcome {
  readonly id: number;
}

export function plainError(error: unknown): PlainError {
  const { message, code } =
    error instanceof Error ? (error as Error & { code?: unknown }) : { message: String(error), code: '' };
  const { file, offset, what } =
    error instanceof CorruptionError ? error : { file: '', offset: 0, what: message };
  const errno = error instanceof IoError ? error.errno : '';
  return { code: typeof code === 'string' ? code : '', message: what, file, offset, errno };
}

export function errorOfPlain({ code, message, file, offset, errno }: PlainError): Error {
  switch (code) {
    case 'CORRUPTION':
      return new CorruptionError(file, offset, message);
    case 'DISK_FULL':
      return new DiskFullError(message);
    case 'IO':
      return new IoError(message, errno);
    case 'OVERLOADED':
      return new OverloadedError(message);
    case 'TIMEOUT':
      return new TimeoutError(message);
    case 'CLOSED':
      return new ClosedError(message);
    case 'READ_ONLY':
      return new ReadOnlyError(message);
    case 'FORMAT_VERSION':
      return new FormatVersionError(message);
    case 'CONFIGURATION':
      return new ConfigurationError(message);
    case 'LISTEN':
      return new ListenError(message);
    default:
      // A broken invariant, or a background thread that died: the job was not done.
      return new UnavailableError(`a background job failed: ${message}`);
  }
}

/** The result of a job that ran on another thread. Throws its error, of the same class. */
export function resultOf({ result, error }: JobOutcome): JobResult {
  if (result !== null) return result;
  throw errorOfPlain(error ?? plainError(new Error('a background thread answered without an outcome')));
}

interface Pending {
  readonly resolve: (result: JobResult) => void;
  readonly reject: (error: Error) => void;
}

export class PortJobRunner implements JobRunner {
  readonly #port: MessagePort;
  readonly #pending = new Map<number, Pending>();
  #id = 0;
  #closed = false;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', (reply: JobReply) => this.#onReply(reply));
    port.on('close', () => this.close());
  }

  run(job: Job): Promise<JobResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new ClosedError('the way to the background threads is closed');
      const id = ++this.#id;
      // Posted first: a job that cannot be cloned leaves nothing behind.
      this.#port.postMessage({ id, job } satisfies JobRequest);
      this.#pending.set(id, { resolve, reject });
    });
  }

  /** Rejects what is in flight. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#port.close();
    for (const { reject } of this.#pending.values())
      reject(
        new ClosedError('the way to the background threads was closed: whether the job was done is unknown'),
      );
    this.#pending.clear();
  }

  #onReply({ id, result, error }: JobReply): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (result !== null) pending?.resolve(result);
    else if (error !== null) pending?.reject(errorOfPlain(error));
  }
}

/** Runs what a shard sends through `port` until either side closes it. */
export function serveJobs(port: MessagePort, runner: JobRunner): void {
  const answer = (reply: JobReply): void => port.postMessage(reply);
  port.on('message', ({ id, job }: JobRequest) => {
    runner.run(job).then(
      (result) => answer({ id, result, error: null }),
      (error: unknown) => answer({ id, result: null, error: plainError(error) }),
    );
  });
}
