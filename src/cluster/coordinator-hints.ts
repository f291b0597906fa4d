/**
 * Finds a node that keeps a hint. A stand-in is one of the next nodes clockwise that is no replica of the vnode; where
 * none is left, this node or another replica keeps the hint, which then never counts as a copy: its node has one already. One that
 * leaves the ring does so only where nobody else can.
 * Owned by the thread of the coordinator.
 */
import { deadlineIn } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { BehindWork } from './behind-answers.ts';
import { type NodeNumber, type WriteAnswer, WriteMode } from './contract.ts';
import type { CoordinatorCore } from './coordinator-core.ts';
import { mayStandIn, standIns, stays, writeGroups } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';

/** Stand-ins that hints of one write went to: each counts once. */
export type UsedNodes = NodeNumber[];

/** A live stand-in that was not used yet; 0 where there is none. */
export function freeStandIn(
  core: CoordinatorCore,
  ring: RingMap,
  vnode: number,
  used: UsedNodes,
): NodeNumber {
  for (const node of standIns(ring, vnode)) if (isFree(core, node, used)) return node;
  return 0;
}

export function liveStandIns(core: CoordinatorCore, ring: RingMap, vnode: number, used: UsedNodes): number {
  let count = 0;
  for (const node of standIns(ring, vnode)) if (isFree(core, node, used)) count++;
  return count;
}

/** By the ring of now as well: a request that began under an older one may go on when a node has begun to leave. */
function isFree({ view }: CoordinatorCore, node: NodeNumber, used: UsedNodes): boolean {
  return !used.includes(node) && view.isUp(node) && mayStandIn(view.ring, node);
}

/** Keeps one write for one home replica. `done` learns whether it is kept, and whether by a stand-in that may count. */
export class HintPlacement implements BehindWork {
  readonly #core: CoordinatorCore;
  readonly #ring: RingMap;
  readonly vnode: number;
  readonly #target: NodeNumber;
  readonly #record: Uint8Array;
  readonly #also: Uint8Array | null;
  readonly #used: UsedNodes;
  readonly #mustCount: boolean;
  readonly #done: (kept: boolean, counts: boolean) => void;
  readonly #tried: NodeNumber[] = [];
  #counts = false;

  constructor(
    core: CoordinatorCore,
    ring: RingMap,
    vnode: number,
    target: NodeNumber,
    record: Uint8Array,
    also: Uint8Array | null,
    used: UsedNodes,
    mustCount: boolean,
    done: (kept: boolean, counts: boolean) => void,
  ) {
    this.#core = core;
    this.#ring = ring;
    this.vnode = vnode;
    this.#target = target;
    this.#record = record;
    this.#also = also;
    this.#used = used;
    this.#mustCount = mustCount;
    this.#done = done;
  }

  /** `mustCount`: only a stand-in will do. Sends it; false and nothing sent where no node is left. */
  place(): boolean {
    const isPlaced = this.#send();
    if (isPlaced) this.#core.behind.begin(this);
    return isPlaced;
  }
  #send(): boolean {
    const node = this.#next();
    if (node === 0 && this.#mustCount) return false;
    if (node === 0) {
      this.#core.metrics.hintsLost++;
      this.#core.markForRepair(this.vnode);
      return false;
    }
    this.#tried.push(node);
    const deadlineMs = deadlineIn(this.#core.world.clock, limits.behindMs);
    const write = { record: this.#record, also: this.#also, mode: WriteMode.MERGE, deadlineMs };
    this.#core.view.replica(node).hint(this.#target, write, this.#onAnswer);
    return true;
  }

  #next(): NodeNumber {
    if (this.#tried.length >= limits.hintAttemptsMax) return 0;
    const standIn = freeStandIn(this.#core, this.#ring, this.vnode, this.#used);
    this.#counts = standIn !== 0;
    if (standIn !== 0) {
      this.#used.push(standIn);
      return standIn;
    }
    if (this.#mustCount) return 0;
    const { self, view } = this.#core;
    const others = [self, ...writeGroups(this.#ring, this.vnode).flat()].filter(
      (node) => node !== this.#target && !this.#tried.includes(node) && (node === self || view.isUp(node)),
    );
    return others.find((node) => stays(view.ring, node)) ?? others[0] ?? 0;
  }

  readonly #onAnswer = (answer: WriteAnswer): void => {
    if (answer.status === Status.OK) {
      this.#core.metrics.hintsKept++;
      this.#end(true, this.#counts);
    } else if (!this.#send()) this.#end(false, false);
  };
  #end(kept: boolean, counts: boolean): void {
    this.#done(kept, counts);
    this.#core.behind.end(this);
  }
}
