/** How many of whom: the arithmetic of quorums over the groups of replicas that an operation has to reach. */
import { type ClusterView, Consistency, type ConsistencyCode, type NodeNumber } from './contract.ts';
import { quorumOf } from './ring-lookup.ts';

export type Groups = readonly (readonly NodeNumber[])[];

/** Replicas of a group of `size` that must take part. */
export function neededOf(consistency: ConsistencyCode, size: number): number {
  if (consistency === Consistency.ONE) return Math.min(1, size);
  return consistency === Consistency.ALL ? size : quorumOf(size);
}

/** So many of a group of `size` that no quorum is without one of them. */
export const blockingOf = (size: number): number => size - quorumOf(size) + 1;

/** The members of all groups, each once. During a change most are in both. */
export function unionOf(groups: Groups): readonly NodeNumber[] {
  const [first = []] = groups;
  if (groups.length === 1) return first;
  const all = [...first];
  for (let g = 1; g < groups.length; g++)
    for (const node of groups[g] ?? []) if (!all.includes(node)) all.push(node);
  return all;
}

/** Whether of each group so many count as `needed` says of its size. */
export function enoughOf(
  groups: Groups,
  counts: (node: NodeNumber) => boolean,
  needed: (size: number) => number,
): boolean {
  return groups.every((group) => group.filter(counts).length >= needed(group.length));
}

/** Whether enough replicas of each group are up for an operation to succeed. */
export function enoughUp(view: ClusterView, groups: Groups, consistency: ConsistencyCode): boolean {
  return enoughOf(
    groups,
    (node) => view.isUp(node),
    (size) => neededOf(consistency, size),
  );
}
