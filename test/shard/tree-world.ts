/** Hash trees over the real engine on a simulated disk, beside a model that keeps every version of every record. */

import { expect } from 'vitest';
import type { Random } from '../../src/base/random.ts';
import {
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  type RecordFields,
} from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { ReplicaTree, TreeAnswer } from '../../src/cluster/contract.ts';
import { ReplicaTrees } from '../../src/shard/replica-trees.ts';
import { type TreeBounds, treeBounds } from '../../src/shard/tree-heads.ts';
import { FAR_MS } from '../base/clocks.ts';
import { newDisk } from '../engine/disk.ts';
import { EngineHarness, fieldsOf, type Put, SHAPE, type Shape, turn } from '../engine/engine-harness.ts';

export const VNODES = 4;
export const GRACE_MS = 3_600_000;
export const LEAVES = 4096;
const LEVELS = [1, 16, 256, LEAVES];
const BITS_64 = (1n << 64n) - 1n;
const TURNS_MAX = 200_000;
export const TREE_SHAPE: Shape = { ...SHAPE, vnodes: VNODES, gcGraceMs: GRACE_MS, arenaBytes: 64 * 1024 };

export const vnodeOfHi = (hi: number): number => Math.floor((hi * VNODES) / 2 ** 32);
const leafOfHi = (hi: number): number => Number((BigInt(hi) * BigInt(VNODES * LEAVES)) >> 32n) % LEAVES;
const nameOf = ({ keyspace, key }: Pick<RecordFields, 'keyspace' | 'key'>): string =>
  `${keyspace} ${Buffer.from(key).toString()}`;

/** Straight from the contract: XXH64 over keyspace, key, version, origin and flags, what has expired as a tombstone. */
function hashOf({ keyspace, key, version, origin, flags }: RecordFields, isDead: boolean): bigint {
  const tail = Buffer.alloc(13);
  tail.writeDoubleLE(version, 0);
  tail.writeUInt32LE(origin, 8);
  tail[12] = isDead ? 1 : flags;
  hashToken(Buffer.concat([Buffer.from([keyspace]), key, tail]));
  return (BigInt(token.hi) << 32n) | BigInt(token.lo);
}
/** What a record adds to its leaf; null where it does not count. */
function shareOf(record: RecordFields, nowMs: number, ignoreDeadBeforeMs: number): bigint | null {
  const { flags, version, expiresMs, keyspace } = record;
  const isDeleted = (flags & 1) !== 0;
  const isExpired = (flags & 2) !== 0 && expiresMs <= nowMs;
  if (isDeleted && version / 1000 < ignoreDeadBeforeMs) return null;
  if (isExpired && (keyspace !== KEYSPACE_USER || expiresMs < ignoreDeadBeforeMs)) return null;
  return hashOf(record, isDeleted || isExpired);
}

export interface Leaves {
  readonly sums: bigint[];
  readonly records: number;
}

/** What the replica must hold, and its trees computed from scratch. */
export class Model {
  /** The newest record of each key. */
  readonly records = new Map<string, RecordFields>();
  /** Every record that was put since `watch`, by key. */
  #since = new Map<string, RecordFields[]>();

  put(fields: RecordFields): void {
    const record = { ...fields };
    const name = nameOf(fields);
    this.records.set(name, record);
    this.#since.set(name, [...(this.#since.get(name) ?? []), record]);
  }
  leaves(vnode: number, nowMs: number, ignoreDeadBeforeMs: number): Leaves {
    const sums = new Array<bigint>(LEAVES).fill(0n);
    let records = 0;
    for (const record of this.records.values()) {
      const share = vnodeOfHi(record.tokenHi) === vnode ? shareOf(record, nowMs, ignoreDeadBeforeMs) : null;
      if (share === null) continue;
      const leaf = leafOfHi(record.tokenHi);
      sums[leaf] = ((sums[leaf] as bigint) + share) & BITS_64;
      records++;
    }
    return { sums, records };
  }

