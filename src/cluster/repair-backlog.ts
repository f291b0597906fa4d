/**
 * Vnodes that wait for repair, and when all were asked for last: kept in a document, so that neither a crash nor a restart
 * every day makes a node forget what it missed. Owned by the peer worker; pure.
 *
 * The document, little-endian: 8 bytes when the schedule asked last and 8 when this node was last known to run (floats,
 * milliseconds since 1970), then a bit for each vnode that waits.
 */
import { limits } from '../base/limits.ts';
import type { ClusterWorld } from './contract.ts';

const DOCUMENT = 'repairs';
const HEAD_BYTES = 16;

interface Entry {
  failures: number;
  /** By the monotonic clock; before it only where all replicas are up, after a repair that missed one. */
  notBeforeMs: number;
  missesReplica: boolean;
  /** Asked for again since its repair began. */
  isAskedAgain: boolean;
}

export class RepairBacklog {
  readonly #world: Pick<ClusterWorld, 'clock' | 'documents' | 'log'>;
  /** In the order in which they were asked for; at most one entry a vnode. */
  readonly #entries = new Map<number, Entry>();
  readonly #vnodes: number;
  /** Told when the list is kept as it is now. */
  #waiting: (() => void)[] = [];
  #changed = false;
  #saving = false;
  #savedMs = Number.NEGATIVE_INFINITY;
  /** When the schedule asked for all vnodes last; 0: never. */
  askedMs = 0;
  /** When an earlier life of this node was known to run last; 0 where there was none. */
  readonly aliveMs: number = 0;

  constructor(world: Pick<ClusterWorld, 'clock' | 'documents' | 'log'>, vnodes: number) {
    this.#world = world;
    this.#vnodes = vnodes;
    const saved = world.documents.load(DOCUMENT);
    // Of another ring: there is nothing in it for this one.
    if (saved === null || saved.length !== HEAD_BYTES + Math.ceil(vnodes / 8)) return;
    const view = new DataView(saved.buffer, saved.byteOffset, saved.length);
    this.askedMs = view.getFloat64(0, true);
    this.aliveMs = view.getFloat64(8, true);
    for (let vnode = 0; vnode < vnodes; vnode++)
      if (((saved[HEAD_BYTES + (vnode >>> 3)] as number) & (1 << (vnode & 7))) !== 0) this.add(vnode);
  }

  get size(): number {
    return this.#entries.size;
  }
  vnodes(): IterableIterator<number> {
    return this.#entries.keys();
  }
  /** Whatever happened before, it is due now. */
  add(vnode: number): void {
    const known = this.#entries.get(vnode);
    if (known !== undefined) {
      known.notBeforeMs = 0;
      known.isAskedAgain = true;
    } else
      this.#entries.set(vnode, { failures: 0, notBeforeMs: 0, missesReplica: false, isAskedAgain: false });
    this.#changed = true;
  }
  /** Its repair begins, or another node is told of it: what is missed from now on asks for another. */
  begin(vnode: number): void {
    const known = this.#entries.get(vnode);
    if (known !== undefined) known.isAskedAgain = false;
  }
  /** It was repaired with all its replicas, or another node sees to that. */
  done(vnode: number): void {
    const isAskedAgain = this.#entries.get(vnode)?.isAskedAgain === true;
    this.#entries.delete(vnode);
    if (isAskedAgain) this.add(vnode);
    this.#changed = true;
  }
  /** Tried again after a pause that doubles, behind the others. What was missed meanwhile waits no longer than after a first failure. */
  failed(vnode: number, missesReplica: boolean): void {
    const known = this.#entries.get(vnode);
    const failures = known?.isAskedAgain === true ? 1 : (known?.failures ?? 0) + 1;
    const pauseMs = Math.min(limits.repairRetryIntervalMs, limits.repairTickMs * 2 ** Math.min(failures, 16));
    const notBeforeMs = this.#world.clock.monotonicMs() + pauseMs;
    this.#entries.delete(vnode);
    this.#entries.set(vnode, { failures, notBeforeMs, missesReplica, isAskedAgain: false });
  }
  /** The first that is due; null where none is. */
  next(allUp: (vnode: number) => boolean): number | null {
    const nowMs = this.#world.clock.monotonicMs();
    for (const [vnode, { notBeforeMs, missesReplica }] of this.#entries)
      if (notBeforeMs <= nowMs || (missesReplica && allUp(vnode))) return vnode;
    return null;
  }

  /** `done` once all that waits now does so after a crash as well: with the next call of `save` that succeeds. */
  whenKept(done: () => void): void {
    this.#waiting.push(done);
  }

  /** The same without waiting for a call of `save`: at once where nothing has changed. */
  keep(done: () => void): void {
    if (!this.#changed && !this.#saving && this.#waiting.length === 0) {
      done();
      return;
    }
    this.whenKept(done);
    this.save();
  }

  /** Called from time to time: keeps what changed, and that this node runs. */
  save(): void {
    const { clock, documents, log } = this.#world;
    const nowMs = clock.monotonicMs();
    const everyMs = this.#changed ? limits.repairSaveMs : limits.repairAliveMs;
    const isDue = this.#waiting.length > 0 || nowMs - this.#savedMs >= everyMs;
    if (this.#saving || !isDue) return;
    const waiting = this.#waiting.splice(0);
    this.#saving = true;
    this.#changed = false;
    this.#savedMs = nowMs;
    const bytes = new Uint8Array(HEAD_BYTES + Math.ceil(this.#vnodes / 8));
    const view = new DataView(bytes.buffer);
    view.setFloat64(0, this.askedMs, true);
    view.setFloat64(8, clock.nowMs(), true);
    for (const vnode of this.#entries.keys()) {
      const at = HEAD_BYTES + (vnode >>> 3);
      bytes[at] = (bytes[at] as number) | (1 << (vnode & 7));
    }
    documents.save(DOCUMENT, bytes, (error) => {
      this.#saving = false;
      if (error === null) {
        for (const done of waiting) done();
        // Who came meanwhile need not wait for the next call, after which there may be none.
        if (this.#waiting.length > 0) this.save();
        return;
      }
      this.#waiting.unshift(...waiting);
      this.#changed = true;
      log('warn', `what waits for repair cannot be kept: ${error.message}`);
    });
  }
}
