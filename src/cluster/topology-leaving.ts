/**
 * What a change waits for whose end takes a member out: that it has none of the hints any more that it kept for others. From then on
 * nothing that was acknowledged hangs on it, and it may be stopped for good. Peer worker; pure.
 *
 * 1. A node that leaves tells, under the ring that is `switching`, when it keeps no hints: from then on it gets none that count as
 *    copies (mayStandIn in ring-lookup.ts).
 * 2. Nobody waits for one that is down, nor for longer than limits.leaveHintsMsMax by the clock of whoever proposes the last step. What
 *    a node has left then it goes on handing out as long as it runs.
 */
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
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
}

export class TopologyLeaving {
  readonly #world: Pick<ClusterWorld, 'self' | 'clock' | 'log'>;
  readonly #ports: LeavingPorts;
  /** For which ring this node waits, and since when; 0: for none. */
  #ring = 0;
  #sinceMs = 0;

  constructor(world: Pick<ClusterWorld, 'self' | 'clock' | 'log'>, ports: LeavingPorts) {
    this.#world = world;
    this.#ports = ports;
  }

  /** Called from time to time: how far this node is, where it is one that leaves. */
  tell(ring: RingMap): void {
    if (!leavers(ring).includes(this.#world.self)) return;
    const bytes = this.#ports.hintBytes();
    this.#ports.setFact(TopologyFact.LEAVE_HINTS, bytes);
    if (bytes === 0 && ring.change?.phase === 'switching')
      this.#ports.setFact(TopologyFact.HANDED_ON, ring.number);
  }

  /** Whether the change may end: of a ring that is `switching`, when nothing else speaks against it. */
  mayEnd(ring: RingMap): boolean {
    const { clock, log } = this.#world;
    const waiting = leavers(ring).filter(
      (node) => this.#ports.isUp(node) && this.#ports.fact(node, TopologyFact.HANDED_ON) !== ring.number,
    );
    if (waiting.length === 0) return true;
    const nowMs = clock.monotonicMs();
    if (this.#ring !== ring.number) {
      this.#ring = ring.number;
      this.#sinceMs = nowMs;
    }
    if (nowMs - this.#sinceMs < limits.leaveHintsMsMax) return false;
    for (const node of waiting)
      log(
        'warn',
        `node ${nodeName(node)} leaves with hints for others, which it had ${limits.leaveHintsMsMax} ms to hand on: let it run until a drain of it says that none are left`,
      );
    return true;
  }
}
