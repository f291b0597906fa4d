/**
 * The repairs of one node: pulls of vnodes that it gains, and comparisons of the vnodes that it holds with all their other
 * replicas, on demand, on a schedule, and where something was missed. Owned by the peer worker; pure.
 *
 * 1. The horizon of a vnode is the start of its last repair in which this node compared itself with every other replica, under
 *    one ring, both ways, less twice limits.hintAgeMsMax (hint-handover.ts) and limits.repairHorizonMarginMs: what is older and was
 *    not exchanged then can come by no hint and no message any more. Only older tombstones may go (LocalReplica.setPurgeBefore). It is kept
 *    in a document, behind what the replica is told: after a crash it is an earlier repair's, and never a later one's.
 * 2. While the ring changes, nothing may be purged at all.
 * 3. A node that gains a vnode which it had before may still hold what was deleted since, its tombstone long gone. What it
 *    alone holds, and no quorum of the owners, is therefore buried, unless it is younger than the change.
 * 4. A vnode that was asked for or marked waits until it was repaired with all its replicas, over crashes and restarts. A node
 *    that was away longer than hints are kept asks for all that it holds.
 * 5. One that this node holds no replica of, but has missed something for, it repairs between those that do.
 * 6. A node that leaves the ring, or has left it, repairs nothing any more: what waits goes to nodes that stay (repair-marks.ts). It
 *    does only where the builds of all those that are up know no marks.
 * 7. One vnode at a time; bytes moved are limited by limits.repairBytesPerSecondDefault.
 */
