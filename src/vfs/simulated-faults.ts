/**
 * What goes wrong on the simulated disk, and when: errors by operation, path and ordinal, and the call at
 * which the process dies. Also counts every call, since ordinals are what a test sweeps over.
 */
import { AssertionError } from '../base/assert.ts';
import { ioFailure } from './io-failure.ts';

/** Calls that change or sync something. */
export const CHANGES = [
  'mkdir',
  'create',
  'rename',
  'link',
  'unlink',
  'rmdir',
  'sync-directory',
  'write',
  'sync',
  'truncate',
  'lock',
] as const;
/** Calls that only look, and `close`, which makes nothing durable. */
export const LOOKS = ['readdir', 'exists', 'open', 'free-bytes', 'read', 'size', 'close', 'unlock'] as const;
export type Change = (typeof CHANGES)[number];
export type Operation = Change | (typeof LOOKS)[number];

/** Operations kept in the log of one simulated disk; a test that needs more is looping. */
const LOG_ENTRIES_MAX = 1_000_000;

/** Thrown by the call at which the process dies and by every one after it; asynchronous calls never come back. */
export class Crash extends Error {
  override readonly name = 'Crash';
}

export interface Fault {
  readonly operation: Operation;
  /** The last part of the path, or a pattern for all of it; every path where it is missing. */
  readonly path?: string | RegExp;
  /** Matching calls that pass before it strikes; 0 where it is missing. */
  readonly after?: number;
  /** How often it strikes; for ever where it is missing. */
  readonly times?: number;
  /** A system error's name: EIO, ENOSPC, EMFILE, ... */
  readonly errno: string;
  /** Bytes that a failing write has written before; 0 where it is missing. */
  readonly bytes?: number;
}

/** A fault in force. */
export class InjectedFault {
  readonly fault: Fault;
  /** Calls that matched, struck or not. */
  matches = 0;
  hits = 0;
  #isActive = true;

  constructor(fault: Fault) {
    this.fault = fault;
  }
  /** The fault strikes no more; calls are still counted. */
  stop(): void {
    this.#isActive = false;
  }
  strikes(operation: Operation, path: string, name: string): boolean {
    const { fault } = this;
    if (fault.operation !== operation) return false;
    if (typeof fault.path === 'string' ? fault.path !== name : fault.path?.test(path) === false) return false;
    const ordinal = this.matches++ - (fault.after ?? 0);
    if (!this.#isActive || ordinal < 0 || ordinal >= (fault.times ?? Number.POSITIVE_INFINITY)) return false;
    this.hits++;
    return true;
  }
}

const changes: ReadonlySet<string> = new Set(CHANGES);

export class FaultPlan {
  /** Calls that changed or synced something, as `write wal-0000000001.log`. */
  readonly log: string[] = [];
  calls = 0;
  changes = 0;
  readonly counts: Record<Operation, number>;
  /** Ordinals of the calls, from 0, at which the process dies: among all, and among those that change something. */
  crashAtCall = Number.POSITIVE_INFINITY;
  crashAtChange = Number.POSITIVE_INFINITY;
  crashed = false;
  readonly #isLogging: boolean;
  readonly #faults: InjectedFault[] = [];

  constructor(isLogging: boolean) {
    this.#isLogging = isLogging;
    this.counts = Object.fromEntries([...CHANGES, ...LOOKS].map((one) => [one, 0])) as Record<
      Operation,
      number
    >;
  }

  inject(fault: Fault): InjectedFault {
    const injected = new InjectedFault(fault);
    this.#faults.push(injected);
    return injected;
  }
  clear(): void {
    for (const injected of this.#faults.splice(0)) injected.stop();
  }
  /** Counts and logs from zero; faults stay as they are. */
  resetCounts(): void {
    this.log.length = 0;
    this.calls = 0;
    this.changes = 0;
    for (const operation of [...CHANGES, ...LOOKS]) this.counts[operation] = 0;
  }

  /** At the start of each call: counts it, dies at it, or gives the fault that strikes it. */
  enter(operation: Operation, path: string, name: string): Fault | null {
    const isChange = changes.has(operation);
    if (this.crashed || this.calls >= this.crashAtCall || (isChange && this.changes >= this.crashAtChange)) {
      this.crashed = true;
      throw new Crash(`crash at ${operation} ${path}`);
    }
    this.calls++;
    this.counts[operation]++;
    if (isChange) {
      this.changes++;
      if (this.#isLogging) this.#append(`${operation} ${name}`);
    }
    let struck: Fault | null = null;
    for (const injected of this.#faults)
      if (injected.strikes(operation, path, name)) struck ??= injected.fault;
    return struck;
  }

  /** The same where a fault does nothing but fail the call. */
  pass(operation: Operation, path: string, name: string): void {
    const fault = this.enter(operation, path, name);
    if (fault !== null) throw ioFailure(operation, path, fault.errno, 'injected');
  }

  #append(entry: string): void {
    if (this.log.length >= LOG_ENTRIES_MAX)
      throw new AssertionError(`simulated disk: more than ${LOG_ENTRIES_MAX} changes`);
    this.log.push(entry);
  }
}
