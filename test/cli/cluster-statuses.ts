/** Parts of what a server says of its cluster. */
import type { ClusterStatus, NodeStatus } from '../../src/cluster/administration.ts';

/** Nothing to repair, and nothing was. */
export const QUIET: ClusterStatus['repair'] = {
  running: false,
  vnodesWaiting: 0,
  vnodesDone: 0,
  recordsSent: 0,
  recordsReceived: 0,
  resurrections: 0,
  lastEndMs: 0,
  waitsFor: [],
};

export const idOf = (node: number): string => node.toString(16).padStart(8, '0').padEnd(32, '0');
export const nodeOf = (node: number, over: Partial<NodeStatus> = {}): NodeStatus => ({
  nodeId: idOf(node),
  address: `127.0.0.1:${9080 + node}`,
  url: '',
  rack: 'default',
  weight: 1,
  state: 'up',
  member: true,
  vnodes: 1,
  replicas: 1,
  ring: 4,
  gains: 0,
  gained: 0,
  gainedBytes: 0,
  leaveHintBytes: 0,
  leaveHintBytesMost: 0,
  leaveMarks: 0,
  leaveMarksMost: 0,
  hintBytes: 0,
  ...over,
});
/** Three members, of which the first answers, and no change under way. */
export const statusOf = (ring: number, over: Partial<ClusterStatus> = {}): ClusterStatus => ({
  clusterName: 'ringkv',
  clusterId: '0'.repeat(32),
  ring,
  vnodes: 16,
  replicas: 3,
  self: idOf(1),
  nodes: [nodeOf(1), nodeOf(2), nodeOf(3)],
  refusal: '',
  change: null,
  repair: QUIET,
  ...over,
});
/** The third node leaves. */
export const leaving = (waitsFor: readonly string[], over: Partial<ClusterStatus> = {}): ClusterStatus =>
  statusOf(5, { change: { kind: 'leave', node: idOf(3), by: '', phase: 'switching', waitsFor }, ...over });
/** It has left. */
export const GONE: readonly NodeStatus[] = [nodeOf(1), nodeOf(2), nodeOf(3, { member: false })];
