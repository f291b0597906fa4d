/** Builds the trees of a vnode at both sides and finds the leaves that differ, level by level. Pure. */
import { limits } from '../base/limits.ts';
import type { Replica } from './contract.ts';
import { treeNodesOf, treeOf } from './repair-calls.ts';
import { TREE_FANOUT, TREE_LEAF_LEVEL } from './repair-ranges.ts';
import type { RepairSessionOptions } from './repair-session.ts';

const HASH_BYTES = 8;

/**
 * Gives what both sides have left out: records that died before. The later of both `now - gc_grace` counts, and
 * `expectedCutoffMs` where that is later still: a side that left out less builds its tree once more.
 */
export async function buildTrees(options: RepairSessionOptions): Promise<number> {
  const { local, remote, session, vnode, clock, expectedCutoffMs } = options;
  const ask = async (replica: Replica, ignoreDeadBeforeMs: number): Promise<number> => {
    const deadlineMs = clock.nowMs() + limits.repairTreeMsMax;
    const request = { session, vnodes: [vnode], ignoreDeadBeforeMs, deadlineMs };
    return (await treeOf(options, replica, request)).ignoredDeadBeforeMs;
  };
  const asked = [local, remote].map((replica) => ask(replica, expectedCutoffMs));
  const [ours = 0, theirs = 0] = await Promise.all(asked);
  const cutoffMs = Math.max(ours, theirs);
  if (ours < cutoffMs) await ask(local, cutoffMs);
  if (theirs < cutoffMs) await ask(remote, cutoffMs);
  return cutoffMs;
}

/** Runs of neighbouring leaves that differ, first to last. */
export async function differingLeaves(
  options: RepairSessionOptions,
): Promise<[first: number, last: number][]> {
  const { local, remote, session, vnode, statistics } = options;
  let indexes = [0];
  for (let level = 0; ; level++) {
    const differing: number[] = [];
    for (let at = 0; at < indexes.length; at += limits.treeNodesPerRequestMax) {
      const some = indexes.slice(at, at + limits.treeNodesPerRequestMax);
      const request = { session, vnode, level, indexes: some };
      const [ours, theirs] = await Promise.all([
        treeNodesOf(options, local, request),
        treeNodesOf(options, remote, request),
      ]);
      statistics.bytesReceived += theirs.hashes.length;
      for (const [i, index] of some.entries())
        if (!sameHash(ours.hashes, theirs.hashes, i)) differing.push(index);
    }
    if (level === TREE_LEAF_LEVEL) return runsOf(differing);
    indexes = differing.flatMap((index) =>
      Array.from({ length: TREE_FANOUT }, (_, i) => index * TREE_FANOUT + i),
    );
    if (indexes.length === 0) return [];
  }
}

function sameHash(a: Uint8Array, b: Uint8Array, index: number): boolean {
  for (let i = index * HASH_BYTES; i < (index + 1) * HASH_BYTES; i++) if (a[i] !== b[i]) return false;
  return true;
}

function runsOf(leaves: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const leaf of leaves) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === leaf - 1) last[1] = leaf;
    else runs.push([leaf, leaf]);
  }
  return runs;
}
