import { deadlineIn, ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import type { Random } from '../../src/base/random.ts';
import {
  compareRecordAge,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  keyspaceAt,
} from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { vnodeOf } from '../../src/base/token.ts';
import {
  type Ballot,
  type PrepareAnswer,
  type Replica,
  type WriteAnswer,
  WriteMode,
} from '../../src/cluster/contract.ts';
import { withVersion } from '../../src/cluster/coordinator-records.ts';
import { newRepairStatistics, type RepairSessionOptions } from '../../src/cluster/repair-options.ts';
import { runRepairSession } from '../../src/cluster/repair-session.ts';
import { MemoryReplica, type MemoryReplicaOptions } from './memory-replica.ts';
import { recordOf, viewOf, type Written } from './records.ts';

export const START_MS = 1_700_000_000_000;
const START_US = START_MS * 1000;
export const GRACE_MS = 3_600_000;
/** In an encoded record; `withVersion` is for user records. */
const KEYSPACE_AT = 7;

/** Replicas of a ring of one vnode, or more, and the means of a session. */
export class RepairHarness {
  readonly clock = new ManualClock(START_MS);
  readonly replicas: MemoryReplica[];
  readonly vnodes: number;
  /** Keys that were settled. */
  readonly settled: string[] = [];
  #session = 0;
  #ballot = START_US + 60_000_000;

  constructor(count: number, vnodes = 1, options: Partial<MemoryReplicaOptions> = {}) {
    this.vnodes = vnodes;
    this.replicas = Array.from(
      { length: count },
      () => new MemoryReplica({ clock: this.clock, vnodes, gcGraceMs: GRACE_MS, ...options }),
    );
  }
  at(i: number): MemoryReplica {
    return this.replicas[i] as MemoryReplica;
  }

  /** What SERIAL does to a key whose replicas are all up: all promise, and what is newest is proposed again to all. */
  readonly settle: RepairSessionOptions['settle'] = async (key, tokenHi, tokenLo) => {
    this.settled.push(Buffer.from(key).toString('latin1'));
    for (let attempt = 0; attempt < 10; attempt++) {
      const ballot = { version: this.#ballot++, origin: 9 };
      const beat = await this.#propose(key, tokenHi, tokenLo, ballot);
      if (beat === 0) return;
      this.#ballot = Math.max(this.#ballot, beat + 1);
    }
    throw new Error('ten ballots lost');
  };

  /** 0, or the version to beat. */
  async #propose(key: Uint8Array, tokenHi: number, tokenLo: number, ballot: Ballot): Promise<number> {
    const deadlineMs = deadlineIn(this.clock, 1000);
    const request = { tokenHi, tokenLo, key, ballot, deadlineMs };
    const promises = await Promise.all(
      this.replicas.map((one) => new Promise<PrepareAnswer>((resolve) => one.prepare(request, resolve))),
    );
    let newest: Uint8Array | null = null;
    let outcomes: Uint8Array | null = null;
    for (const promise of promises) {
      if (promise.status !== Status.OK) return promise.beat;
      newest = newer(newest, promise.record);
      outcomes = newer(outcomes, promise.outcomes);
    }
    if (newest === null) return 0;
    const record = withVersion(newest, ballot.version, ballot.origin);
    const also = outcomes === null ? null : withVersion(outcomes, ballot.version, ballot.origin);
    if (also !== null) also[KEYSPACE_AT] = KEYSPACE_OUTCOMES;
    for (const one of this.replicas) {
      const write = {
        record: record.slice(),
        also: also?.slice() ?? null,
        mode: WriteMode.FRESH,
        deadlineMs,
      };
      const answer = await new Promise<WriteAnswer>((resolve) => one.write(write, resolve));
      if (answer.status !== Status.OK) return answer.beat;
    }
    return 0;
  }

  options(local: Replica, remote: Replica, over: Partial<RepairSessionOptions> = {}): RepairSessionOptions {
    return {
      vnode: 0,
      vnodes: this.vnodes,
      local,
      remote,
      tellsOfTrees: [true, true],
      session: ++this.#session,
      pullOnly: false,
      overPromises: false,
      clock: this.clock,
      pace: () => Promise.resolve(),
      // No time passes: what is looked at again and again while it takes long is not.
      pause: (ms) => (ms < limits.repairTreeLookMs ? Promise.resolve() : new Promise(() => undefined)),
      settle: this.settle,
      statistics: newRepairStatistics(),
      expectedCutoffMs: 0,
      ...over,
    };
  }
  async run(
    local: Replica,
    remote: Replica,
    over: Partial<RepairSessionOptions> = {},
  ): Promise<RepairSessionOptions> {
    const options = this.options(local, remote, over);
    await runRepairSession(options);
    return options;
  }
}

function newer(a: Uint8Array | null, b: Uint8Array | null): Uint8Array | null {
  if (a === null || b === null) return a ?? b;
  return compareRecordAge(viewOf(b), b, 0, viewOf(a), a, 0) > 0 ? b : a;
}

/** Records of a key in all states that replicas may hold: each gets some of them. */
export function diverge(
  random: Random,
  replicas: readonly MemoryReplica[],
  keys: number,
  withPromises: boolean,
): void {
  for (let i = 0; i < keys; i++) {
    const key = `key-${i}`;
    const versions = Array.from({ length: random.between(1, 4) }, () => START_US - random.below(1_000_000));
    for (const replica of replicas) {
      if (random.chance(0.2)) continue;
      const version = random.pick(versions);
      // A record follows from its version and key: no two nodes ever make different ones of one version.
      const kind = version % 5;
      const written: Written = {
        key,
        version,
        origin: 1 + (version % 3),
        value: kind === 0 ? '' : `v${version}`,
      };
      const record =
        kind === 0
          ? recordOf({ ...written, tombstone: true })
          : kind === 1
            ? recordOf({ ...written, expiresMs: START_MS - 60_000 + (version % 120_000) })
            : recordOf(written);
      const all = [record];
      if (version % 2 === 0)
        all.push(recordOf({ ...written, keyspace: KEYSPACE_OUTCOMES, value: `o${version}` }));
      if (withPromises && random.chance(0.3)) {
        const ballot = START_US + random.below(1_000_000);
        all.push(recordOf({ key, keyspace: KEYSPACE_PROMISES, version: ballot, origin: 1 + (ballot % 3) }));
      }
      replica.load(all);
    }
  }
}

export const userRecords = (replica: MemoryReplica): Uint8Array[] =>
  replica.all().filter((record) => keyspaceAt(viewOf(record), 0) === KEYSPACE_USER);
export const textOf = (replica: MemoryReplica): string[] =>
  replica.all().map((record) => Buffer.from(record).toString('hex'));
/** A key of one vnode, by trying. */
export function keyIn(vnode: number, vnodes: number, name: string): string {
  for (let i = 0; ; i++) {
    const record = recordOf({ key: `${name}-${i}`, version: 1 });
    if (vnodeOf(viewOf(record).getUint32(8, true), vnodes) === vnode) return `${name}-${i}`;
  }
}
