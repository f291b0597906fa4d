import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random, systemSeed } from '../../src/base/random.ts';
import {
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  type RecordFields,
} from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { TreeAnswer } from '../../src/cluster/contract.ts';
import { ReplicaTrees } from '../../src/shard/replica-trees.ts';
import { newDisk } from '../engine/disk.ts';
import { EngineHarness, fieldsOf, type Put, SHAPE, type Shape } from '../engine/engine-harness.ts';

const seed = systemSeed();
const VNODES = 4;
const GRACE_MS = 3_600_000;
const LEAVES = 4096;
const LEVELS = [1, 16, 256, LEAVES];
const BITS_64 = (1n << 64n) - 1n;
const TREE_SHAPE: Shape = { ...SHAPE, vnodes: VNODES, gcGraceMs: GRACE_MS, arenaBytes: 64 * 1024 };

const vnodeOfHi = (hi: number): number => Math.floor((hi * VNODES) / 2 ** 32);
/** Straight from the contract: XXH64 over keyspace, key, version, origin and flags, what has expired as a tombstone. */
function hashOf({ keyspace, key, version, origin, flags, expiresMs }: RecordFields, nowMs: number): bigint {
  const isDead = (flags & 1) !== 0 || ((flags & 2) !== 0 && expiresMs <= nowMs);
  const tail = Buffer.alloc(13);
  tail.writeDoubleLE(version, 0);
  tail.writeUInt32LE(origin, 8);
  tail[12] = isDead ? 1 : flags;
  hashToken(Buffer.concat([Buffer.from([keyspace]), key, tail]));
  return (BigInt(token.hi) << 32n) | BigInt(token.lo);
}

/** What the replica must hold, and its trees computed from scratch. */
class Model {
  readonly records = new Map<string, RecordFields>();
  put(fields: RecordFields): void {
    this.records.set(`${fields.keyspace} ${Buffer.from(fields.key).toString()}`, { ...fields });
  }
  leaves(vnode: number, nowMs: number, ignoreDeadBeforeMs: number): { sums: bigint[]; records: number } {
    const sums = new Array<bigint>(LEAVES).fill(0n);
    let records = 0;
    for (const record of this.records.values()) {
      const { tokenHi, flags, version, expiresMs, keyspace } = record;
      if (vnodeOfHi(tokenHi) !== vnode) continue;
      const isExpired = (flags & 2) !== 0 && expiresMs <= nowMs;
      if ((flags & 1) !== 0 && version / 1000 < ignoreDeadBeforeMs) continue;
      if (isExpired && (keyspace !== KEYSPACE_USER || expiresMs < ignoreDeadBeforeMs)) continue;
      const leaf = Number((BigInt(tokenHi) * BigInt(VNODES * LEAVES)) >> 32n) % LEAVES;
      sums[leaf] = ((sums[leaf] as bigint) + hashOf(record, nowMs)) & BITS_64;
      records++;
    }
    return { sums, records };
  }
}

class World extends EngineHarness {
  readonly model = new Model();
  readonly later: (() => void)[] = [];
  trees: ReplicaTrees | null = null;
  #version = 0;

