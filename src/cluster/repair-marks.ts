/**
 * Vnodes that a node has marked for repair, and will not repair itself any more, because it leaves the ring or has left it: each goes to a
 * node that stays, which answers when it keeps the mark over a crash. One of the vnode's replicas where one is up, or else any member.
 * Owned by the peer worker; pure.
 *
 * 1. A mark goes from the backlog of the one that leaves only with that answer; the end of the change waits for it (topology-leaving.ts).
 * 2. A node that does not stay takes none: it would have to hand them on in turn, and may have told already that it has none.
 * 3. Nodes whose build knows no marks are sent none. Where no other is up, the one that leaves repairs what it has marked itself (repairs.ts).
 * 4. One message to each node is under way at a time. What is not answered in limits.repairMarksAnswerMs goes to the next node: a vnode
 *    that two repair is repaired twice, and no more.
 */
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import { Feature } from './features.ts';
import { nodeName } from './node-name.ts';
import type { RepairBacklog } from './repair-backlog.ts';
import { comingReplicasOf, type NodeList, stays } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';
import type { RepairMessage } from './ring-messages.ts';

export interface RepairMarksOptions {
  readonly world: Pick<ClusterWorld, 'self' | 'clock' | 'random' | 'log' | 'network'>;
  readonly isUp: (node: NodeNumber) => boolean;
  readonly send: (to: NodeNumber, message: RepairMessage) => void;
}

interface Sent {
  readonly id: number;
  readonly vnodes: readonly number[];
  readonly untilMs: number;
}

export class RepairMarks {
  readonly #options: RepairMarksOptions;
  readonly #sent = new Map<NodeNumber, Sent>();
  /** Messages that were not answered: each further one goes to another of those that could have it. */
  #unanswered = 0;
  /** Answers to others that wait for the disk. */
  #keeping = 0;

  constructor(options: RepairMarksOptions) {
    this.#options = options;
  }

  /** Called from time to time while this node does not stay in the ring, and begins no repair. All but the vnode of one that still runs. */
  handOn(ring: RingMap, backlog: RepairBacklog, repairing: number | null): void {
    const { world, send } = this.#options;
    const nowMs = world.clock.monotonicMs();
    for (const [node, { untilMs }] of this.#sent)
      if (untilMs <= nowMs) {
        this.#sent.delete(node);
        this.#unanswered++;
      }
    const underWay = new Set([...this.#sent.values()].flatMap(({ vnodes }) => vnodes));
    const staying = this.#takers(ring);
    const parts = new Map<NodeNumber, number[]>();
    for (const vnode of backlog.vnodes()) {
      if (underWay.has(vnode) || vnode >= ring.vnodes || vnode === repairing) continue;
      const homes = comingReplicasOf(ring, vnode).filter(this.#mayTake);
      const node = this.#pick(homes.length > 0 ? homes : staying);
      if (node === undefined || this.#sent.has(node)) continue;
      const part = parts.get(node) ?? [];
      if (part.length < limits.repairMarksPerMessageMax) part.push(vnode);
      parts.set(node, part);
    }
    for (const [node, vnodes] of parts) {
      // What is marked again from now on is not what the other node has been told of.
      for (const vnode of vnodes) backlog.begin(vnode);
      // Never that of an earlier process of this node, whose answer may still come.
      const id = (world.random.uint32() >>> 1) | 1;
      this.#sent.set(node, { id, vnodes, untilMs: nowMs + limits.repairMarksAnswerMs });
      send(node, { kind: 'repair-marks', id, vnodes });
    }
  }

  onMessage(
    from: NodeNumber,
    message: RepairMessage,
    ring: RingMap | null,
    backlog: RepairBacklog | null,
  ): void {
    if (backlog === null || ring === null) return;
    if (message.kind === 'repair-marks-kept') this.#onKept(from, message.id, backlog);
    else this.#take(from, message.id, message.vnodes, ring, backlog);
  }

  #onKept(from: NodeNumber, id: number, backlog: RepairBacklog): void {
    const sent = this.#sent.get(from);
    if (sent?.id !== id) return;
    this.#sent.delete(from);
    for (const vnode of sent.vnodes) backlog.done(vnode);
  }

  #take(
    from: NodeNumber,
    id: number,
    vnodes: readonly number[],
    ring: RingMap,
    backlog: RepairBacklog,
  ): void {
    const { world, send } = this.#options;
    if (!stays(ring, world.self) || this.#keeping >= limits.repairMarksKeepingMax) return;
    world.log('info', `node ${nodeName(from)} leaves ${vnodes.length} vnodes to this node for repair`);
    for (const vnode of vnodes) if (vnode < ring.vnodes) backlog.add(vnode);
    this.#keeping++;
    backlog.whenKept(() => {
      this.#keeping--;
      send(from, { kind: 'repair-marks-kept', id });
    });
  }

  /** Whether there is a node to hand them on to now. */
  hasTakers(ring: RingMap): boolean {
    return this.#takers(ring).length > 0;
  }
  #takers(ring: RingMap): NodeNumber[] {
    return (ring.change?.members ?? ring.members).map(({ number }) => number).filter(this.#mayTake);
  }
  readonly #mayTake = (node: NodeNumber): boolean => {
    const { world, isUp } = this.#options;
    return node !== world.self && isUp(node) && (world.network.features(node) & Feature.REPAIR_MARKS) !== 0;
  };
  #pick(nodes: NodeList): NodeNumber | undefined {
    return nodes[this.#unanswered % nodes.length];
  }
}
