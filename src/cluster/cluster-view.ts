/** Ring and liveness as the parts of a node see them: what the topology and membership know at the moment. Pure. */
import { UnavailableError } from '../base/errors.ts';
import type { ClusterView, NodeNumber } from './contract.ts';
import type { Membership } from './membership.ts';
import type { RingMap } from './ring-map.ts';
import type { Topology } from './topology.ts';

/** What is asked of other nodes, and of this one the same way. */
export type Calls = Pick<ClusterView, 'replica' | 'askWriter'>;

/** Its `ring` throws UnavailableError until the node knows one. */
export function clusterView(
  self: NodeNumber,
  topology: Pick<Topology, 'ring'>,
  membership: Pick<Membership, 'isUp'>,
  calls: Calls,
): ClusterView {
  return {
    self,
    get ring(): RingMap {
      const { ring } = topology;
      if (ring === null) throw new UnavailableError('this node knows no ring yet');
      return ring;
    },
    isUp: (node) => membership.isUp(node),
    replica: (node) => calls.replica(node),
    askWriter: (node, version, deadlineMs, done) => calls.askWriter(node, version, deadlineMs, done),
  };
}