  async start(): Promise<void> {
    await this.open();
    this.trees = new ReplicaTrees(this.engine, {
      vnodes: VNODES,
      clock: this.clock,
      gcGraceMs: GRACE_MS,
      defer: (run) => void this.later.push(run),
    });
  }
  get built(): ReplicaTrees {
    if (this.trees === null) throw new Error('not started');
    return this.trees;
  }
  async append(put: Omit<Put, 'version'>, ageMs: number): Promise<void> {
    this.#version++;
    // Rising for each key, since ages only fall over a run.
    const version = (this.clock.nowMs() - ageMs) * 1000 + this.#version;
    const fields = fieldsOf({ ...put, version });
    const name = `${fields.keyspace} ${Buffer.from(fields.key).toString()}`;
    if ((this.model.records.get(name)?.version ?? 0) >= version) return;
    await this.appendWhenTaken(fields);
    this.model.put(fields);
  }
  async appendRandom(random: Random, mayTouch: (vnode: number) => boolean): Promise<void> {
    const key = Buffer.from(`key-${random.below(600)}`);
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
      const expiresMs = random.pick([nowMs - 1, nowMs + 100 * GRACE_MS]);
      await this.append({ key, value, keyspace, expiresMs }, 0);
    }
  }

  /** Runs the slices of what is being built, and something between them. */
  async runSlices(between: () => Promise<void>): Promise<void> {
    while (this.later.length > 0) {
      this.later.shift()?.();
      await between();
    }
  }
  hashes(session: number, vnode: number, level: number, indexes: readonly number[]): bigint[] | number {
    const answer = this.built.nodes({ session, vnode, level, indexes });
    if (answer.status !== Status.OK) return answer.status;
    const view = new DataView(answer.hashes.buffer, answer.hashes.byteOffset, answer.hashes.length);
    return indexes.map((_, i) => view.getBigUint64(i * 8, true));
  }
  expectTree(session: number, vnode: number, { sums }: { sums: readonly bigint[] }): void {
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

const newWorld = async (random: Random, shape: Shape = TREE_SHAPE): Promise<World> => {
  const world = new World(newDisk({ seed: random.uint32() }), shape, random);
  await world.start();
  return world;
};

describe(`hash trees of a replica (seed ${seed})`, () => {
  it('are those that the records held give, over merges, deletions, expiry, purges, restarts and writes meanwhile', async () => {
    let slices = 0;
    for (let round = 0; round < 4; round++) {
      const random = new Random(seed + round);
      const purgeBefore = random.pick([0, Number.POSITIVE_INFINITY]);
      const world = await newWorld(random, { ...TREE_SHAPE, purgeBefore, dial: random.pick([-4, 4]) });
      for (let session = 1; session <= 10; session++) {
        for (let i = 0; i < 150; i++) await world.appendRandom(random, () => true);
        if (random.chance(0.5)) await world.wait(world.engine.flush());
        if (random.chance(0.4)) await world.wait(world.engine.compactAll());
        if (random.chance(0.3)) {
          await world.close();
          await world.start();
        }
        await world.settle();
        const vnodes = [0, 1, 2, 3].filter(() => random.chance(0.7));
        const asked = random.pick([0, world.clock.nowMs() - GRACE_MS / 2]);
        const nowMs = world.clock.nowMs();
        const ignored = Math.max(asked, nowMs - GRACE_MS);
        const wanted = new Map(vnodes.map((vnode) => [vnode, world.model.leaves(vnode, nowMs, ignored)]));
        let answer: TreeAnswer | null = null;
        const request = { session, vnodes, ignoreDeadBeforeMs: asked, deadlineMs: 0 };
        world.built.build(request, (one) => {
          expect(answer).toBeNull();
          answer = one;
        });
        await world.runSlices(async () => {
          slices++;
          await world.appendRandom(random, (vnode) => !vnodes.includes(vnode));
        });
        const records = [...wanted.values()].reduce((sum, one) => sum + one.records, 0);
        expect(answer).toEqual({ status: Status.OK, records, ignoredDeadBeforeMs: ignored, message: '' });
        for (const [vnode, leaves] of wanted) world.expectTree(session, vnode, leaves);
        expect(world.hashes(session, vnodes.includes(0) ? 99 : 0, 0, [0])).toBe(Status.NOT_FOUND);
        if (random.chance(0.5)) {
          world.built.end(session);
          expect(world.hashes(session, vnodes[0] ?? 0, 0, [0])).toBe(Status.NOT_FOUND);
        }
      }
      await world.close();
    }
    expect(slices).toBeGreaterThan(100);
  });

  it('count each record once where the same tree is asked for again while it is being built', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 12 * limits.treeSliceRecords; i++)
      await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.settle();
    const nowMs = world.clock.nowMs();
    const answers: number[] = [];
    const build = (): void =>
      world.built.build({ session: 1, vnodes: [2], ignoreDeadBeforeMs: 0, deadlineMs: 0 }, ({ status }) =>
        answers.push(status),
      );
    build();
    world.later.shift()?.();
    build();
    await world.runSlices(() => Promise.resolve());
    expect(answers).toEqual([Status.OK, Status.OK]);
    world.expectTree(1, 2, world.model.leaves(2, nowMs, nowMs - GRACE_MS));
    await world.close();
  });

  it('make room for newer sessions, and tell those that they were taken from', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 4 * limits.treeSliceRecords; i++)
      await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.settle();
    const answers = new Map<number, number>();
    const build = (session: number): void =>
      world.built.build({ session, vnodes: [1], ignoreDeadBeforeMs: 0, deadlineMs: 0 }, ({ status }) =>
        answers.set(session, status),
      );
    build(0);
    world.later.shift()?.();
    // The first is in the middle of its tree when too many others begin theirs.
    const rest = world.later.splice(0);
    for (let session = 1; session <= limits.treeSessionsMax; session++) build(session);
    await world.runSlices(() => Promise.resolve());
    world.later.push(...rest);
    await world.runSlices(() => Promise.resolve());
    expect(answers.get(0)).toBe(Status.OVERLOADED);
    expect(world.hashes(0, 1, 0, [0])).toBe(Status.NOT_FOUND);
    for (let session = 1; session <= limits.treeSessionsMax; session++) {
      expect(answers.get(session)).toBe(Status.OK);
      expect(world.hashes(session, 1, 0, [0])).not.toBe(Status.NOT_FOUND);
    }
    await world.close();
  });
});
