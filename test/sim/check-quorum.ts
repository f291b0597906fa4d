/**
 * What QUORUM promises, key by key, from what clients saw (docs/decisions/0009-replication.md):
 *
 * (a) A read at QUORUM or above finds what was acknowledged at QUORUM before it began, or something newer; so does it
 *     with what an earlier such read found.
 * (c) Between the record that a conditional write demanded and that write lies no acknowledged write, and nothing that such a
 *     read found.
 * (e) Nothing that was deleted or has expired, and nothing that was never written, is found. At QUORUM and above nothing is either
 *     whose client was told that it was not written: a read at ONE may find what one replica kept of it.
 * (i) Attempts of one write under one idempotency key that succeed are one write, of one version.
 */
import { Status } from '../../src/base/status.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import { NOTHING_WRITTEN } from '../../src/cluster/coordinator-errors.ts';
import { Condition } from '../../src/shard/contract.ts';
import { type History, type Operation, type Seen, showVersion } from './history.ts';

export interface Violation {
  readonly promise: string;
  readonly key: string;
  readonly what: string;
}

/** An observation of one key by a read or a scan. */
interface Look {
  readonly operation: Operation;
  readonly found: Seen | null;
}

/** Clocks of coordinators jump: what of a key's expiry they judged by lies between these. */
const CLOCK_READ_MS = 1;

const isStrong = ({ consistency }: Operation): boolean => consistency !== Consistency.ONE;
const isWrite = ({ kind }: Operation): boolean => kind === 'put' || kind === 'delete';
/** Acknowledged by a quorum of home replicas. */
const isAcknowledged = (operation: Operation): boolean =>
  isWrite(operation) && operation.status === Status.OK && isStrong(operation) && !operation.sloppy;
/** It may have been done, now or later. */
const mayHaveHappened = (operation: Operation): boolean =>
  isWrite(operation) &&
  operation.status !== Status.VERSION_MISMATCH &&
  (operation.status === Status.OK || !operation.message.endsWith(NOTHING_WRITTEN));

/** `skewMs`: how far clocks of two machines were ever apart. */
export function checkQuorum(history: History, skewMs: number): Violation[] {
  const keys = new Set(history.operations.filter(({ kind }) => kind !== 'scan').map(({ key }) => key));
  const found: Violation[] = [];
  for (const key of keys) {
    const operations = history.operations.filter((one) => one.kind !== 'scan' && one.key === key);
    const looks: Look[] = operations
      .filter(({ kind, status }) => kind === 'get' && status === Status.OK)
      .map((operation) => ({ operation, found: operation.found }));
    for (const operation of history.operations)
      if (operation.kind === 'scan' && operation.status === Status.OK && key.startsWith(operation.key))
        looks.push({ operation, found: operation.page.get(key) ?? null });
    const report = (promise: string, what: string): void => void found.push({ promise, key, what });
    new KeyCheck(operations, looks, skewMs, report).run();
  }
  return found;
}

class KeyCheck {
  readonly #writes: readonly Operation[];
  readonly #looks: readonly Look[];
  readonly #skewMs: number;
  readonly #report: (promise: string, what: string) => void;
  /** The write of each value; attempts of one write share it. */
  readonly #writers = new Map<string, Operation[]>();
  /** The lowest version under which a value was acknowledged or seen. */
  readonly #versions = new Map<string, number>();

  constructor(
    operations: readonly Operation[],
    looks: readonly Look[],
    skewMs: number,
    report: (promise: string, what: string) => void,
  ) {
    this.#writes = operations.filter(isWrite);
    this.#looks = looks;
    this.#skewMs = skewMs;
    this.#report = report;
    for (const write of this.#writes) {
      if (write.value === null) continue;
      const attempts = this.#writers.get(write.value) ?? [];
      attempts.push(write);
      this.#writers.set(write.value, attempts);
      if (write.status === Status.OK) this.#learnVersion(write.value, write.version);
    }
    for (const { found } of looks) if (found !== null) this.#learnVersion(found.value, found.version);
  }

