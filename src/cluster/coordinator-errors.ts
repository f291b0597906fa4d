/**
 * What a client is told of an operation that failed: how many replicas were needed, were up and answered, and, for a
 * write, whether anything may have been written. A write may have been done wherever a replica that was asked did not
 * say that it did nothing.
 */
import { PeerStatus, Status, statusName } from '../base/status.ts';
import { Consistency, type ConsistencyCode } from './contract.ts';
import { type Groups, neededOf } from './coordinator-groups.ts';

/** The replica did nothing because it could not, and is there: full, or closed for writes. */
export function isRefusal(status: number): boolean {
  return status === Status.DISK_FULL || status === Status.OVERLOADED || status === Status.READ_ONLY;
}
/** The replica says that it did nothing. */
function isDefinite(status: number): boolean {
  return (
    isRefusal(status) ||
    status === PeerStatus.STALE_VERSION ||
    status === PeerStatus.STALE_RING ||
    status === Status.BAD_REQUEST
  );
}

/** Counts what replicas said to the writes of one operation, over all its attempts. */
export class WriteTally {
  #sent = 0;
  #definite = 0;
  #refused = 0;
  #diskFull = 0;
  /** The last reason that a replica gave. */
  reason = '';

  sent(): void {
    this.#sent++;
  }
  answered(status: number, message: string): void {
    if (status === Status.OK) return;
    if (isDefinite(status)) this.#definite++;
    if (isRefusal(status)) this.#refused++;
    if (status === Status.DISK_FULL) this.#diskFull++;
    if (message !== '') this.reason = message;
    else if (status < PeerStatus.STALE_VERSION) this.reason = statusName(status);
  }
  get nothingWritten(): boolean {
    return this.#definite === this.#sent;
  }
  /** Where every replica that was asked refused: what to say of it. Otherwise 0. */
  get refusal(): number {
    if (this.#sent === 0 || this.#refused < this.#sent) return 0;
    if (this.#diskFull === this.#sent) return Status.DISK_FULL;
    return this.#diskFull > 0 || this.reason === statusName(Status.READ_ONLY)
      ? Status.UNAVAILABLE
      : Status.OVERLOADED;
  }
}

const names = new Map<ConsistencyCode, string>([
  [Consistency.ONE, 'ONE'],
  [Consistency.QUORUM, 'QUORUM'],
  [Consistency.ALL, 'ALL'],
  [Consistency.SERIAL, 'SERIAL'],
]);

/** "QUORUM needs 2 of 3 replicas; 2 are up, 1 answered: why". */
export function replicasMessage(
  consistency: ConsistencyCode,
  groups: Groups,
  up: number,
  answered: number,
  why: string,
): string {
  const needed = groups.map((group) => `${neededOf(consistency, group.length)} of ${group.length}`);
  const both = needed.length > 1 ? ' present and coming' : '';
  const name = names.get(consistency) ?? 'QUORUM';
  return `${name} needs ${needed.join(' and ')}${both} replicas; ${up} are up, ${answered} answered: ${why}`;
}

export const NOTHING_WRITTEN = '; nothing was written';
export const MAYBE_WRITTEN = '; the write may have been done';
