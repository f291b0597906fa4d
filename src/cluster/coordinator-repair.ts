/**
 * Brings one replica up to date with what another holds. Owned by the thread of the coordinator.
 *
 * The record's outcomes (src/cluster/outcomes.ts) travel with it, in one write: a replica that had the record of a SERIAL
 * write without its outcome would let a repeat under the same idempotency key be applied again. They are read after the
 * record and from the replica that had it, so they are at least as new as it.
 */
import { deadlineIn, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { headAt, KEYSPACE_OUTCOMES, KEYSPACE_USER, keyAt, tokenHiAt, tokenLoAt } from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import {
  type NodeNumber,
  type ReadAnswer,
  type ReplicaRead,
  type WriteAnswer,
  WriteMode,
} from './contract.ts';
import type { CoordinatorCore } from './coordinator-core.ts';
import { compareHeads, isTombstone, originOf, versionOf, viewOf } from './coordinator-records.ts';
import { OnceLater } from './once-later.ts';

/** barred: a promise is in the way, or outcomes of a newer record than was sent: the key must be settled by SERIAL. */
export type RepairResult = 'done' | 'barred' | 'failed' | 'resurrection';

/** The tombstone by which a replica says that `sent` had been deleted, or null. */
export function resurrectionIn(sent: Uint8Array, newer: Uint8Array | null): boolean {
  return (
    newer !== null &&
    versionOf(newer) === versionOf(sent) &&
    originOf(newer) === originOf(sent) &&
    isTombstone(newer) &&
    !isTombstone(sent)
  );
}

/** Asks for the whole of what a replica holds in a keyspace under the key of a record, which may be a head. */
function readOf(record: Uint8Array, keyspace: number, deadlineMs: MonotonicMs): ReplicaRead {
  const view = viewOf(record);
  const [tokenHi, tokenLo] = [tokenHiAt(view, 0), tokenLoAt(view, 0)];
  return { tokenHi, tokenLo, keyspace, key: keyAt(view, record, 0), headOnly: false, deadlineMs };
}

export class ReplicaRepair {
  readonly #core: CoordinatorCore;
  readonly #source: NodeNumber;
  readonly #target: NodeNumber;
  readonly #record: Uint8Array;
  readonly #deadlineMs: MonotonicMs;
  readonly #done: (result: RepairResult, newer: Uint8Array | null) => void;

  /** `record` is whole, and was read from `source`. `newer`: what the target holds where that is newer. */
  constructor(
    core: CoordinatorCore,
    source: NodeNumber,
    target: NodeNumber,
    record: Uint8Array,
    deadlineMs: MonotonicMs,
    done: (result: RepairResult, newer: Uint8Array | null) => void,
  ) {
    this.#core = core;
    this.#source = source;
    this.#target = target;
    this.#record = record;
    this.#deadlineMs = deadlineMs;
    this.#done = done;
  }

  start(): void {
    const read = readOf(this.#record, KEYSPACE_OUTCOMES, this.#deadlineMs);
    this.#core.view.replica(this.#source).read(read, this.#onOutcomes);
  }

  readonly #onOutcomes = (answer: ReadAnswer): void => {
    if (answer.status !== Status.OK) {
      this.#core.metrics.readRepairsFailed++;
      this.#done('failed', null);
      return;
    }
    const write = {
      record: this.#record,
      also: answer.record,
      mode: WriteMode.MERGE,
      deadlineMs: this.#deadlineMs,
    };
    this.#core.view.replica(this.#target).write(write, this.#onWritten);
  };

  readonly #onWritten = (answer: WriteAnswer): void => {
    const { metrics } = this.#core;
    if (answer.status === Status.OK) {
      const resurrection = resurrectionIn(this.#record, answer.newer);
      if (resurrection) metrics.resurrections++;
      this.#done(resurrection ? 'resurrection' : 'done', answer.newer);
    } else if (answer.status === PeerStatus.STALE_VERSION && answer.barred) this.#done('barred', null);
    else {
      metrics.readRepairsFailed++;
      this.#done('failed', null);
    }
  };
}

/** Behind an answer: reads the record of a key from `source` again, whole, and repairs `target` with it. */
export function repairBehind(
  core: CoordinatorCore,
  source: NodeNumber,
  target: NodeNumber,
  head: Uint8Array,
): void {
  const deadlineMs = deadlineIn(core.world.clock, limits.behindMs);
  const read = readOf(head, KEYSPACE_USER, deadlineMs);
  const { tokenHi, tokenLo, key } = read;
  core.view.replica(source).read(read, ({ status, record }) => {
    if (status !== Status.OK || record === null) return;
    const repair = new ReplicaRepair(core, source, target, record, deadlineMs, (result, newer) => {
      if (result === 'done') core.metrics.readRepairsBehind++;
      else if (result === 'barred') core.settle(tokenHi, tokenLo, key);
      // The tombstone that the target made is what the source has to learn.
      else if (result === 'resurrection' && newer !== null) repairBehind(core, target, source, newer);
    });
    repair.start();
  });
}

/**
 * Repairs behind the answers of reads, limits.readRepairBehindMs later: most of what a read finds stale is about to get a write that is
 * on its way, and repairing it at once would cost as much as that write, just where many want one key. Whoever writes sees to it that
 * a replica which misses the write gets a hint; this is for what is left. At most limits.readRepairsWaitingMax wait, once a key and replica.
 */
export class LaterRepairs {
  readonly #core: CoordinatorCore;
  readonly #waiting: OnceLater;

  constructor(core: CoordinatorCore) {
    this.#core = core;
    this.#waiting = new OnceLater(core.world.timers, limits.readRepairBehindMs, limits.readRepairsWaitingMax);
  }

  /** `record`, whole or its head: what `source` holds and `target` lacked. */
  add(source: NodeNumber, target: NodeNumber, record: Uint8Array): void {
    const view = viewOf(record);
    const name = `${target} ${Buffer.from(keyAt(view, record, 0)).toString('latin1')}`;
    const isTaken = this.#waiting.add(name, () => {
      // In memory of its own: it stays longer than the pool's slab that a request lies in.
      const head = Uint8Array.from(headAt(view, record, 0));
      return () => this.#look(source, target, head);
    });
    if (!isTaken) this.#core.metrics.readRepairsSkipped++;
  }

  #look(source: NodeNumber, target: NodeNumber, head: Uint8Array): void {
    const core = this.#core;
    const read = readOf(head, KEYSPACE_USER, deadlineIn(core.world.clock, limits.behindMs));
    core.view.replica(target).read({ ...read, headOnly: true }, ({ status, record }) => {
      if (status !== Status.OK) return;
      if (record !== null && compareHeads(record, head) >= 0) core.metrics.readRepairsSpared++;
      else repairBehind(core, source, target, head);
    });
  }
}
