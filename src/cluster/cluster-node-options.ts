/** What makes up a ClusterNode (cluster-node.ts), and what it tells of itself. */
import type { ClusterWorld, HintStore, LocalReplica, NodeNumber } from './contract.ts';
import type { RingMember } from './ring-map.ts';

/** Facts that a node tells of itself beside those of the topology (topology-facts.ts). */
export const NodeFact = {
  ID: 'id',
  URL: 'url',
  RACK: 'rack',
  ZONE: 'zone',
  WEIGHT: 'weight',
  DRAINING: 'draining',
} as const;

export interface ClusterNodeOptions {
  readonly world: ClusterWorld;
  readonly local: LocalReplica;
  readonly hints: HintStore;
  /** This node as a member. */
  readonly member: RingMember;
  readonly clusterName: string;
  readonly vnodes: number;
  readonly replicas: number;
  readonly seeds: readonly string[];
  /** The node whose place is wanted; 0 for none. */
  readonly replaces: NodeNumber;
  readonly repairIntervalMs: number;
  /** Highest version in this node's own files. */
  readonly versionMax: number;
  /**
   * The node is about to be one of several. `done` when no request is under way any more that went past the coordinator.
   */
  readonly onCoordinate: (done: () => void) => void;
  /** The id of the cluster is known. */
  readonly onClusterId: (clusterId: string) => void;
  /** Why it does not serve; '' where it does. */
  readonly onNotReady: (reason: string) => void;
}
