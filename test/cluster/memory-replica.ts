import type { Clock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import {
  compareRecordAge,
  expiresMsAt,
  FLAG_TOMBSTONE,
  flagsAt,
  isDeadAt,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  keyAt,
  keyspaceAt,
  originAt,
  recordFault,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { vnodeOf } from '../../src/base/token.ts';
import {
  type NodeNumber,
  type PageAnswer,
  type PrepareAnswer,
  type ReadAnswer,
  type Replica,
  type ReplicaPage,
  type ReplicaPrepare,
  type ReplicaRead,
  type ReplicaTree,
  type ReplicaTreeNodes,
  type ReplicaWrite,
  type TreeAnswer,
  type TreeNodesAnswer,
  type WriteAnswer,
  WriteMode,
  type WriteModeCode,
} from '../../src/cluster/contract.ts';
import {
  comparePlaces,
  findIn,
  headOf,
  isBelow,
  pageOf,
  putIn,
  tombstoneOf,
  versionOf,
} from './memory-places.ts';
import { MemoryTrees } from './memory-trees.ts';
import { encode, type Held, heldOf } from './records.ts';
import { ok, refused, stale } from './write-answers.ts';

const NO_BYTES = new Uint8Array(0);
const nameOf = ({ view, bytes }: Held, version: number): string =>
  `${keyspaceAt(view, 0)} ${version} ${Buffer.from(keyAt(view, bytes, 0)).toString('latin1')}`;
export interface MemoryReplicaOptions {
  readonly clock: Clock;
  /** Vnodes of the ring. */
  readonly vnodes: number;
  readonly gcGraceMs: number;
  /** Runs an answer later, in any order: messages are not ordered either. Microtasks by default. */
  readonly later?: (run: () => void) => void;
  /** Asked before each request: a status other than OK is answered at once. */
  readonly fault?: (operation: keyof Replica) => number;
}

/**
 * The reference of what a replica answers (src/cluster/contract.ts), without disk or threads: records of a vnode in an
 * array in order of (token, keyspace, key). Durable means that it was called.
 */
export class MemoryReplica implements Replica {
  readonly #options: MemoryReplicaOptions;
  readonly #vnodes = new Map<number, Held[]>();
  readonly #horizonsMs = new Map<number, number>();
  readonly #trees: MemoryTrees;
  readonly hints: { readonly target: NodeNumber; readonly write: ReplicaWrite }[] = [];
  /** Copies that were taken: for ever, where a replica forgets; of old ones the newest only. */
  readonly #copied = new Set<string>();
  #oldCopied = 0;
  /** Live records that came back although they had been purged here. */
  resurrections = 0;
  /** Requests by operation. */
  readonly requests = new Map<keyof Replica, number>();

  constructor(options: MemoryReplicaOptions) {
    this.#options = options;
    this.#trees = new MemoryTrees(options.vnodes);
  }

  // ------------------------------------------------------------------------------------ for the tests

  /** Puts records in place as they are, whatever the rules say. */
  load(records: readonly Uint8Array[]): void {
    for (const record of records) this.#put(heldOf(record));
  }
  /** The same for many records of places that nothing is held for. */
  loadNew(records: readonly Held[]): void {
    for (const held of records) this.#vnodeRecords(tokenHiAt(held.view, 0)).push(held);
    for (const list of this.#vnodes.values()) list.sort(comparePlaces);
  }
  /** Every record held, in order. */
  all(): Uint8Array[] {
    return [...this.#vnodes].sort(([a], [b]) => a - b).flatMap(([, list]) => list.map(({ bytes }) => bytes));
  }
  /** What a reader sees of a key: the record held, or null. */
  held(keyspace: number, key: Uint8Array, tokenHi: number, tokenLo: number): Uint8Array | null {
    return this.#find(tokenHi, tokenLo, keyspace, key)?.bytes ?? null;
  }
  wipe(): void {
    this.#vnodes.clear();
    this.#horizonsMs.clear();
    this.#trees.clear();
  }
  /** A session of all replicas that merged everything started then: see repair-session.ts. */
  raiseHorizon(vnode: number, horizonMs: number): void {
    if (horizonMs > this.horizonMs(vnode)) this.#horizonsMs.set(vnode, horizonMs);
  }
  horizonMs(vnode: number): number {
    return this.#horizonsMs.get(vnode) ?? 0;
  }
  /** Drops what is dead longer than gc_grace and died before the horizon; returns how many. */
  purge(): number {
    let dropped = 0;
    for (const [vnode, list] of this.#vnodes) {
      const kept = list.filter(({ view }) => {
        const space = keyspaceAt(view, 0);
        if (space !== KEYSPACE_USER && space !== KEYSPACE_OUTCOMES) return true;
        const beforeMs = this.#purgeBeforeMs(vnode);
        return this.#diedMs(view) >= beforeMs || versionAt(view, 0) / 1000 >= beforeMs;
      });
      dropped += list.length - kept.length;
      this.#vnodes.set(vnode, kept);
    }
    return dropped;
  }

  // ------------------------------------------------------------------------------------- the replica

  write(request: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const run = (): WriteAnswer => this.#write(request);
    this.#answer('write', run, done, (status) => refused(status, 'as the test wants'));
  }

  read(request: ReplicaRead, done: (answer: ReadAnswer) => void): void {
    const run = (): ReadAnswer => {
      const held = this.#find(request.tokenHi, request.tokenLo, request.keyspace, request.key);
      const record = held === null ? null : request.headOnly ? headOf(held) : held.bytes.slice();
      return { status: Status.OK, record, message: '' };
    };
    this.#answer('read', run, done, (status) => ({ status, record: null, message: 'as the test wants' }));
  }

  prepare(request: ReplicaPrepare, done: (answer: PrepareAnswer) => void): void {
    const failed = (status: number, beat: number): PrepareAnswer => ({
      status,
      beat,
      record: null,
      outcomes: null,
      message: '',
    });
    const run = (): PrepareAnswer => {
      const { tokenHi, tokenLo, key, ballot } = request;
      const promise = this.#find(tokenHi, tokenLo, KEYSPACE_PROMISES, key);
      const held = this.#find(tokenHi, tokenLo, KEYSPACE_USER, key);
      const beat = Math.max(versionOf(promise), versionOf(held));
      const below = promise !== null && isBelow(ballot.version, ballot.origin, promise);
      const oldest = this.#oldestWrite(tokenHi);
      if (below || versionOf(held) >= ballot.version || ballot.version < oldest)
        return failed(PeerStatus.STALE_VERSION, Math.max(beat, oldest));
      const record = {
        tokenHi,
        tokenLo,
        keyspace: KEYSPACE_PROMISES,
        key,
        value: NO_BYTES,
        version: ballot.version,
        origin: ballot.origin,
        flags: 0,
        expiresMs: 0,
      };
      this.#put(heldOf(encode(record)));
      const outcomes = this.#find(tokenHi, tokenLo, KEYSPACE_OUTCOMES, key);
      return {
        status: Status.OK,
        beat: 0,
        record: held?.bytes.slice() ?? null,
        outcomes: outcomes?.bytes.slice() ?? null,
        message: '',
      };
    };
    this.#answer('prepare', run, done, (status) => failed(status, 0));
  }

  page(request: ReplicaPage, done: (answer: PageAnswer) => void): void {
    const failed = (status: number): PageAnswer => ({
      status,
      records: NO_BYTES,
      next: null,
      message: 'as the test wants',
    });
    const run = (): PageAnswer =>
      pageOf(request, this.#options.vnodes, (vnode) => this.#vnodes.get(vnode) ?? []);
    this.#answer('page', run, done, failed);
  }

  tree(request: ReplicaTree, done: (answer: TreeAnswer) => void): void {
    const run = (): TreeAnswer => {
      const ownMs = this.#options.clock.nowMs() - this.#options.gcGraceMs;
      const ignoredDeadBeforeMs = Math.max(request.ignoreDeadBeforeMs, ownMs);
      const counted = request.vnodes.map((vnode) => {
        const list = this.#vnodes.get(vnode) ?? [];
        return [vnode, list.filter(({ view }) => this.#counts(view, ignoredDeadBeforeMs))] as const;
      });
      const records = this.#trees.build(request.session, counted);
      return { status: Status.OK, records, ignoredDeadBeforeMs, message: '' };
    };
    const failed = (status: number): TreeAnswer => ({
      status,
      records: 0,
      ignoredDeadBeforeMs: 0,
      message: 'as the test wants',
    });
    this.#answer('tree', run, done, failed);
  }

  treeNodes(request: ReplicaTreeNodes, done: (answer: TreeNodesAnswer) => void): void {
    const run = (): TreeNodesAnswer => {
      const hashes = this.#trees.nodes(request);
      if (hashes === null) return { status: Status.NOT_FOUND, hashes: NO_BYTES, message: 'no such session' };
      return { status: Status.OK, hashes, message: '' };
    };
    const message = 'as the test wants';
    this.#answer('treeNodes', run, done, (status) => ({ status, hashes: NO_BYTES, message }));
  }

  endTree(session: number): void {
    this.#trees.end(session);
  }
  get treeSessions(): number {
    return this.#trees.size;
  }

  hint(target: NodeNumber, write: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const run = (): WriteAnswer => {
      this.hints.push({ target, write });
      return ok(null);
    };
    this.#answer('hint', run, done, (status) => refused(status, 'as the test wants'));
  }

  // ------------------------------------------------------------------------------------------ inside

  /** The request takes effect at once, its answer comes later. */
  #answer<T>(
    name: keyof Replica,
    run: () => T,
    done: (answer: T) => void,
    fail: (status: number) => T,
  ): void {
    this.requests.set(name, (this.requests.get(name) ?? 0) + 1);
    const status = this.#options.fault?.(name) ?? Status.OK;
    const answer = status === Status.OK ? run() : fail(status);
    (this.#options.later ?? queueMicrotask)(() => done(answer));
  }

  #write({ record, also, mode }: ReplicaWrite): WriteAnswer {
    const parts = (also === null ? [record] : [record, also]).map(heldOf);
    for (const { bytes } of parts) {
      const fault = recordFault(bytes, 0, bytes.length);
      if (fault !== '') return refused(Status.BAD_REQUEST, fault);
    }
    if (mode === WriteMode.MERGE || mode === WriteMode.FILL) return this.#mergeAll(parts, mode);
    const answers = parts.map((part) => this.#fresh(part));
    const first = answers[0] as (typeof answers)[number];
    const bad = answers.find(({ answer }) => answer.status !== Status.OK);
    if (bad !== undefined) return bad.answer;
    for (const [i, { take }] of answers.entries()) if (take) this.#put(parts[i] as Held);
    return first.answer;
  }

  #fresh(part: Held): { readonly answer: WriteAnswer; readonly take: boolean } {
    const held = this.#heldOf(part);
    const promise = this.#promiseOf(part);
    const version = versionAt(part.view, 0);
    if (held !== null && Buffer.compare(held.bytes, part.bytes) === 0)
      return { answer: ok(null), take: false };
    const beat = Math.max(versionOf(held), versionOf(promise));
    const isPromised = promise !== null && originAt(promise.view, 0) === originAt(part.view, 0);
    const isBarred = version < versionOf(promise) || (version === versionOf(promise) && !isPromised);
    if (held !== null && version <= versionOf(held)) {
      const isHidden =
        isBelow(version, originAt(part.view, 0), held) &&
        Math.max(versionOf(promise), this.#oldCopied) < version &&
        !this.#copied.has(nameOf(part, version));
      return { answer: { ...stale(beat, false), newer: isHidden ? headOf(held) : null }, take: false };
    }
    if (isBarred) return { answer: stale(beat, true), take: false };
    const isUser = keyspaceAt(part.view, 0) === KEYSPACE_USER;
    const oldest = isUser ? this.#oldestWrite(tokenHiAt(part.view, 0)) : 0;
    if (version < oldest) return { answer: stale(oldest, false), take: false };
    return { answer: ok(null), take: true };
  }

  /** Outcomes that come with a record are judged by themselves, once the record is not refused. */
  #noteCopy(part: Held): void {
    const version = versionAt(part.view, 0);
    const oldestUs = this.#options.clock.nowMs() * 1000 - limits.peerClockDriftUsMax;
    if (keyspaceAt(part.view, 0) !== KEYSPACE_USER) return;
    if (version < oldestUs - limits.shownVersionsKeptMs * 2000)
      this.#oldCopied = Math.max(this.#oldCopied, version);
    else this.#copied.add(nameOf(part, version));
  }
  #mergeAll([record, also]: readonly Held[], mode: WriteModeCode): WriteAnswer {
    const { answer, take, buried } = this.#merge(record as Held, mode);
    if (take) this.#put(record as Held);
    const isOver = answer.status !== Status.OK || buried === true;
    const held = also === undefined ? null : this.#heldOf(also);
    if (also === undefined || isOver) return answer;
    if (held !== null && compareRecordAge(also.view, also.bytes, 0, held.view, held.bytes, 0) <= 0)
      return answer;
    const promise = this.#promiseOf(also, mode);
    if (!take && promise !== null && isBelow(versionAt(also.view, 0), originAt(also.view, 0), promise))
      return stale(versionOf(promise), true);
    this.#put(also);
    return answer;
  }

  #merge(part: Held, mode: WriteModeCode): { answer: WriteAnswer; take: boolean; buried?: boolean } {
    const held = this.#heldOf(part);
    const promise = this.#promiseOf(part, mode);
    const age = held === null ? 1 : compareRecordAge(part.view, part.bytes, 0, held.view, held.bytes, 0);
    if (age >= 0) this.#noteCopy(part);
    if (held !== null && age <= 0) return { answer: ok(age < 0 ? held.bytes.slice() : null), take: false };
    if (promise !== null && isBelow(versionAt(part.view, 0), originAt(part.view, 0), promise))
      return { answer: stale(versionOf(promise), true), take: false };
    if (held === null && this.#isResurrection(part)) {
      this.resurrections++;
      const tombstone = tombstoneOf(part);
      this.#put(heldOf(tombstone));
      return { answer: ok(tombstone), take: false, buried: true };
    }
    return { answer: ok(null), take: true };
  }

  #isResurrection({ view }: Held): boolean {
    if (keyspaceAt(view, 0) !== KEYSPACE_USER || isDeadAt(view, 0, this.#options.clock.nowMs())) return false;
    return versionAt(view, 0) / 1000 < this.#purgeBeforeMs(vnodeOf(tokenHiAt(view, 0), this.#options.vnodes));
  }
  /** Whatever died before this time may be gone. */
  #purgeBeforeMs(vnode: number): number {
    return Math.min(this.horizonMs(vnode), this.#options.clock.nowMs() - this.#options.gcGraceMs);
  }
  /** New writes stay well above what may be gone. */
  #oldestWrite(tokenHi: number): number {
    const { clock, gcGraceMs, vnodes } = this.#options;
    const horizonMs = this.horizonMs(vnodeOf(tokenHi, vnodes));
    return Math.max(0, Math.min(horizonMs, clock.nowMs() - gcGraceMs / 2)) * 1000;
  }
  #counts(view: DataView, ignoredDeadBeforeMs: number): boolean {
    const diedMs = this.#diedMs(view);
    if (keyspaceAt(view, 0) !== KEYSPACE_USER && diedMs !== Number.POSITIVE_INFINITY) return false;
    return diedMs >= ignoredDeadBeforeMs;
  }
  /** Milliseconds since 1970; infinite for what lives. */
  #diedMs(view: DataView): number {
    if ((flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0) return versionAt(view, 0) / 1000;
    return isDeadAt(view, 0, this.#options.clock.nowMs()) ? expiresMsAt(view, 0) : Number.POSITIVE_INFINITY;
  }

  #vnodeRecords(tokenHi: number): Held[] {
    const vnode = vnodeOf(tokenHi, this.#options.vnodes);
    let list = this.#vnodes.get(vnode);
    if (list === undefined) {
      list = [];
      this.#vnodes.set(vnode, list);
    }
    return list;
  }
  #put(held: Held): void {
    putIn(this.#vnodeRecords(tokenHiAt(held.view, 0)), held);
  }
  #find(tokenHi: number, tokenLo: number, keyspace: number, key: Uint8Array): Held | null {
    const list = this.#vnodes.get(vnodeOf(tokenHi, this.#options.vnodes)) ?? [];
    return findIn(list, tokenHi, tokenLo, keyspace, key);
  }
  #heldOf({ view, bytes }: Held): Held | null {
    return this.#find(tokenHiAt(view, 0), tokenLoAt(view, 0), keyspaceAt(view, 0), keyAt(view, bytes, 0));
  }
  #promiseOf({ view, bytes }: Held, mode: WriteModeCode = WriteMode.FRESH): Held | null {
    if (mode === WriteMode.FILL || keyspaceAt(view, 0) === KEYSPACE_PROMISES) return null;
    return this.#find(tokenHiAt(view, 0), tokenLoAt(view, 0), KEYSPACE_PROMISES, keyAt(view, bytes, 0));
  }
}
