/**
 * What a change waits for whose end takes a member out: that it has none of the hints any more that it kept for others, and that nodes that
 * stay know which vnodes it had marked for repair. From then on nothing that was acknowledged hangs on it, and it may be stopped for
 * good. Peer worker; pure.
 *
 * 1. A node that leaves tells, under the ring that is `switching`, when it keeps neither: from then on it gets no hints that count as
 *    copies (mayStandIn in ring-lookup.ts).
 * 2. Nobody waits for one that has been down for limits.leaverDownMsMax, nor for longer than limits.leaveHintsMsMax, both by the clock of
 *    whoever proposes the last step. What a node has left then it goes on handing out as long as it runs.
 */
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import type { HintBlock } from './hint-delivery.ts';
import { nodeName } from './node-name.ts';
import { leavers } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';
import { TopologyFact } from './topology-facts.ts';

export interface LeavingPorts {
  /** As gossip sees it; true for this node. */
  isUp(node: NodeNumber): boolean;
  /** A fact that a node tells of itself; undefined where it is not known. */
  fact(node: NodeNumber, name: string): string | number | undefined;
  setFact(name: string, value: string | number): void;
  /** Bytes of hints that this node keeps for others. */
  hintBytes(): number;
  /** Vnodes that this node has marked for repair and no other is known to see to. */
  marksLeft(): number;
  /** A vnode of whose replicas too few are up to take hints that nobody else may keep; null where there is none. */
  hintBlock(): HintBlock | null;
}

const NODE_NAME = /^[0-9a-f]{8}$/;
/** As a fact: the vnode, and the nodes that are down. */
export const textOfBlock = (block: HintBlock | null): string =>
  block === null ? '' : [block.vnode, ...block.down.map(nodeName)].join(' ');
/** null where it is none, or what another build means by it is not known. */
export function blockOfText(text: unknown): HintBlock | null {
  const [vnode = '', ...names] = typeof text === 'string' ? text.split(' ') : [];
  if (!/^[0-9]{1,5}$/.test(vnode) || !names.every((name) => NODE_NAME.test(name))) return null;
  return { vnode: Number(vnode), down: names.map((name) => Number.parseInt(name, 16)) };
}

export class TopologyLeaving {
  readonly #world: Pick<ClusterWorld, 'self' | 'clock' | 'log'>;
  readonly #ports: LeavingPorts;
  /** For which ring this node waits, and since when; 0: for none. */
  #ring = 0;
  #sinceMs = 0;
  #hasWarned = false;
  /** The most that there was to hand on since this node leaves. */
  #mostBytes = 0;
  #mostMarks = 0;
  /** Members that are down, by since when they have been seen so. */
  #downSinceMs: ReadonlyMap<NodeNumber, number> = new Map();

  constructor(world: Pick<ClusterWorld, 'self' | 'clock' | 'log'>, ports: LeavingPorts) {
    this.#world = world;
    this.#ports = ports;
  }

  /** Called from time to time, also while nothing changes: who is down; and how far this node is, where it is one that leaves. */
  tell(ring: RingMap): void {
    const nowMs = this.#world.clock.monotonicMs();
    const down = ring.members.filter(({ number }) => !this.#ports.isUp(number));
    this.#downSinceMs = new Map(
      down.map(({ number }) => [number, this.#downSinceMs.get(number) ?? nowMs] as const),
    );
    if (leavers(ring).includes(this.#world.self)) this.#tellLeft(ring);
    else {
      this.#mostBytes = 0;
      this.#mostMarks = 0;
    }
  }
  #tellLeft(ring: RingMap): void {
    const ports = this.#ports;
    const bytes = ports.hintBytes();
    const marks = ports.marksLeft();
    this.#mostBytes = Math.max(this.#mostBytes, bytes);
    this.#mostMarks = Math.max(this.#mostMarks, marks);
    ports.setFact(TopologyFact.LEAVE_HINTS, bytes);
    ports.setFact(TopologyFact.LEAVE_HINTS_MOST, this.#mostBytes);
    ports.setFact(TopologyFact.LEAVE_MARKS, marks);
    ports.setFact(TopologyFact.LEAVE_MARKS_MOST, this.#mostMarks);
    ports.setFact(TopologyFact.LEAVE_BLOCK, textOfBlock(ports.hintBlock()));
    if (bytes === 0 && marks === 0 && ring.change?.phase === 'switching')
      ports.setFact(TopologyFact.HANDED_ON, ring.number);
  }

  /** Whether the change may end: of a ring that is `switching`, when nothing else speaks against it. */
  mayEnd(ring: RingMap): boolean {
    const { clock, log } = this.#world;
    const nowMs = clock.monotonicMs();
    const waiting = leavers(ring).filter(
      (node) =>
        nowMs - (this.#downSinceMs.get(node) ?? nowMs) < limits.leaverDownMsMax &&
        this.#ports.fact(node, TopologyFact.HANDED_ON) !== ring.number,
    );
    if (waiting.length === 0) return true;
    if (this.#ring !== ring.number) {
      this.#ring = ring.number;
      this.#sinceMs = nowMs;
      this.#hasWarned = false;
    }
    if (nowMs - this.#sinceMs < limits.leaveHintsMsMax) return false;
    // Asked again until the step is agreed on, which may take as long as members are away.
    if (this.#hasWarned) return true;
    this.#hasWarned = true;
    for (const node of waiting)
      log(
        'warn',
        `node ${nodeName(node)} leaves with hints for others, or vnodes to be repaired, which it had ${limits.leaveHintsMsMax} ms to hand on: let it run until a drain of it says that none are left`,
      );
    return true;
  }
}