  run(): void {
    for (const look of this.#looks) {
      this.#checkOrigin(look);
      this.#checkExpiry(look);
      if (isStrong(look.operation)) {
        this.#checkFloor(look);
        this.#checkCarried(look);
      }
    }
    for (const write of this.#writes) {
      if (write.status === Status.OK && write.condition === Condition.VERSION) this.#checkPassing(write);
    }
    this.#checkRepeats();
  }

  /** (e) What is found was written, by a write that had begun. */
  #checkOrigin({ operation, found }: Look): void {
    if (found === null) return;
    const attempts = this.#writers.get(found.value) ?? [];
    const begun = attempts.filter(({ invokedUs }) => invokedUs <= operation.endedUs);
    if (begun.length === 0)
      this.#report('e: nothing is found that was never written', `${name(operation)} found ${show(found)}`);
    if (!isStrong(operation)) return;
    // Where one attempt of a write is told that its condition did not hold, none was done, nor will be.
    const refusal = attempts.find(({ status }) => status === Status.VERSION_MISMATCH);
    const refused = refusal ?? (begun.some(mayHaveHappened) ? undefined : begun[0]);
    if (refused === undefined) return;
    this.#report(
      'e: nothing is found whose client was told that it was not written',
      `${name(operation)} found ${show(found)} of ${name(refused)}, which was refused: ${refused.message}`,
    );
  }

  /** (e) By no clock that the coordinator had meanwhile was it expired. */
  #checkExpiry({ operation, found }: Look): void {
    if (found === null || found.expiresMs === 0) return;
    const earliest = Math.min(operation.invokedMs, operation.endedMs) - CLOCK_READ_MS;
    if (found.expiresMs > earliest) return;
    this.#report('e: nothing expired is found', `${name(operation)} found ${show(found)}, expired`);
  }

  /** (a) */
  #checkFloor({ operation, found }: Look): void {
    let floor = 0;
    let source = '';
    for (const write of this.#writes)
      if (isAcknowledged(write) && write.endedUs < operation.invokedUs && write.version > floor) {
        floor = write.version;
        source = `${name(write)} was acknowledged at ${showVersion(floor)}`;
      }
    for (const look of this.#looks)
      if (
        look.operation.kind === 'get' &&
        isStrong(look.operation) &&
        look.found !== null &&
        look.operation.endedUs < operation.invokedUs &&
        look.found.version > floor
      ) {
        floor = look.found.version;
        source = `${name(look.operation)} found ${show(look.found)}`;
      }
    if (floor === 0) return;
    if (found !== null ? found.version >= floor : this.#canBeGone(operation, floor)) return;
    this.#report(
      'a: a QUORUM read finds what was acknowledged before it',
      `${name(operation)} found ${found === null ? 'nothing' : show(found)}, but before that ${source}`,
    );
  }

  /** Whether a delete, or an expiry, of `version` or later may be what a read saw. */
  #canBeGone(read: Operation, version: number): boolean {
    return this.#writes.some((write) => {
      if (!mayHaveHappened(write) || write.invokedUs > read.endedUs) return false;
      if (write.status === Status.OK && write.version < version && !this.#wasCarriedTo(write, version))
        return false;
      if (write.kind === 'delete') return true;
      // A replica whose clock is ahead may have made a tombstone of it.
      const latestMs = Math.max(read.invokedMs, read.endedMs) + CLOCK_READ_MS + this.#skewMs;
      return write.expiresMs > 0 && write.expiresMs <= latestMs;
    });
  }
  /** Paxos gives an unfinished record a new version: a value may have been seen under a later one than its write's. */
  #wasCarriedTo(write: Operation, version: number): boolean {
    return this.#looks.some(
      ({ found }) => found !== null && found.value === write.value && found.version >= version,
    );
  }

  /**
   * (a) A record that Paxos proposed again did not pass over an acknowledged one. While a write is under way its coordinator may
   * give it a higher version, over what is acknowledged meanwhile; once its time is over nobody may.
   */
  #checkCarried({ operation, found }: Look): void {
    if (found === null) return;
    const first = this.#versions.get(found.value) ?? found.version;
    const attempts = this.#writers.get(found.value) ?? [];
    const overUs = Math.max(...attempts.map(({ endedUs, dueUs }) => Math.min(endedUs, dueUs)));
    const passed = this.#writes.find(
      (write) =>
        isAcknowledged(write) &&
        write.value !== found.value &&
        this.#beganUs(write) > overUs &&
        write.version > first &&
        write.version <= found.version,
    );
    if (passed === undefined) return;
    this.#report(
      'a: an acknowledged write is not passed over by an older record',
      `${name(operation)} found ${show(found)}, first known at ${showVersion(first)}; ` +
        `${name(passed)} was acknowledged at ${showVersion(passed.version)} in between`,
    );
  }

  /** A repeat may be told of what its first attempt did. */
  #beganUs(write: Operation): number {
    const attempts = this.#writes.filter((one) => one === write || isSameWrite(one, write));
    return Math.min(...attempts.map(({ invokedUs }) => invokedUs));
  }

  /** (c) */
  #checkPassing(conditional: Operation): void {
    const { expected, version } = conditional;
    if (expected !== null) {
      const passed = this.#writes.find(
        (write) =>
          write !== conditional &&
          isAcknowledged(write) &&
          !isSameWrite(write, conditional) &&
          // The demanded value itself may have got a higher version since: it is still the same.
          write.value !== expected.value &&
          write.version > expected.version &&
          write.version < version,
      );
      const what = `${name(conditional)} was written at ${showVersion(version)} over ${show(expected)}; `;
      if (passed !== undefined)
        this.#report(
          'c: no conditional write passes over an acknowledged write',
          `${what}${name(passed)} was acknowledged at ${showVersion(passed.version)} in between`,
        );
      const look = this.#looks.find(
        ({ operation, found }) =>
          isStrong(operation) &&
          found !== null &&
          found.value !== conditional.value &&
          found.value !== expected.value &&
          found.version > expected.version &&
          found.version < version,
      );
      if (look?.found === undefined || look.found === null) return;
      this.#report(
        'c: no conditional write passes over what a QUORUM read found',
        `${what}${name(look.operation)} found ${show(look.found)} in between`,
      );
      return;
    }
    const newest = this.#writes
      .filter(
        (write) =>
          write.kind === 'put' &&
          isAcknowledged(write) &&
          !isSameWrite(write, conditional) &&
          write.version < version &&
          write.endedUs < conditional.invokedUs,
      )
      .reduce<Operation | null>((a, b) => (a === null || b.version > a.version ? b : a), null);
    if (newest === null || this.#canBeGone(conditional, newest.version)) return;
    this.#report(
      'c: no conditional write passes over an acknowledged write',
      `${name(conditional)} found the key absent; ${name(newest)} was acknowledged at ${showVersion(newest.version)}`,
    );
  }

  /** (i) */
  #checkRepeats(): void {
    const versions = new Map<string, Operation>();
    for (const write of this.#writes) {
      if (write.idempotencyKey === '' || write.status !== Status.OK) continue;
      const first = versions.get(write.idempotencyKey);
      if (first === undefined) versions.set(write.idempotencyKey, write);
      else if (first.version !== write.version)
        this.#report(
          'i: repeats of one write are one write',
          `${name(first)} was written at ${showVersion(first.version)}, its repeat ${name(write)} at ${showVersion(write.version)}`,
        );
    }
  }

  #learnVersion(value: string, version: number): void {
    this.#versions.set(value, Math.min(version, this.#versions.get(value) ?? version));
  }
}

const isSameWrite = (a: Operation, b: Operation): boolean =>
  a.idempotencyKey !== '' && a.idempotencyKey === b.idempotencyKey;
const name = ({ id, kind, key, client }: Operation): string => `#${id} (${kind} ${key} of client ${client})`;
const show = ({ value, version }: Seen): string => `${value} at ${showVersion(version)}`;
