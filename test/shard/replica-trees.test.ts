import { describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { UnavailableError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type { Job } from '../../src/engine/contract.ts';
import { StopFlag } from '../../src/ipc/stop-flag.ts';
import { type TreeBounds, treeBounds } from '../../src/shard/tree-heads.ts';
import { DIRECTORY } from '../engine/engine-harness.ts';
import { testSeed } from '../seed.ts';
import { GRACE_MS, newWorld, TREE_SHAPE, type TreeWorld } from './tree-world.ts';

const seed = testSeed();
const NOTHING = (): Promise<void> => Promise.resolve();

/** By turns those of the product, and ones with which a tree takes many parts. */
const boundsOf = (round: number, random: Random): TreeBounds =>
  round % 2 === 0
    ? treeBounds()
    : {
        sliceRecords: random.between(1, 10),
        headsBytes: random.between(60, 500),
        partBytes: random.between(1, 5000),
      };

/** Holds tree jobs until they are let go. */
function holdJobs(world: TreeWorld): { readonly held: Job[]; release: () => void } {
  const go: (() => void)[] = [];
  const state = {
    held: [] as Job[],
    release: (): void => {
      state.held.length = 0;
      for (const one of go.splice(0)) one();
    },
  };
  world.beforeJob = async (job) => {
    if (job.kind !== 'tree') return;
    state.held.push(job);
    await new Promise<void>((done) => go.push(done));
  };
  return state;
}

describe(`hash trees of a replica (seed ${seed})`, () => {
  it('say of a tree that is being built, or waits for its turn, that it is, and of others that they are not there', async () => {
    const world = await newWorld(new Random(seed), TREE_SHAPE);
    const gate = holdJobs(world);
    const builds = [1, 2].map((session) =>
      world.build({ session, vnodes: [session], ignoreDeadBeforeMs: 0 }),
    );
    const look = (session: number, vnode: number): number =>
      world.trees.nodes({ session, vnode, level: 0, indexes: [0] }).status;
    await world.wait(NOTHING());
    expect([look(1, 1), look(2, 2)]).toEqual([Status.OVERLOADED, Status.OVERLOADED]);
    expect([look(1, 2), look(3, 1)]).toEqual([Status.NOT_FOUND, Status.NOT_FOUND]);
    world.trees.end(2);
    expect(look(2, 2)).toBe(Status.NOT_FOUND);
    await world.runUntil(builds, async () => gate.release());
    expect([look(1, 1), look(2, 2)]).toEqual([Status.OK, Status.NOT_FOUND]);
    await world.close();
  });

  it('are those that the records held give, over merges, deletions, expiry, purges, restarts and writes meanwhile', async () => {
    let jobs = 0;
    for (let round = 0; round < 4; round++) {
      const random = new Random(seed + round);
      const purgeBefore = random.pick([0, Number.POSITIVE_INFINITY]);
      const shape = { ...TREE_SHAPE, purgeBefore, dial: random.pick([-4, 4]) };
      const world = await newWorld(random, shape, { bounds: boundsOf(round, random) });
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
        const gate = holdJobs(world);
        const build = world.build({ session, vnodes, ignoreDeadBeforeMs: asked });
        await world.runUntil([build], async () => {
          await world.appendRandom(random, (vnode) => !vnodes.includes(vnode));
          if (random.chance(0.1)) await world.wait(world.engine.flush());
          if (random.chance(0.05)) await world.wait(world.engine.compactAll());
          jobs += gate.held.length;
          if (random.chance(0.7)) gate.release();
        });
        const records = [...wanted.values()].reduce((sum, one) => sum + one.records, 0);
        expect(build.answer).toEqual({
          status: Status.OK,
          records,
          ignoredDeadBeforeMs: ignored,
          message: '',
        });
        for (const [vnode, leaves] of wanted) world.expectTree(session, vnode, leaves);
        expect(world.hashes(session, vnodes.includes(0) ? 99 : 0, 0, [0])).toBe(Status.NOT_FOUND);
        if (random.chance(0.5)) {
          world.trees.end(session);
          expect(world.hashes(session, vnodes[0] ?? 0, 0, [0])).toBe(Status.NOT_FOUND);
        }
      }
      world.beforeJob = null;
      await world.close();
    }
    expect(jobs).toBeGreaterThan(50);
  });

  it('show of each key a state that it had between the request and the answer, while all keys are written, flushed and merged', async () => {
    let changed = 0;
    // On, until some of what was written meanwhile was in.
    for (let round = 0; round < 6 || (changed === 0 && round < 100); round++) {
      const random = new Random(seed + 100 + round);
      const shape = { ...TREE_SHAPE, purgeBefore: random.pick([0, Number.POSITIVE_INFINITY]) };
      const world = await newWorld(random, shape, {
        bounds: boundsOf(round, random),
        keys: random.pick([40, 600]),
      });
      for (let session = 1; session <= 8; session++) {
        for (let i = 0; i < 100; i++) await world.appendRandom(random, () => true);
        if (random.chance(0.5)) await world.wait(world.engine.flush());
        await world.settle();
        const nowMs = world.clock.nowMs();
        const ignored = nowMs - GRACE_MS;
        const mayBe = world.model.watch();
        const first = world.model.leaves(session % 4, nowMs, ignored).sums;
        const gate = holdJobs(world);
        const build = world.build({ session, vnodes: [session % 4] });
        await world.runUntil([build], async () => {
          for (let i = random.below(20); i > 0; i--) await world.appendRandom(random, () => true);
          if (random.chance(0.3)) await world.wait(world.engine.flush());
          if (random.chance(0.15)) await world.wait(world.engine.compactAll());
          if (random.chance(0.5)) gate.release();
        });
        expect(build.status).toBe(Status.OK);
        const sums = mayBe(session % 4, [nowMs, world.clock.nowMs()], ignored);
        for (const [leaf, hash] of world.leafHashes(session, session % 4).entries()) {
          expect(sums[leaf]?.has(hash), `round ${round}, session ${session}, leaf ${leaf}`).toBe(true);
          if (hash !== first[leaf]) changed++;
        }
      }
      world.beforeJob = null;
      await world.close();
    }
    expect(changed).toBeGreaterThan(0);
  });

  it('count each record once where the same tree is asked for again while it is being built', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 3000; i++) await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.settle();
    const nowMs = world.clock.nowMs();
    const builds = [1, 1].map((session) => world.build({ session, vnodes: [2] }));
    await world.runUntil(builds, NOTHING);
    expect(builds.map(({ status }) => status)).toEqual([Status.OK, Status.OK]);
    world.expectTree(1, 2, world.model.leaves(2, nowMs, nowMs - GRACE_MS));
    await world.close();
  });

  it('make room for newer sessions, and tell those that they were taken from', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 2000; i++) await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.settle();
    const gate = holdJobs(world);
    const first = world.build({ session: 0, vnodes: [1] });
    await world.settle();
    expect(gate.held).toHaveLength(1);
    // The first is in the middle of its tree when too many others begin theirs.
    const rest = Array.from({ length: limits.treeSessionsMax }, (_, i) =>
      world.build({ session: i + 1, vnodes: [1] }),
    );
    world.beforeJob = null;
    gate.release();
    await world.runUntil([first, ...rest], NOTHING);
    expect(first.status).toBe(Status.OVERLOADED);
    expect(world.hashes(0, 1, 0, [0])).toBe(Status.NOT_FOUND);
    for (const [i, { status }] of rest.entries()) {
      expect(status).toBe(Status.OK);
      expect(world.hashes(i + 1, 1, 0, [0])).not.toBe(Status.NOT_FOUND);
    }
    await world.close();
  });

  it('are given up when their session ends: the job that runs, and what waits behind it', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 500; i++) await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.settle();
    const gate = holdJobs(world);
    const ended = [world.build({ session: 1, vnodes: [0, 1] }), world.build({ session: 1, vnodes: [2] })];
    const other = world.build({ session: 2, vnodes: [3] });
    await world.settle();
    const [job] = gate.held;
    world.trees.end(1);
    expect(ended[1]?.status, 'what waits is answered at once').toBe(Status.OVERLOADED);
    if (job?.kind !== 'tree') throw new Error('no tree job waits');
    expect(new StopFlag(job.part.tree.cancel).raised).toBe(true);
    world.beforeJob = null;
    gate.release();
    await world.runUntil([...ended, other], NOTHING);
    expect(ended[0]?.answer).toMatchObject({ status: Status.OVERLOADED, records: 0 });
    expect(other.status).toBe(Status.OK);
    // A session of the same number is another one, whose trees are its own.
    expect((await world.built({ session: 1, vnodes: [0] })).status).toBe(Status.OK);
    expect(world.hashes(1, 1, 0, [0])).toBe(Status.NOT_FOUND);
    await world.close();
  });

  it('that are done when their session has ended count for nothing', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 20; i++) await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.settle();
    const { engine } = world;
    const sum = engine.sumTree.bind(engine);
    engine.sumTree = async (part) => {
      const sums = await sum(part);
      world.trees.end(1);
      return sums;
    };
    expect(await world.built({ session: 1, vnodes: [0, 1, 2, 3] })).toMatchObject({
      status: Status.OVERLOADED,
      records: 0,
    });
    expect(world.hashes(1, 0, 0, [0])).toBe(Status.NOT_FOUND);
    await world.close();
  });

  it('are built one at a time, and no more wait than their limit', async () => {
    const world = await newWorld(new Random(seed));
    const gate = holdJobs(world);
    const builds = Array.from({ length: limits.treeBuildsMax + 2 }, (_, i) =>
      world.build({ session: i % 5, vnodes: [i % 4] }),
    );
    expect(builds.at(-1)?.answer).toMatchObject({
      status: Status.OVERLOADED,
      message: `${limits.treeBuildsMax} trees wait to be built; the limit is ${limits.treeBuildsMax}`,
    });
    let most = 0;
    await world.runUntil(builds, () => {
      most = Math.max(most, gate.held.length);
      gate.release();
      return Promise.resolve();
    });
    expect(most).toBe(1);
    expect(builds.filter(({ status }) => status === Status.OK)).toHaveLength(limits.treeBuildsMax + 1);
    await world.close();
  });

  it('that are not built by their deadline are given up', async () => {
    const world = await newWorld(new Random(seed));
    const gate = holdJobs(world);
    const late = world.build({ session: 1, vnodes: [0], deadlineMs: deadlineIn(world.clock, 1000) });
    const next = world.build({ session: 1, vnodes: [1] });
    await world.settle();
    world.advance(1000);
    world.beforeJob = null;
    gate.release();
    await world.runUntil([late, next], NOTHING);
    expect(late.status).toBe(Status.TIMEOUT);
    expect(next.status).toBe(Status.OK);
    await world.close();
  });

  it('of vnodes that a damaged table covers fail with its error, which the log tells once, and others are built', async () => {
    const random = new Random(seed);
    const world = await newWorld(random);
    const filled = (vnode: number) => world.appendRandom(random, (one) => one === vnode);
    for (let i = 0; i < 400; i++) await filled(1);
    await world.wait(world.engine.flush());
    await world.wait(world.engine.compactAll());
    const [damaged] = world.disk.readdir(DIRECTORY).filter((name) => name.endsWith('.sst'));
    if (damaged === undefined) throw new Error('no table was written');
    world.disk.flipBit(`${DIRECTORY}/${damaged}`, 2000);
    for (let i = 0; i < 400; i++) await filled(3);
    await world.settle();
    world.events.length = 0;
    for (const session of [1, 2]) {
      const answer = await world.built({ session, vnodes: [1] });
      expect(answer.status).toBe(Status.CORRUPTION);
      expect(answer.message).toContain(damaged);
      expect(world.hashes(session, 1, 0, [0])).toBe(Status.NOT_FOUND);
    }
    expect(world.events.filter((event) => event.startsWith('error: '))).toHaveLength(1);
    const nowMs = world.clock.nowMs();
    expect((await world.built({ session: 3, vnodes: [3] })).status).toBe(Status.OK);
    world.expectTree(3, 3, world.model.leaves(3, nowMs, nowMs - GRACE_MS));
    // The same where the table was found damaged when the shard was opened.
    await world.close();
    world.disk.unlink(`${DIRECTORY}/${damaged}`);
    await world.start();
    expect((await world.built({ session: 1, vnodes: [1] })).message).toContain('ENOENT');
    expect((await world.built({ session: 1, vnodes: [3] })).status).toBe(Status.OK);
    await world.close();
  });

  it('fail, and hold nothing of theirs, where the background thread dies under their job', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 100; i++) await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.wait(world.engine.flush());
    world.beforeJob = (job) =>
      job.kind === 'tree'
        ? Promise.reject(new UnavailableError('a background job failed'))
        : Promise.resolve();
    expect(await world.built({ session: 1, vnodes: [0] })).toMatchObject({
      status: Status.UNAVAILABLE,
      message: 'a background job failed',
    });
    world.beforeJob = null;
    for (let i = 0; i < 100; i++) await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.wait(world.engine.compactAll());
    await world.settle();
    // What the failed job read was given back: only the merged table is still there.
    expect(world.disk.readdir(DIRECTORY).filter((name) => name.endsWith('.sst'))).toHaveLength(
      world.engine.stats().tables,
    );
    const nowMs = world.clock.nowMs();
    expect((await world.built({ session: 1, vnodes: [0] })).status).toBe(Status.OK);
    world.expectTree(1, 0, world.model.leaves(0, nowMs, nowMs - GRACE_MS));
    await world.close();
  });

  it('keep the tables that their job reads, merged away or not, and end before a shard has closed', async () => {
    const world = await newWorld(new Random(seed));
    for (let i = 0; i < 200; i++)
      await world.append({ key: Buffer.from(`k${i}`), value: Buffer.alloc(100) }, 0);
    await world.wait(world.engine.flush());
    const gate = holdJobs(world);
    const build = world.build({ session: 1, vnodes: [0] });
    await world.settle();
    const [job] = gate.held;
    if (job?.kind !== 'tree') throw new Error('no tree job waits');
    // What lies in tables alone is not for the shard's thread to read.
    expect(job.part.heads).toHaveLength(0);
    const names = world.disk.readdir(DIRECTORY);
    for (let i = 0; i < 200; i++) await world.append({ key: Buffer.from(`k${i}`) }, 0);
    await world.wait(world.engine.compactAll());
    await world.settle();
    expect(job.tables.length).toBeGreaterThan(0);
    expect(world.disk.readdir(DIRECTORY)).toEqual(
      expect.arrayContaining(names.filter((name) => name.endsWith('.sst'))),
    );
    let isClosed = false;
    const closed = world.engine.close().then(() => {
      isClosed = true;
    });
    await world.settle();
    expect(isClosed).toBe(false);
    expect(new StopFlag(job.stop).raised).toBe(true);
    gate.release();
    await world.wait(closed);
    await world.runUntil([build], NOTHING);
    expect(build.status).toBe(Status.SHARD_DOWN);
    expect(world.disk.openPaths.filter((path) => path.endsWith('.sst'))).toEqual([]);
  });
});
