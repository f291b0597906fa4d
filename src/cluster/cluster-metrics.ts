/** What a node of a cluster counts, for the metrics page: rising numbers since the start of its process, where nothing else is said. */
import type { LocalReads } from '../shard/contract.ts';
import type { CoordinatorMetrics } from './coordinator-metrics.ts';
import type { HintReplayMetrics } from './hint-delivery.ts';
import type { RepairStatistics } from './repair-options.ts';
import type { RpcCounts } from './rpc.ts';
import type { ReplicaServiceCounts } from './rpc-service.ts';

export interface ClusterMetrics {
  readonly hints: Readonly<HintReplayMetrics>;
  readonly coordinator: Readonly<CoordinatorMetrics>;
  readonly repairs: Readonly<RepairStatistics>;
  /** Vnodes that wait for repair now. */
  readonly repairsWaiting: number;
  /** Of calls to other nodes, and of theirs; undefined until the node has begun. */
  readonly calls: Readonly<RpcCounts> | undefined;
  readonly served: Readonly<ReplicaServiceCounts> | undefined;
  /** Undefined where the replica does not tell. */
  readonly readsFrom: Readonly<LocalReads> | undefined;
}
