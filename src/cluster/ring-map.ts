/**
 * The ring map: which node owns which vnode, numbered. An immutable value; a change gives a new one with the next
 * number (docs/decisions/0009-replication.md, "A new ring in four steps").
 *
 * 1. `owners[v]` is an index into `members`. Every member with a weight above 0 owns vnodes in proportion, to
 *    within one.
 * 2. Replicas of a vnode: its owner and the owners of the next vnodes clockwise, distinct nodes, distinct racks
 *    while there are enough racks; min(replicas, members with weight above 0) of them.
 */
import type { NodeNumber } from './contract.ts';

export interface RingMember {
  readonly number: NodeNumber;
  /** 32 hexadecimal digits; the first 8 are `number`. */
  readonly nodeId: string;
  /** host:port of the peer listener. */
  readonly address: string;
  /** http://host:port of the front end, for clients; '' where unknown. */
  readonly url: string;
  readonly rack: string;
  /** Zone of the rack: racks of different zones are preferred; '' where there is one. */
  readonly zone: string;
  /** Share of vnodes, 1 by default; 0 owns none. */
  readonly weight: number;
}

export type RingPhase = 'copying' | 'switching';

export interface RingChange {
  readonly kind: 'join' | 'leave' | 'replace' | 'reweigh';
  /** Who joins, leaves, is replaced or weighed anew. */
  readonly node: NodeNumber;
  /** replace: who takes over. Otherwise 0. */
  readonly by: NodeNumber;
  readonly phase: RingPhase;
  /** The members and owners to come. */
  readonly members: readonly RingMember[];
  readonly owners: Uint16Array;
}

export interface RingMap {
  /** From 1, rising by 1. */
  readonly number: number;
  readonly clusterName: string;
  /** 32 hexadecimal digits, made with ring 1: tells clusters of one name apart. */
  readonly clusterId: string;
  readonly vnodes: number;
  /** Copies wanted of each vnode. */
  readonly replicas: number;
  readonly members: readonly RingMember[];
  readonly owners: Uint16Array;
  readonly change: RingChange | null;
}
