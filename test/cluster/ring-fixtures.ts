import { firstRing, type RingShape } from '../../src/cluster/ring-change.ts';
import type { RingMap, RingMember } from '../../src/cluster/ring-map.ts';

export function memberOf(number: number, options: Partial<RingMember> = {}): RingMember {
  const nodeId = number.toString(16).padStart(8, '0').padEnd(32, 'a');
  const address = `127.0.0.1:${(number % 60_000) + 1}`;
  return { number, nodeId, address, url: '', rack: 'rack', zone: '', weight: 1, ...options };
}

export function shapeOf(vnodes: number, replicas = 3): RingShape {
  return { clusterName: 'test', clusterId: '0123456789abcdef'.repeat(2), vnodes, replicas };
}

/** Nodes 1 to `count`, dealt to `racks` racks in turn. */
export function ringOf(count: number, vnodes: number, racks = 1, replicas = 3): RingMap {
  const members = Array.from({ length: count }, (_, i) => memberOf(i + 1, { rack: `rack-${i % racks}` }));
  return firstRing(shapeOf(vnodes, replicas), members);
}

/** Vnodes that each member owns, in the order of members. */
export function ownedBy(members: readonly RingMember[], owners: Uint16Array): number[] {
  const owned = members.map(() => 0);
  for (const owner of owners) owned[owner] = (owned[owner] as number) + 1;
  return owned;
}
