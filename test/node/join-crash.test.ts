/**
 * A join of a running node over a disk that fails or loses its power at every call: the node is alone or joins, in memory and at
 * the next start, and what it goes by is whole.
 */

import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { JOINING, resumeJoin } from '../../src/cluster/join-document.ts';
import { beginLoneJoin } from '../../src/cluster/lone-join.ts';
import { firstRing } from '../../src/cluster/ring-change.ts';
import { decodeRing, encodeRing } from '../../src/cluster/ring-codec.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { FileDocuments } from '../../src/node/cluster-documents.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import type { Operation } from '../../src/vfs/simulated-faults.ts';
import { clockOf } from '../base/clocks.ts';
import { testMember } from '../cluster/coordinator-world.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const PARENT = '/data';
const CALLS_MAX = 500;
/** Starts tried from each state of the disk, cut short at a random one of their calls. */
const STARTS = 3;
const START_CALLS = 100;
const OWN = '1'.repeat(32);
const OTHER = '2'.repeat(32);
const SEEDS = ['n2:1', 'n3:1'];

const ring = (clusterId: string, node: number): RingMap =>
  firstRing({ clusterName: 'test', clusterId, vnodes: 16, replicas: 3 }, [testMember(node)]);
/** What a node that is alone has on its disk. */
const LONE: readonly (readonly [name: string, content: Uint8Array])[] = [
  ['generation', Buffer.from('generation')],
  ['versions', Buffer.from('versions')],
  ['ring', encodeRing(ring(OWN, 1))],
  ['ring-member', Buffer.from(OWN)],
  ['ring-acceptor', Buffer.from('votes')],
  ['ring-pulls', Buffer.from('pulls')],
  ['horizons', Buffer.from('horizons')],
  ['repairs', Buffer.from('repairs')],
  ['addresses', Buffer.from('addresses')],
];

/** Lets the disk work until `promise` ends; what it ended with. */
async function outcomeOf(fs: SimulatedFileSystem, promise: Promise<void>): Promise<Error | null> {
  let outcome: Error | null | undefined;
  promise.then(
    () => {
      outcome = null;
    },
    (error: Error) => {
      outcome = error;
    },
  );
  for (let turns = 0; outcome === undefined; turns++) {
    if (turns > CALLS_MAX) throw new Error('it does not end');
    if (fs.crashed) throw new Error('the process has died');
    for (let i = 0; i < 10; i++) await Promise.resolve();
    fs.step();
  }
  return outcome;
}
const save = (documents: FileDocuments, name: string, content: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    documents.save(name, content, (error) => (error === null ? resolve() : reject(error)));
  });

async function loneDisk(random: Random): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ seed: random.uint32() });
  fs.mkdir(PARENT);
  fs.syncDirectory('/');
  const documents = new FileDocuments(fs, PARENT);
  for (const [name, content] of LONE) expect(await outcomeOf(fs, save(documents, name, content))).toBe(null);
  return fs;
}

/** As the peer worker does it: decides, ends what it has, and begins anew from the disk. */
async function join(fs: SimulatedFileSystem): Promise<{ error: Error | null; isHeld: boolean }> {
  const documents = new FileDocuments(fs, PARENT);
  const clock = clockOf(
    () => 1,
    () => 1,
  );
  let isHeld = false;
  const begun = beginLoneJoin(
    {
      self: testMember(1),
      clusterName: 'test',
      vnodes: 16,
      local: {
        page: (_, done) =>
          queueMicrotask(() =>
            done({ status: Status.OK, records: new Uint8Array(0), next: null, message: '' }),
          ),
      },
      hints: { targets: () => new Map() },
      documents,
      clock,
      ring: () => ring(OWN, 1),
      standing: () => 'member',
      isChanging: () => false,
      hold: () => {
        isHeld = true;
        return Promise.resolve();
      },
      release: () => {
        isHeld = false;
      },
      ringOf: () => Promise.resolve(ring(OTHER, 2)),
    },
    SEEDS,
  );
  const error = await outcomeOf(fs, begun);
  if (error !== null) return { error, isHeld };
  await documents.close();
  resumeJoin(new FileDocuments(fs, PARENT));
  return { error, isHeld };
}

/** What a start finds: throws where the node would not start. */
function startOf(fs: SimulatedFileSystem): 'alone' | 'joins' {
  const documents = new FileDocuments(fs, PARENT);
  const seeds = resumeJoin(documents);
  const left = LONE.filter(([name]) => documents.load(name) !== null).map(([name]) => name);
  // What must outlive everything.
  expect(left).toEqual(expect.arrayContaining(['generation', 'versions']));
  if (seeds === null) {
    for (const [name, content] of LONE) expect(documents.load(name), name).toEqual(new Uint8Array(content));
    return 'alone';
  }
  expect(seeds).toEqual(SEEDS);
  expect(left).toEqual(['generation', 'versions']);
  return 'joins';
}

