/**
 * Takes over the vnodes that this node gains by a change of the ring, a few at a time, durably. Peer worker.
 *
 * 1. Only members that hold the `copying` ring durably are sources, and at least as many of the present replicas as every
 *    quorum meets must be. A write that was acknowledged under an older ring reached a quorum of them before they took the new
 *    ring, so one of the sources has it; a write under the new ring reaches the gaining node itself.
 * 2. A vnode counts as done when its pull is complete; the note of that survives a crash, so that a pull is repeated at
 *    worst, never left out. All that is noted belongs to one ring number.
 * 3. When all are done and noted, `finished` is called, and again after each restart.
 */
import { Encoder } from 'cbor-x';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import { type Gain, gains, meetingQuorums } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';

export interface PullResult {
  /** All that a quorum of the present replicas took is durable here. */
  readonly complete: boolean;
  readonly records: number;
  readonly bytes: number;
}
export type Pull = (vnode: number, sources: readonly NodeNumber[]) => Promise<PullResult>;

export interface PullProgress {
  /** The `copying` ring that it is about; 0 for none. */
  readonly ring: number;
  readonly gained: number;
  readonly done: number;
  readonly bytes: number;
  readonly failures: number;
}

interface Waiting {
  readonly gain: Gain;
  failures: number;
  /** Monotonic milliseconds. */
  notBeforeMs: number;
}

const cbor = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
const DOCUMENT = 'ring-pulls';
const NOTHING: PullProgress = { ring: 0, gained: 0, done: 0, bytes: 0, failures: 0 };

export class TopologyPulls {
  readonly #world: Pick<ClusterWorld, 'self' | 'clock' | 'random' | 'documents' | 'log'>;
  readonly #pull: Pull;
  readonly #isSource: (node: NodeNumber, ring: number) => boolean;
  readonly #finished: (ring: number) => void;
  #ring = 0;
  #gained = 0;
  #bytes = 0;
  #failures = 0;
  #quietUntilMs = Number.NEGATIVE_INFINITY;
  #waiting: Waiting[] = [];
  /** Pulls of this ring. */
  #inFlight = 0;
  /** A bit a vnode: done. */
  #done = new Uint8Array(0);
  #doneCount = 0;
  #saving = false;
  #unsaved = false;

  constructor(
    world: Pick<ClusterWorld, 'self' | 'clock' | 'random' | 'documents' | 'log'>,
    pull: Pull,
    isSource: (node: NodeNumber, ring: number) => boolean,
    finished: (ring: number) => void,
  ) {
    this.#world = world;
    this.#pull = pull;
    this.#isSource = isSource;
    this.#finished = finished;
  }

  get progress(): PullProgress {
    if (this.#ring === 0) return NOTHING;
    return {
      ring: this.#ring,
      gained: this.#gained,
      done: this.#doneCount,
      bytes: this.#bytes,
      failures: this.#failures,
    };
  }

  /** The ring changed, or was read at the start. */
  onRing(ring: RingMap): void {
    if (ring.number === this.#ring) return;
    this.#ring = 0;
    this.#waiting = [];
    // Those of an earlier change may take long to end, and hold up none of this one.
    this.#inFlight = 0;
    if (ring.change?.phase !== 'copying') return;
    const gained = gains(ring, this.#world.self);
    if (gained.length === 0) return;
    this.#ring = ring.number;
    this.#gained = gained.length;
    this.#resume(ring);
    this.#waiting = gained
      .filter(({ vnode }) => !this.#isDone(vnode))
      .map((gain) => ({ gain, failures: 0, notBeforeMs: 0 }));
    this.#doneCount = gained.length - this.#waiting.length;
    if (this.#waiting.length === 0) this.#save();
    this.pump();
  }

  /** Starts pulls that can be started; called from time to time. */
  pump(): void {
    const now = this.#world.clock.monotonicMs();
    for (let i = 0; i < this.#waiting.length && this.#inFlight < limits.pullsInFlightMax; ) {
      const one = this.#waiting[i] as Waiting;
      const sources = one.gain.sources.filter((node) => this.#isSource(node, this.#ring));
      if (one.notBeforeMs > now || sources.length < meetingQuorums(one.gain.sources.length)) {
        i++;
        continue;
      }
      this.#waiting.splice(i, 1);
      this.#inFlight++;
      void this.#run(one, sources, this.#ring);
    }
    if (this.#unsaved) this.#save();
  }

  async #run(one: Waiting, sources: readonly NodeNumber[], ring: number): Promise<void> {
    let result: PullResult = { complete: false, records: 0, bytes: 0 };
    let reason = 'not complete';
    try {
      result = await this.#pull(one.gain.vnode, sources);
    } catch (error) {
      reason = (error as Error).message;
    }
    // The change may be over, and another one under way.
    if (ring === this.#ring) {
      this.#inFlight--;
      this.#bytes += result.bytes;
      if (result.complete) this.#note(one.gain.vnode);
      else this.#again(one, reason);
    }
    this.pump();
  }

  #again(one: Waiting, reason: string): void {
    const { clock, random, log } = this.#world;
    this.#failures++;
    const most = Math.min(limits.pullRetryMsMax, limits.pullRetryMsMin * 2 ** Math.min(one.failures, 16));
    one.failures++;
    one.notBeforeMs = clock.monotonicMs() + random.between(Math.ceil(most / 2), most);
    this.#waiting.push(one);
    // One line for all that fail together, when a source is gone.
    if (clock.monotonicMs() < this.#quietUntilMs) return;
    this.#quietUntilMs = clock.monotonicMs() + limits.pullRetryMsMax;
    log('warn', `vnode ${one.gain.vnode} could not be pulled for ring ${this.#ring}: ${reason}`);
  }

  #note(vnode: number): void {
    const at = vnode >>> 3;
    this.#done[at] = (this.#done[at] as number) | (1 << (vnode & 7));
    this.#doneCount++;
    this.#save();
  }

  #isDone(vnode: number): boolean {
    return ((this.#done[vnode >>> 3] as number) & (1 << (vnode & 7))) !== 0;
  }

  #resume(ring: RingMap): void {
    this.#done = new Uint8Array(Math.ceil(ring.vnodes / 8));
    this.#bytes = 0;
    this.#failures = 0;
    const saved = this.#world.documents.load(DOCUMENT);
    if (saved === null) return;
    const [number, bytes, done] = cbor.decode(saved) as [number, number, Uint8Array];
    if (number !== ring.number || done.length !== this.#done.length) return;
    this.#bytes = bytes;
    this.#done.set(done);
  }

  /** One save at a time; what was done meanwhile goes with the next. */
  #save(): void {
    this.#unsaved = true;
    if (this.#saving) return;
    this.#saving = true;
    this.#unsaved = false;
    const ring = this.#ring;
    const all = this.#doneCount === this.#gained;
    const bytes = Uint8Array.from(cbor.encode([ring, this.#bytes, this.#done]));
    this.#world.documents.save(DOCUMENT, bytes, (error) => {
      this.#saving = false;
      if (error !== null) {
        // `pump` tries again.
        this.#unsaved = true;
        this.#world.log('error', `progress of ring ${ring} cannot be kept: ${error.message}`);
        return;
      }
      if (all && ring === this.#ring) this.#finished(ring);
      if (this.#unsaved) this.#save();
    });
  }
}
