/**
 * The repairs of one node: pulls of vnodes that it gains, and comparisons of the vnodes that it holds with all their other
 * replicas, on demand, on a schedule, and where something was missed. Owned by the peer worker; pure.
 *
 * 1. The horizon of a vnode is the start of its last repair in which this node compared itself with every other replica, under
 *    one ring, both ways, less limits.hintAgeMsMax and limits.repairHorizonMarginMs: what is older and was not exchanged
 *    then can come by no hint and no message any more. Only older tombstones may go (LocalReplica.setPurgeBefore).
 * 2. While the ring changes, nothing may be purged at all.
 * 3. A node that gains a vnode which it had before may still hold what was deleted since, its tombstone long gone. What it
 *    alone holds, and no quorum of the owners, is therefore buried, unless it is younger than the change.
 * 4. One vnode at a time; bytes moved are limited by limits.repairBytesPerSecondDefault.
 */
import { UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { FLAG_TOMBSTONE, flagsAt, KEYSPACE_USER, keyspaceAt, versionAt } from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import {
  type ClusterWorld,
  type LocalReplica,
  type NodeNumber,
  type Replica,
  WriteMode,
} from './contract.ts';
import { errorOf, writeTo } from './repair-calls.ts';
import { newRepairStatistics, type RepairStatistics, runRepairSession } from './repair-session.ts';
import { quorumOf, readReplicas, writeGroups } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';
import type { PullResult } from './topology-pulls.ts';

export interface RepairsOptions {
  readonly world: ClusterWorld;
  readonly local: LocalReplica;
  readonly replica: (node: NodeNumber) => Replica;
  readonly isUp: (node: NodeNumber) => boolean;
  readonly ring: () => RingMap | null;
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
  /** Vnodes to be repaired, in the order in which they were asked for. */
  readonly #waiting = new Set<number>();
  #horizons = new Float64Array(0);
  #nextScheduleMs = 0;
  #running = false;
  #stopped = false;
  #done = 0;
  #lastEndMs = 0;
  #pacedUntilMs = 0;
  #saving = false;
  #unsaved = false;
  #cancelTick: () => void = () => undefined;

  constructor(options: RepairsOptions) {
    this.#options = options;
  }

  get running(): boolean {
    return this.#running || this.#waiting.size > 0;
  }
  get waiting(): number {
    return this.#waiting.size + (this.#running ? 1 : 0);
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
    if (this.#horizons.length !== ring.vnodes) this.#load(ring.vnodes);
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
      this.#waiting.add(vnode);
      taken++;
    }
    if (taken > 0) this.#done = 0;
    return taken;
  }
  /** Something was missed there: repaired soon. */
  mark(vnode: number): void {
    this.#waiting.add(vnode);
  }

  /** Fills a vnode that this node gains from a quorum of those that hold it. */
  async pull(vnode: number, sources: readonly NodeNumber[]): Promise<PullResult> {
    const { ring, local, replica } = this.#options;
    const now = ring();
    if (now === null) throw new UnavailableError('this node knows no ring yet');
    const statistics = newRepairStatistics();
    const needed = quorumOf(readReplicas(now, vnode).length);
    let complete = 0;
    const leftovers = new Leftovers(this.#options.world.clock.nowMs());
    for (const source of sources) {
      if (complete === needed) break;
      await this.#session(now, vnode, local, replica(source), true, statistics, leftovers.take);
      complete++;
    }
    for (const tombstone of leftovers.missedBy(needed)) await this.#bury(tombstone);
    return {
      complete: complete >= needed,
      records: statistics.recordsReceived,
      bytes: statistics.bytesReceived,
    };
  }

  // ------------------------------------------------------------------------------------------------ parts

  #holds(ring: RingMap, vnode: number): boolean {
    return (
      vnode >= 0 &&
      vnode < ring.vnodes &&
      writeGroups(ring, vnode).some((group) => group.includes(this.#options.world.self))
    );
  }

  #tick(): void {
    if (this.#stopped) return;
    const { world, intervalMs } = this.#options;
    const { timers, clock, random } = world;
    this.#cancelTick = timers.after(limits.repairTickMs, () => this.#tick());
    const nowMs = clock.monotonicMs();
    if (intervalMs > 0 && nowMs >= this.#nextScheduleMs) {
      // Spread over the interval: nodes that started together do not repair together.
      const first = this.#nextScheduleMs === 0;
      this.#nextScheduleMs = nowMs + (first ? random.below(intervalMs) : intervalMs);
      if (!first && this.#options.ring() !== null) this.request(null);
    }
    if (!this.#running) this.#repairNext();
  }
  #repairNext(): void {
    const ring = this.#options.ring();
    const [vnode] = this.#waiting;
    if (ring === null || vnode === undefined || this.#stopped) return;
    this.#waiting.delete(vnode);
    if (!this.#holds(ring, vnode)) {
      this.#repairNext();
      return;
    }
    this.#running = true;
    this.#repair(ring, vnode).then(
      () => {
        this.#done++;
        this.#ended();
        this.#repairNext();
      },
      (error: Error) => {
        // Tried again after the others, with the next tick.
        this.#waiting.add(vnode);
        this.#options.world.log('info', `repair of vnode ${vnode} is put off: ${error.message}`);
        this.#ended();
      },
    );
  }
  #ended(): void {
    this.#running = false;
    if (this.#waiting.size === 0) this.#lastEndMs = this.#options.world.clock.nowMs();
  }

  async #repair(ring: RingMap, vnode: number): Promise<void> {
    const { world, local, replica, isUp } = this.#options;
    const startMs = world.clock.nowMs();
    const others = [...new Set(writeGroups(ring, vnode).flat())].filter((node) => node !== world.self);
    const up = others.filter((node) => isUp(node));
    for (const node of up) await this.#session(ring, vnode, local, replica(node), false, this.statistics);
    // What a later one had, the earlier ones lack: once more, for what is new.
    for (const node of up.slice(0, -1))
      await this.#session(ring, vnode, local, replica(node), false, this.statistics);
    if (up.length < others.length)
      throw new UnavailableError(`${others.length - up.length} of its replicas are down`);
    if (ring.change !== null || this.#options.ring()?.number !== ring.number) return;
    const horizonMs = startMs - limits.hintAgeMsMax - limits.repairHorizonMarginMs;
    this.#raise(vnode, horizonMs * 1000);
  }

  #session(
    ring: RingMap,
    vnode: number,
    local: Replica,
    remote: Replica,
    pullOnly: boolean,
    statistics: RepairStatistics,
    onOnlyHere: (head: Uint8Array) => void = () => undefined,
  ): Promise<void> {
    const { world, settle } = this.#options;
    return runRepairSession({
      vnode,
      vnodes: ring.vnodes,
      local,
      remote,
      session: world.random.uint32(),
      pullOnly,
      clock: world.clock,
      pace: (bytes) => this.#pace(bytes),
      settle,
      statistics,
      onOnlyHere,
    });
  }

  async #bury(tombstone: Uint8Array): Promise<void> {
    const { local, world } = this.#options;
    const deadlineMs = world.clock.nowMs() + limits.repairRequestMsMax;
    const { status, message } = await writeTo(local, {
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
    const { clock, timers } = this.#options.world;
    if (this.#stopped) return Promise.reject(new UnavailableError('the node is stopping'));
    const nowMs = clock.monotonicMs();
    const from = Math.max(this.#pacedUntilMs, nowMs - SECOND_MS);
    this.#pacedUntilMs = from + (bytes / limits.repairBytesPerSecondDefault) * SECOND_MS;
    const waitMs = this.#pacedUntilMs - nowMs;
    return waitMs <= 0 ? Promise.resolve() : new Promise((resolve) => void timers.after(waitMs, resolve));
  }

  // --------------------------------------------------------------------------------------------- horizons

  #load(vnodes: number): void {
    this.#horizons = new Float64Array(vnodes);
    const saved = this.#options.world.documents.load(DOCUMENT);
    if (saved === null || saved.length !== vnodes * FLOAT_BYTES) return;
    const view = new DataView(saved.buffer, saved.byteOffset, saved.length);
    for (let vnode = 0; vnode < vnodes; vnode++)
      this.#horizons[vnode] = view.getFloat64(vnode * FLOAT_BYTES, true);
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
      if (error !== null) world.log('warn', `horizons of repairs cannot be kept: ${error.message}`);
      // Many vnodes follow each other: one save for all of them.
      world.timers.after(SECOND_MS, () => this.#save());
    });
  }
}

const FLAGS_AT = 6;
const EXPIRY_AT = 32;
const EXPIRY_BYTES = 8;

/** Heads of live records that this node holds and the sources of a pull do not, by how many of them lack each. */
class Leftovers {
  readonly #youngest: number;
  readonly #missing = new Map<string, { readonly head: Uint8Array; count: number }>();

  constructor(nowMs: number) {
    // Younger ones may be writes of the time of the change, on their way to the sources.
    this.#youngest = (nowMs - limits.repairHorizonMarginMs) * 1000;
  }

  readonly take = (head: Uint8Array): void => {
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    if (keyspaceAt(view, 0) !== KEYSPACE_USER || (flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0) return;
    if (versionAt(view, 0) >= this.#youngest) return;
    const name = Buffer.from(head).toString('latin1');
    const known = this.#missing.get(name);
    if (known === undefined) this.#missing.set(name, { head, count: 1 });
    else known.count++;
  };

  /** Tombstones, of the same version, of what so many sources lack. */
  missedBy(sources: number): Uint8Array[] {
    const found = [...this.#missing.values()].filter(({ count }) => count >= sources);
    return found.map(({ head }) => {
      const tombstone = head.slice();
      tombstone[FLAGS_AT] = FLAG_TOMBSTONE;
      tombstone.fill(0, EXPIRY_AT, EXPIRY_AT + EXPIRY_BYTES);
      return tombstone;
    });
  }
}