import { defined } from '../base/assert.ts';
import { deadlineIn } from '../base/clock.ts';
import { UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { PeerStatus, Status } from '../base/status.ts';
import {
  type ClusterWorld,
  type LocalReplica,
  type NodeNumber,
  type Replica,
  WriteMode,
} from './contract.ts';
import { Feature } from './features.ts';
import { RepairBacklog } from './repair-backlog.ts';
import { errorOf, writeTo } from './repair-calls.ts';
import { Leftovers } from './repair-leftovers.ts';
import { RepairMarks } from './repair-marks.ts';
import { newRepairStatistics, type RepairStatistics } from './repair-options.ts';
import { runRepairSession } from './repair-session.ts';
import { meetingQuorums, readReplicas, stays, writeGroups, writeReplicas } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';
import type { RepairMessage } from './ring-messages.ts';
import type { PullResult } from './topology-pulls.ts';

export interface RepairsOptions {
  readonly world: ClusterWorld;
  readonly local: LocalReplica;
  readonly replica: (node: NodeNumber) => Replica;
  readonly isUp: (node: NodeNumber) => boolean;
  readonly ring: () => RingMap | null;
  readonly send: (to: NodeNumber, message: RepairMessage) => void;
  readonly settle: (key: Uint8Array, tokenHi: number, tokenLo: number) => Promise<void>;
  /** 0: never on a schedule. */
  readonly intervalMs: number;
}

const DOCUMENT = 'horizons';
const FLOAT_BYTES = 8;
const SECOND_MS = 1000;

export class Repairs {
  readonly statistics: RepairStatistics = newRepairStatistics();
  readonly #options: RepairsOptions;
  readonly #marks: RepairMarks;
  /** null until the ring is known. */
  #backlog: RepairBacklog | null = null;
  /** `now - gc_grace` as the replicas see it, less this node's clock; null: not heard of yet. */
  #cutoffOffsetMs: number | null = null;
  #horizons = new Float64Array(0);
  /** The vnode that is being repaired. */
  #repairing: number | null = null;
  #stopped = false;
  #done = 0;
  #lastEndMs = 0;
  #pacedUntilMs = 0;
  #saving = false;
  #unsaved = false;
  #cancelTick: () => void = () => undefined;

  constructor(options: RepairsOptions) {
    this.#options = options;
    this.#marks = new RepairMarks(options);
  }

  get running(): boolean {
    return this.waiting > 0;
  }
  get waiting(): number {
    return this.#backlog?.size ?? 0;
  }
  /** Those that wait. */
  vnodes(): Iterable<number> {
    return this.#backlog?.vnodes() ?? [];
  }
  get done(): number {
    return this.#done;
  }
  get lastEndMs(): number {
    return this.#lastEndMs;
  }

  start(): void {
    this.#tick();
  }
  stop(): void {
    this.#stopped = true;
    this.#cancelTick();
  }

  /** Takes up the ring: what this node holds under it, and what it may purge. */
  onRing(ring: RingMap): void {
    if (this.#horizons.length !== ring.vnodes) {
      this.#load(ring.vnodes);
      this.#openBacklog(ring);
    }
    const { world, local } = this.#options;
    const isAlone =
      ring.members.length === 1 && ring.members[0]?.number === world.self && ring.change === null;
    for (let vnode = 0; vnode < ring.vnodes; vnode++) {
      if (isAlone) local.setPurgeBefore(vnode, Number.POSITIVE_INFINITY);
      else local.setPurgeBefore(vnode, ring.change === null ? (this.#horizons[vnode] as number) : 0);
    }
  }

  /** All vnodes of which this node has a replica, or those named. */
  request(vnodes: readonly number[] | null): number {
    const ring = this.#options.ring();
    if (ring === null) throw new UnavailableError('this node knows no ring yet');
    const asked = vnodes ?? Array.from({ length: ring.vnodes }, (_, vnode) => vnode);
    let taken = 0;
    for (const vnode of asked) {
      if (!this.#holds(ring, vnode)) continue;
      this.#backlog?.add(vnode);
      taken++;
    }
    if (taken > 0) this.#done = 0;
    return taken;
  }
  /** Something was missed there: repaired soon. */
  mark(vnode: number): void {
    this.#backlog?.add(vnode);
  }

  /** `done` once what is marked by now is kept over a crash. The ring must be known. */
  whenMarksKept(done: () => void): void {
    defined(this.#backlog ?? undefined, 'marks without a ring').whenKept(done);
  }
  /** The same at once, also after `stop` and before the ring is known: the node comes to rest. */
  keepMarks(done: () => void): void {
    if (this.#backlog === null) done();
    else this.#backlog.keep(done);
  }

  onMessage(from: NodeNumber, message: RepairMessage): void {
    this.#marks.onMessage(from, message, this.#options.ring(), this.#backlog);
  }

  /**
   * Fills a vnode that this node gains from as many of those that hold it as every quorum meets. One that is up but cannot be
   * read (a damaged table, a shard that is down) keeps nobody from the others. Rejects where too few could be.
   */
  async pull(vnode: number, sources: readonly NodeNumber[]): Promise<PullResult> {
    const { ring, world } = this.#options;
    const now = ring();
    if (now === null) throw new UnavailableError('this node knows no ring yet');
    const statistics = newRepairStatistics();
    const needed = meetingQuorums(readReplicas(now, vnode).length);
    let complete = 0;
    let failure: Error | null = null;
    const leftovers = new Leftovers(world.clock.nowMs());
    for (const source of sources) {
      if (complete === needed) break;
      // Only what was compared to its end counts: `needed` of those say that no quorum has it.
      const onlyHere: Uint8Array[] = [];
      const take = (head: Uint8Array): void => void onlyHere.push(head);
      try {
        await this.#session(now, vnode, world.self, source, true, statistics, take);
      } catch (error) {
        failure = error as Error;
        continue;
      }
      for (const head of onlyHere) leftovers.take(head);
      complete++;
    }
    this.statistics.resurrections += statistics.resurrections;
    if (complete < needed && failure !== null) throw failure;
    for (const tombstone of leftovers.missedBy(needed)) await this.#bury(tombstone);
    const { recordsReceived: records, bytesReceived: bytes } = statistics;
    return { complete: complete >= needed, records, bytes };
  }

  // ------------------------------------------------------------------------------------------------ parts

  #holds(ring: RingMap, vnode: number): boolean {
    return (
      vnode >= 0 &&
      vnode < ring.vnodes &&
      writeGroups(ring, vnode).some((group) => group.includes(this.#options.world.self))
    );
  }

  #openBacklog(ring: RingMap): void {
    const { world, intervalMs } = this.#options;
    const backlog = new RepairBacklog(world, ring.vnodes);
    const nowMs = world.clock.nowMs();
    this.#backlog = backlog;
    // Spread over the interval: nodes that started together do not repair together.
    if (backlog.askedMs === 0 || backlog.askedMs > nowMs)
      backlog.askedMs = nowMs - world.random.below(Math.max(1, intervalMs));
    if (backlog.aliveMs > 0 && nowMs - backlog.aliveMs > limits.hintAgeMsMax) this.#addHeld(ring);
  }
  #addHeld(ring: RingMap): void {
    for (let vnode = 0; vnode < ring.vnodes; vnode++) if (this.#holds(ring, vnode)) this.#backlog?.add(vnode);
  }

  #tick(): void {
    if (this.#stopped) return;
    const { world, intervalMs } = this.#options;
    this.#cancelTick = world.timers.after(limits.repairTickMs, () => this.#tick());
    const ring = this.#options.ring();
    if (ring === null || this.#backlog === null) return;
    const nowMs = world.clock.nowMs();
    // A clock that was set back puts it off by one interval at most.
    this.#backlog.askedMs = Math.min(this.#backlog.askedMs, nowMs);
    const isLeaving = !stays(ring, world.self);
    if (intervalMs > 0 && !isLeaving && nowMs - this.#backlog.askedMs >= intervalMs) {
      this.#backlog.askedMs = nowMs;
      this.#addHeld(ring);
    }
    this.#backlog.save();
    // The one that is being repaired may take long; and what was missed since it began must not be forgotten with its end.
    if (isLeaving) this.#marks.handOn(ring, this.#backlog, this.#repairing);
    if (this.#repairing === null) this.#repairNext(ring, this.#backlog);
  }
  #repairNext(ring: RingMap, backlog: RepairBacklog): void {
    const { isUp, world } = this.#options;
    if (!stays(ring, world.self) && this.#marks.hasTakers(ring)) return;
    const vnode = backlog.next((one) => writeReplicas(ring, one).every((node) => isUp(node)));
    if (vnode === null || this.#stopped) return;
    if (vnode >= ring.vnodes) {
      backlog.done(vnode);
      return;
    }
    this.#repairing = vnode;
    backlog.begin(vnode);
    this.#repair(ring, vnode).then(
      (missing) => {
        if (missing === 0) {
          this.#done++;
          backlog.done(vnode);
        } else backlog.failed(vnode, true);
        this.#ended();
        const now = this.#options.ring();
        if (now !== null) this.#repairNext(now, backlog);
      },
      (error: Error) => {
        backlog.failed(vnode, false);
        world.log('info', `repair of vnode ${vnode} is put off: ${error.message}`);
        this.#ended();
      },
    );
  }
  #ended(): void {
    this.#repairing = null;
    if (this.waiting === 0) this.#lastEndMs = this.#options.world.clock.nowMs();
  }

  /** Gives how many replicas were not there. */
  async #repair(ring: RingMap, vnode: number): Promise<number> {
    const { world, isUp } = this.#options;
    const startMs = world.clock.nowMs();
    const all = writeReplicas(ring, vnode);
    const isOwn = all.includes(world.self);
    const up = all.filter((node) => node !== world.self && isUp(node));
    const missing = all.length - up.length - (isOwn ? 1 : 0);
    // One side of all comparisons: this node, or else the first that holds the vnode.
    const others = isOwn ? up : up.slice(1);
    const [first] = up;
    if (first === undefined) return missing;
    const hub = isOwn ? world.self : first;
    const { statistics } = this;
    for (const node of others) await this.#session(ring, vnode, hub, node, false, statistics);
    // What a later one had, the earlier ones lack: once more, for what is new.
    for (const node of others.slice(0, -1)) await this.#session(ring, vnode, hub, node, false, statistics);
    const isUnderOneRing = ring.change === null && this.#options.ring()?.number === ring.number;
    if (missing === 0 && isOwn && isUnderOneRing) this.#raise(vnode, this.#horizonOf(startMs));
    return missing;
  }

  async #session(
    ring: RingMap,
    vnode: number,
    hub: NodeNumber,
    other: NodeNumber,
    pullOnly: boolean,
    statistics: RepairStatistics,
    onOnlyHere: (head: Uint8Array) => void = () => undefined,
  ): Promise<void> {
    const { world, local, replica, settle } = this.#options;
    const nowMs = world.clock.nowMs();
    const offsetMs = this.#cutoffOffsetMs;
    const expectedCutoffMs = offsetMs === null ? 0 : nowMs + offsetMs + limits.repairCutoffMarginMs;
    const cutoffMs = await runRepairSession({
      vnode,
      vnodes: ring.vnodes,
      local: hub === world.self ? local : replica(hub),
      remote: replica(other),
      tellsOfTrees: [hub, other].map(
        (node) => node === world.self || (world.network.features(node) & Feature.TREE_PROGRESS) !== 0,
      ),
      session: world.random.uint32(),
      pullOnly,
      // Where one source is enough for a pull, that one is part of every quorum.
      overPromises: pullOnly && meetingQuorums(readReplicas(ring, vnode).length) === 1,
      clock: world.clock,
      pace: (bytes) => this.#pace(bytes),
      pause: (ms) => this.#pause(ms),
      expectedCutoffMs,
      settle,
      statistics,
      onOnlyHere,
    });
    if (cutoffMs > expectedCutoffMs) this.#cutoffOffsetMs = cutoffMs - nowMs;
  }

  async #bury(tombstone: Uint8Array): Promise<void> {
    const { local, world } = this.#options;
    const deadlineMs = deadlineIn(world.clock, limits.repairRequestMsMax);
    const { status, message } = await writeTo({ pause: (ms) => this.#pause(ms) }, local, {
      record: tombstone,
      also: null,
      mode: WriteMode.MERGE,
      deadlineMs,
    });
    if (status !== Status.OK && status !== PeerStatus.STALE_VERSION)
      throw errorOf(status, message, 'burying a record');
  }

  /** A token bucket that holds one second. */
  #pace(bytes: number): Promise<void> {
    const nowMs = this.#options.world.clock.monotonicMs();
    const from = Math.max(this.#pacedUntilMs, nowMs - SECOND_MS);
    this.#pacedUntilMs = from + (bytes / limits.repairBytesPerSecondDefault) * SECOND_MS;
    return this.#pause(this.#pacedUntilMs - nowMs);
  }
  #pause(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        if (this.#stopped) reject(new UnavailableError('the node is stopping'));
        else resolve();
      };
      if (ms > 0) this.#options.world.timers.after(ms, end);
      else end();
    });
  }

  // --------------------------------------------------------------------------------------------- horizons

  #load(vnodes: number): void {
    this.#horizons = new Float64Array(vnodes);
    const saved = this.#options.world.documents.load(DOCUMENT);
    if (saved === null || saved.length !== vnodes * FLOAT_BYTES) return;
    const view = new DataView(saved.buffer, saved.byteOffset, saved.length);
    // What a clock gave that stood in the future then claims more than any repair can have reached by now.
    const latest = this.#horizonOf(this.#options.world.clock.nowMs());
    for (let vnode = 0; vnode < vnodes; vnode++)
      this.#horizons[vnode] = Math.min(latest, view.getFloat64(vnode * FLOAT_BYTES, true));
  }
  /** Of a repair that began then. */
  #horizonOf(startMs: number): number {
    return Math.max(0, startMs - 2 * limits.hintAgeMsMax - limits.repairHorizonMarginMs) * 1000;
  }

  #raise(vnode: number, horizon: number): void {
    if (horizon <= (this.#horizons[vnode] as number)) return;
    this.#horizons[vnode] = horizon;
    this.#options.local.setPurgeBefore(vnode, horizon);
    this.#unsaved = true;
    this.#save();
  }
  #save(): void {
    if (this.#saving || !this.#unsaved) return;
    this.#saving = true;
    this.#unsaved = false;
    const bytes = new Uint8Array(this.#horizons.length * FLOAT_BYTES);
    const view = new DataView(bytes.buffer);
    for (const [vnode, horizon] of this.#horizons.entries())
      view.setFloat64(vnode * FLOAT_BYTES, horizon, true);
    const { world } = this.#options;
    world.documents.save(DOCUMENT, bytes, (error) => {
      this.#saving = false;
      if (error !== null) {
        this.#unsaved = true;
        world.log('warn', `horizons of repairs cannot be kept: ${error.message}`);
      }
      // Many vnodes follow each other: one save for all of them.
      world.timers.after(error === null ? SECOND_MS : limits.repairSaveMs, () => this.#save());
    });
  }
}
