/**
 * Builds the trees of a vnode at both sides and finds the leaves that differ, level by level. Pure.
 *
 * A large vnode takes many minutes, so a tree is waited for as long as its replica says that it builds it, and no longer: a request
 * or an answer that was lost, or a replica that hangs, would hold up all other repairs of this node until limits.repairTreeMsMax. One whose build does not say so
 * (features.ts) is waited for until then.
 */
import { deadlineIn } from '../base/clock.ts';
import { TimeoutError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { Replica, ReplicaTree, TreeAnswer, TreeNodesAnswer } from './contract.ts';
import { treeNodesOf, treeOf } from './repair-calls.ts';
import type { RepairSessionOptions } from './repair-options.ts';
import { leavesUnder, TREE_FANOUT, TREE_LEAF_LEVEL } from './repair-ranges.ts';

const HASH_BYTES = 8;

/**
 * Gives what both sides have left out: records that died before. The later of both `now - gc_grace` counts, and
 * `expectedCutoffMs` where that is later still: a side that left out less builds its tree once more.
 */
export async function buildTrees(options: RepairSessionOptions): Promise<number> {
  const { local, remote, tellsOfTrees, session, vnode, clock, expectedCutoffMs } = options;
  const ask = async (replica: Replica, ignoreDeadBeforeMs: number): Promise<number> => {
    const deadlineMs = deadlineIn(clock, limits.repairTreeMsMax);
    const request = { session, vnodes: [vnode], ignoreDeadBeforeMs, deadlineMs };
    const isWatched = tellsOfTrees[replica === local ? 0 : 1] === true;
    const tree = isWatched ? watchedTree(options, replica, request) : treeOf(options, replica, request);
    return (await tree).ignoredDeadBeforeMs;
  };
  const asked = [local, remote].map((replica) => ask(replica, expectedCutoffMs));
  const [ours = 0, theirs = 0] = await Promise.all(asked);
  const cutoffMs = Math.max(ours, theirs);
  if (ours < cutoffMs) await ask(local, cutoffMs);
  if (theirs < cutoffMs) await ask(remote, cutoffMs);
  return cutoffMs;
}

function watchedTree(
  options: RepairSessionOptions,
  replica: Replica,
  request: ReplicaTree,
): Promise<TreeAnswer> {
  const { session, vnode } = options;
  let isOver = false;
  const tree = treeOf(options, replica, request).finally(() => {
    isOver = true;
  });
  const look = (): Promise<TreeNodesAnswer> =>
    new Promise((resolve) => replica.treeNodes({ session, vnode, level: 0, indexes: [0] }, resolve));
  const watch = async (): Promise<TreeAnswer> => {
    let last = '';
    for (let misses = 0; misses < limits.repairTreeMissesMax; ) {
      await options.pause(limits.repairTreeLookMs);
      if (isOver) return tree;
      const { status, message } = await look();
      // OK: it is built, and its answer should be here by now.
      misses = status === Status.OVERLOADED ? 0 : misses + 1;
      last = status === Status.OK ? 'it is built, and no answer came' : message;
    }
    if (isOver) return tree;
    throw new TimeoutError(
      `building a tree: ${limits.repairTreeMissesMax} times in a row the replica did not say that it does: ${last}`,
    );
  };
  return Promise.race([tree, watch()]);
}

/** Neighbouring leaves that are dealt with together. */
export interface LeafRun {
  readonly first: number;
  last: number;
  /** This side holds nothing there that counts, and takes all from the other. */
  readonly isFill: boolean;
}

/** Leaves that differ, in order. Where this side has nothing to compare, nothing is looked into further. */
export async function differingLeaves(options: RepairSessionOptions): Promise<LeafRun[]> {
  const { local, remote, session, vnode, statistics, pullOnly } = options;
  const found: LeafRun[] = [];
  let indexes = [0];
  for (let level = 0; level <= TREE_LEAF_LEVEL && indexes.length > 0; level++) {
    const width = leavesUnder(level);
    const deeper: number[] = [];
    for (let at = 0; at < indexes.length; at += limits.treeNodesPerRequestMax) {
      const some = indexes.slice(at, at + limits.treeNodesPerRequestMax);
      const request = { session, vnode, level, indexes: some };
      const [ours, theirs] = await Promise.all([
        treeNodesOf(options, local, request),
        treeNodesOf(options, remote, request),
      ]);
      statistics.bytesReceived += theirs.hashes.length;
      for (const [i, index] of some.entries()) {
        if (compareHash(ours.hashes, theirs.hashes, i) === 0) continue;
        const isFill = pullOnly && isEmptyHash(ours.hashes, i);
        if (isFill || level === TREE_LEAF_LEVEL)
          found.push({ first: index * width, last: (index + 1) * width - 1, isFill });
        else for (let child = 0; child < TREE_FANOUT; child++) deeper.push(index * TREE_FANOUT + child);
      }
    }
    indexes = deeper;
  }
  return joined(found);
}

function compareHash(a: Uint8Array, b: Uint8Array, index: number): number {
  const [start, end] = [index * HASH_BYTES, (index + 1) * HASH_BYTES];
  return Buffer.compare(a.subarray(start, end), b.subarray(start, end));
}
function isEmptyHash(hashes: Uint8Array, index: number): boolean {
  return hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES).every((byte) => byte === 0);
}

/**
 * Neighbours are gone through by one page after another. Leaves between that are equal are compared as well where they are few:
 * their heads cost less than a request more to each side.
 */
function joined(runs: LeafRun[]): LeafRun[] {
  const result: LeafRun[] = [];
  for (const run of runs.sort((a, b) => a.first - b.first)) {
    const before = result.at(-1);
    const gap = before === undefined ? 0 : run.first - before.last - 1;
    const isNear = gap === 0 || (!run.isFill && gap <= limits.repairLeafGapMax);
    if (before !== undefined && before.isFill === run.isFill && isNear) before.last = run.last;
    else result.push({ ...run });
  }
  return result;
}