  /**
   * From now on every state of a key counts as one that a tree may show. Gives a function that tells for each leaf of a vnode
   * which sums it may have: one state of each of its keys, each as dead as at one of the times.
   */
  watch(): (vnode: number, timesMs: readonly number[], ignoreDeadBeforeMs: number) => Set<bigint>[] {
    const before = new Map(this.records);
    this.#since = new Map();
    return (vnode, timesMs, ignoreDeadBeforeMs) => {
      const sums = Array.from({ length: LEAVES }, () => new Set([0n]));
      for (const name of new Set([...before.keys(), ...this.#since.keys()])) {
        const first = before.get(name);
        const states = [...(first === undefined ? [] : [first]), ...(this.#since.get(name) ?? [])];
        const { tokenHi } = states[0] as RecordFields;
        if (vnodeOfHi(tokenHi) !== vnode) continue;
        const shares = new Set(first === undefined ? [0n] : []);
        for (const state of states)
          for (const nowMs of timesMs) shares.add(shareOf(state, nowMs, ignoreDeadBeforeMs) ?? 0n);
        const leaf = leafOfHi(tokenHi);
        sums[leaf] = new Set(
          [...(sums[leaf] as Set<bigint>)].flatMap((sum) =>
            [...shares].map((share) => (sum + share) & BITS_64),
          ),
        );
      }
      return sums;
    };
  }
}

export class TreeWorld extends EngineHarness {
  readonly model = new Model();
  readonly later: (() => void)[] = [];
  bounds: TreeBounds = treeBounds();
  keys = 600;
  #trees: ReplicaTrees | null = null;
  #version = 0;

  async start(): Promise<void> {
    await this.open();
    this.#trees = new ReplicaTrees(this.engine, {
      vnodes: VNODES,
      clock: this.clock,
      gcGraceMs: GRACE_MS,
      defer: (run) => void this.later.push(run),
      bounds: this.bounds,
    });
  }
  get trees(): ReplicaTrees {
    if (this.#trees === null) throw new Error('not started');
    return this.#trees;
  }

  async append(put: Omit<Put, 'version'>, ageMs: number): Promise<void> {
    this.#version++;
    // Rising for each key, since ages only fall over a run.
    const version = (this.clock.nowMs() - ageMs) * 1000 + this.#version;
    const fields = fieldsOf({ ...put, version });
    if ((this.model.records.get(nameOf(fields))?.version ?? 0) >= version) return;
    await this.appendWhenTaken(fields);
    this.model.put(fields);
  }
  async appendRandom(random: Random, mayTouch: (vnode: number) => boolean): Promise<void> {
    const number = random.below(this.keys);
    const key = Buffer.from(`key-${number}`);
    hashToken(key);
    if (!mayTouch(vnodeOfHi(token.hi))) return;
    const nowMs = this.clock.nowMs();
    const value = Buffer.alloc(random.below(400), 'v');
    const kind = random.below(6);
    if (kind < 2) await this.append({ key, value }, random.pick([0, 2 * GRACE_MS]));
    else if (kind === 2) await this.append({ key, deleted: true }, random.pick([0, 2 * GRACE_MS]));
    else if (kind === 3) {
      // As old by its version as by its expiry: compaction makes a tombstone of it, which is as old as its version.
      const ageMs = random.pick([1000, 2 * GRACE_MS]);
      await this.append({ key, value, expiresMs: nowMs - ageMs + 500 }, ageMs);
    } else if (kind === 4) await this.append({ key, value, expiresMs: nowMs + 100 * GRACE_MS }, 0);
    else {
      const keyspace = random.pick([KEYSPACE_PROMISES, KEYSPACE_OUTCOMES]);
      // Rising for each key, as that of promises and outcomes: a compaction drops the expired at once, whatever lies below them.
      const expiresMs = number % 2 === 0 ? nowMs - 1 : nowMs + 100 * GRACE_MS;
      await this.append({ key, value, keyspace, expiresMs }, 0);
    }
  }

  build(request: Partial<ReplicaTree> & Pick<ReplicaTree, 'session' | 'vnodes'>): TreeBuild {
    const building = new TreeBuild();
    const whole = { ignoreDeadBeforeMs: 0, deadlineMs: FAR_MS, ...request };
    this.trees.build(whole, (answer) => {
      expect(building.answer, 'answered twice').toBeNull();
      building.answer = answer;
    });
    return building;
  }
  /** Runs what is deferred, and `between` after each step, until the builds are answered. */
  async runUntil(builds: readonly TreeBuild[], between: () => Promise<void>): Promise<void> {
    for (let turns = 0; builds.some(({ answer }) => answer === null); turns++) {
      if (turns > TURNS_MAX) throw new Error(`no tree after ${turns} turns`);
      this.later.shift()?.();
      await between();
      await turn();
    }
  }
  async built(request: Parameters<TreeWorld['build']>[0]): Promise<TreeAnswer> {
    const building = this.build(request);
    await this.runUntil([building], () => Promise.resolve());
    return building.answer as TreeAnswer;
  }

  hashes(session: number, vnode: number, level: number, indexes: readonly number[]): bigint[] | number {
    const answer = this.trees.nodes({ session, vnode, level, indexes });
    if (answer.status !== Status.OK) return answer.status;
    const view = new DataView(answer.hashes.buffer, answer.hashes.byteOffset, answer.hashes.length);
    return indexes.map((_, i) => view.getBigUint64(i * 8, true));
  }
  leafHashes(session: number, vnode: number): bigint[] {
    const indexes = Array.from({ length: LEAVES }, (_, leaf) => leaf);
    const hashes = this.hashes(session, vnode, LEVELS.length - 1, indexes);
    if (typeof hashes === 'number') throw new Error(`no tree of vnode ${vnode} in session ${session}`);
    return hashes;
  }
  expectTree(session: number, vnode: number, { sums }: Pick<Leaves, 'sums'>): void {
    for (const [level, nodes] of LEVELS.entries()) {
      const wanted = Array.from({ length: nodes }, (_, node) =>
        sums
          .slice((node * LEAVES) / nodes, ((node + 1) * LEAVES) / nodes)
          .reduce((a, b) => (a + b) & BITS_64, 0n),
      );
      const indexes = Array.from({ length: nodes }, (_, node) => node);
      expect(this.hashes(session, vnode, level, indexes), `vnode ${vnode}, level ${level}`).toEqual(wanted);
    }
  }
}

export class TreeBuild {
  answer: TreeAnswer | null = null;
  get status(): number | undefined {
    return this.answer?.status;
  }
}

export async function newWorld(
  random: Random,
  shape: Shape = TREE_SHAPE,
  others: Partial<Pick<TreeWorld, 'bounds' | 'keys'>> = {},
): Promise<TreeWorld> {
  const world = new TreeWorld(newDisk({ seed: random.uint32() }), shape, random);
  Object.assign(world, others);
  await world.start();
  return world;
}