describe(`a join, seed ${seed},`, () => {
  it('leaves a node that is alone or one that joins after a power cut at every call, also in the start after that', async () => {
    const random = new Random(seed);
    const seen = new Set<string>();
    let calls = 0;
    let isDone = false;
    let interrupted = 0;
    for (; !isDone && calls < CALLS_MAX; calls++) {
      const fs = await loneDisk(random);
      fs.resetCounts();
      fs.crashAtCall(calls);
      let isHeld = false;
      let hasBegun = false;
      try {
        const result = await join(fs);
        expect(result.error).toBe(null);
        hasBegun = true;
        isDone = true;
        isHeld = result.isHeld;
      } catch (error) {
        if (!fs.crashed) throw error;
      }
      // The start after it may lose its power as well, at any call of its own.
      for (let i = 0; i < STARTS; i++) {
        const after = fs.powerCut(random);
        after.resetCounts();
        after.crashAtCall(random.below(START_CALLS));
        try {
          startOf(after);
        } catch (error) {
          if (!after.crashed) throw error;
          interrupted++;
        }
        const outcome = startOf(after.powerCut(random));
        seen.add(outcome);
        if (hasBegun) {
          expect(outcome).toBe('joins');
          expect(isHeld).toBe(true);
        }
      }
    }
    expect(calls).toBeLessThan(CALLS_MAX);
    expect(interrupted).toBeGreaterThan(calls);
    expect([...seen].sort()).toEqual(['alone', 'joins']);
  });

  it('is refused, or ends the node, where a call fails: what serves on is alone at the next start, too', async () => {
    const random = new Random(seed);
    const outcomes = new Map<string, number>();
    const operations: readonly Operation[] = [
      'create',
      'write',
      'sync',
      'rename',
      'sync-directory',
      'unlink',
    ];
    for (const operation of operations)
      for (const times of [1, 2, 3, CALLS_MAX])
        for (let after = 0; after < 12; after++) {
          const fs = await loneDisk(random);
          fs.inject({ operation, errno: 'EIO', after, times });
          let what = '';
          try {
            const { error, isHeld } = await join(fs);
            what = error === null ? 'joins' : isHeld ? 'ends' : 'refused';
          } catch {
            // The peer worker ends the process.
            what = 'ends';
          }
          outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
          fs.clearFaults();
          for (const disk of [fs, fs.powerCut(random)]) {
            const next = startOf(disk);
            if (what === 'refused') expect(next, `${operation} ${after} ${times}`).toBe('alone');
            if (what === 'joins') expect(next, `${operation} ${after} ${times}`).toBe('joins');
          }
        }
    expect([...outcomes.keys()].sort()).toEqual(['ends', 'joins', 'refused']);
  });

  it('is over at the first start at which the node is a member of the other cluster, and not before', async () => {
    const random = new Random(seed);
    const fs = await loneDisk(random);
    expect((await join(fs)).error).toBe(null);
    const documents = new FileDocuments(fs, PARENT);
    const theirs = encodeRing(ring(OTHER, 2));
    expect(await outcomeOf(fs, save(documents, 'ring', theirs))).toBe(null);
    const waiting = new FileDocuments(fs.powerCut(random), PARENT);
    expect(resumeJoin(waiting)).toEqual(SEEDS);
    expect(decodeRing(waiting.load('ring') ?? new Uint8Array(0)).clusterId).toBe(OTHER);
    expect(await outcomeOf(fs, save(documents, 'ring-member', Buffer.from(OTHER)))).toBe(null);
    const member = fs.powerCut(random);
    for (let start = 0; start < 2; start++) {
      const found = new FileDocuments(member, PARENT);
      expect(resumeJoin(found)).toBe(null);
      expect(found.load(JOINING)).toBe(null);
      expect(found.load('ring')).toEqual(theirs);
    }
  });

  it('does not start from a document that says nothing', async () => {
    const texts = [
      '',
      '{',
      'null',
      '[]',
      '{"leaves":"","seeds":[]}',
      '{"leaves":1,"seeds":["a:1"]}',
      '{"leaves":"","seeds":[1]}',
      JSON.stringify({ leaves: '', seeds: Array.from({ length: limits.seedsMax + 1 }, () => 'a:1') }),
    ];
    for (const text of texts) {
      const fs = await loneDisk(new Random(seed));
      const documents = new FileDocuments(fs, PARENT);
      expect(await outcomeOf(fs, save(documents, JOINING, Buffer.from(text)))).toBe(null);
      expect(() => resumeJoin(documents), text).toThrow(/document joining/);
    }
  });
});

describe('documents that are closed', () => {
  it('finish what was asked for, and refuse what comes after', async () => {
    const fs = await loneDisk(new Random(seed));
    const documents = new FileDocuments(fs, PARENT);
    const told: string[] = [];
    const tell =
      (name: string) =>
      (error: Error | null): void => {
        told.push(`${name} ${error === null ? 'kept' : error.constructor.name}`);
      };
    documents.save('repairs', Buffer.from('first'), tell('first'));
    documents.save('repairs', Buffer.from('second'), tell('second'));
    const closed = documents.close().then(() => void told.push('closed'));
    documents.save('repairs', Buffer.from('third'), tell('third'));
    expect(await outcomeOf(fs, closed)).toBe(null);
    expect(told).toEqual(['third ClosedError', 'first kept', 'second kept', 'closed']);
    expect(documents.load('repairs')).toEqual(new Uint8Array(Buffer.from('second')));
  });
});
