import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import type { Replica, ReplicaTree, TreeAnswer } from '../../src/cluster/contract.ts';
import { FEATURES, Feature } from '../../src/cluster/features.ts';
import { runRepairSession } from '../../src/cluster/repair-session.ts';
import { FAR_MS } from '../base/clocks.ts';
import type { MemoryReplica } from './memory-replica.ts';
import { recordOf } from './records.ts';
import { RepairHarness, START_MS, textOf } from './repair-harness.ts';
import { RepairCluster } from './repairs-cluster.ts';

const RECORD = recordOf({ key: 'k', version: START_MS * 1000, value: 'v' });

/** A session between two replicas of which the second holds a record, and its tree takes as long as the test wants. */
class SlowTree {
  readonly harness = new RepairHarness(2);
  readonly ended: number[] = [];
  /** Answers the request for a tree that the test holds. */
  answer: () => void = () => undefined;
  pausedMs = 0;
  looks = 0;
  /** What a look at the tree tells, by its number; OK: the tree itself. */
  #look: (look: number) => number;
  result: 'done' | Error | null = null;

  constructor(look: (look: number) => number) {
    this.#look = look;
    this.remote.load([RECORD]);
  }
  get local(): MemoryReplica {
    return this.harness.at(0);
  }
  get remote(): MemoryReplica {
    return this.harness.at(1);
  }
  /** `atLook`: called before each look. */
  async run(atLook: (look: number) => void = () => undefined): Promise<void> {
    const { remote } = this;
    let isHeld = true;
    const slow: Replica = Object.assign(Object.create(remote) as Replica, {
      write: remote.write.bind(remote),
      read: remote.read.bind(remote),
      page: remote.page.bind(remote),
      endTree: (session: number) => {
        this.ended.push(session);
        remote.endTree(session);
      },
      tree: (request: ReplicaTree, done: (answer: TreeAnswer) => void) => {
        this.answer = () => {
          isHeld = false;
          remote.tree(request, done);
        };
      },
      treeNodes: (...[request, done]: Parameters<Replica['treeNodes']>) => {
        const status = isHeld ? this.#look(++this.looks) : Status.OK;
        if (status === Status.OK) remote.treeNodes(request, done);
        else queueMicrotask(() => done({ status, hashes: new Uint8Array(0), message: `status ${status}` }));
      },
    });
    const pause = async (ms: number): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve));
      // The other side's tree is there at once, and is not looked at any more.
      this.pausedMs += ms;
      this.harness.clock.advanceMs(ms);
      atLook(this.looks + 1);
    };
    const options = this.harness.options(this.local, slow, { pause });
    this.result = await runRepairSession(options).then(
      () => 'done' as const,
      (error: Error) => error,
    );
  }
  get isSame(): boolean {
    return textOf(this.local).join() === textOf(this.remote).join();
  }
}

/** Longer than a node that knows of no tree is waited for. */
const BUILD_MS = 2 * limits.repairTreeMissesMax * limits.repairTreeLookMs;

describe('a repair session whose tree takes long', () => {
  it('waits for it as long as the replica says that it builds it', async () => {
    const slow = new SlowTree(() => Status.OVERLOADED);
    await slow.run((look) => {
      if (look === 100) slow.answer();
    });
    expect(slow.result).toBe('done');
    expect(slow.isSame).toBe(true);
  });

  it('waits on through a look or two that tell nothing', async () => {
    const slow = new SlowTree((look) =>
      look % limits.repairTreeMissesMax === 0 ? Status.OVERLOADED : Status.TIMEOUT,
    );
    await slow.run((look) => {
      if (look === 50) slow.answer();
    });
    expect(slow.result).toBe('done');
    expect(slow.isSame).toBe(true);
  });

  for (const [what, status] of [
    ['knows nothing of it: the request was lost', Status.NOT_FOUND],
    ['does not answer', Status.TIMEOUT],
    ['serves nothing', Status.UNAVAILABLE],
  ] as const)
    it(`ends soon, with an error, where the replica ${what}`, async () => {
      const slow = new SlowTree(() => status);
      await slow.run();
      expect(slow.looks).toBe(limits.repairTreeMissesMax);
      expect(slow.pausedMs).toBeLessThan(limits.repairTreeMsMax / 10);
      expect(String(slow.result)).toMatch(
        `3 times in a row the replica did not say that it does: status ${status}`,
      );
      expect(slow.ended).toHaveLength(1);
      expect(slow.local.treeSessions).toBe(0);
    });

  it('ends soon where the tree was built and the answer was lost', async () => {
    const slow = new SlowTree(() => Status.OK);
    // The tree is there, as after a request that was answered.
    slow.remote.tree({ session: 1, vnodes: [0], ignoreDeadBeforeMs: 0, deadlineMs: FAR_MS }, () => undefined);
    await slow.run();
    expect(String(slow.result)).toMatch('it is built, and no answer came');
  });
});

describe('a repair with a node of an earlier build, which says nothing of a tree until it is built', () => {
  for (const [what, features, repaired] of [
    ['waits for it', FEATURES & ~Feature.TREE_PROGRESS, 1],
    ['would give up one of a build that does', Feature.TREE_PROGRESS, 0],
  ] as const)
    it(what, async () => {
      const cluster = new RepairCluster([1, 2]);
      cluster.features.set(2, features);
      const other = cluster.replica(2);
      const build = other.tree.bind(other);
      let isBuilt = false;
      other.tree = (request, done) =>
        cluster.queue.add(cluster.nowMs + BUILD_MS, () => {
          isBuilt = true;
          build(request, done);
        });
      const nodes = other.treeNodes.bind(other);
      other.treeNodes = (request, done) => {
        if (isBuilt) nodes(request, done);
        else done({ status: Status.NOT_FOUND, hashes: new Uint8Array(0), message: 'no tree' });
      };
      cluster.start(1).mark(0);
      await cluster.advance(BUILD_MS + 10_000);
      expect(cluster.repairs.get(1)?.done).toBe(repaired);
    });

  it('gives up a tree of its own all the same', async () => {
    const cluster = new RepairCluster([1, 2]);
    // The transport knows features of other nodes alone.
    for (const node of [1, 2]) cluster.features.set(node, 0);
    const own = cluster.replica(1);
    let asked = 0;
    own.tree = () => {
      asked++;
    };
    own.treeNodes = (_, done) =>
      done({ status: Status.NOT_FOUND, hashes: new Uint8Array(0), message: 'no tree' });
    const repairs = cluster.start(1);
    repairs.mark(0);
    await cluster.until(() => asked > 1, limits.repairTreeMsMax / 10);
    expect(asked).toBeGreaterThan(1);
  });
});
