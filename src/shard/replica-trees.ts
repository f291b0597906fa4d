/**
 * Hash trees of the vnodes of one shard, for comparing replicas (contract of ReplicaTree). Owned by the shard's thread, which only
 * copies what memtables hold of them: background threads build them, part by part, one at a time for each shard. Writes that
 * come meanwhile may be in or not, and show as differences at worst. Leaves alone are kept; a node's hash is the sum of its
 * leaves'.
 */
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { OverloadedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { ReplicaTree, ReplicaTreeNodes, TreeAnswer, TreeNodesAnswer } from '../cluster/contract.ts';
import { leavesUnder, TREE_LEAVES } from '../cluster/repair-ranges.ts';
import type { ShardEngine } from '../engine/contract.ts';
import type { TreeSpec } from '../engine/tree-contract.ts';
import { addSums, writeSum } from '../engine/tree-sums.ts';
import type { SeekTarget } from '../ipc/contract.ts';
import { createStopFlag, StopFlag, type StopFlagMemory } from '../ipc/stop-flag.ts';
import { statusOfError } from './error-status.ts';
import { readHeads, type TreeBounds, treeBounds } from './tree-heads.ts';

const TWO_32 = 0x1_0000_0000;
const HASH_BYTES = 8;
const NO_BYTES = new Uint8Array(0);

interface Session {
  readonly trees: Map<number, Uint32Array>;
  readonly order: number;
  /** Raised at its end. */
  readonly cancel: StopFlagMemory;
}

interface Build {
  readonly id: number;
  readonly session: Session;
  readonly vnodes: readonly number[];
  readonly deadlineMs: MonotonicMs;
  readonly nowMs: number;
  readonly ignoreDeadBeforeMs: number;
  readonly done: (answer: TreeAnswer) => void;
}

export interface ReplicaTreesOptions {
  readonly vnodes: number;
  readonly clock: Clock;
  readonly gcGraceMs: number;
  /** Runs a slice after other work. */
  readonly defer: (run: () => void) => void;
  readonly bounds?: TreeBounds;
}

export class ReplicaTrees {
  readonly #engine: ShardEngine;
  readonly #vnodes: number;
  readonly #clock: Clock;
  readonly #gcGraceMs: number;
  readonly #bounds: TreeBounds;
  readonly #nextTurn: () => Promise<void>;
  readonly #sessions = new Map<number, Session>();
  #waiting: Build[] = [];
  #isBuilding = false;
  #building: Build | null = null;
  #bytes = 0;
  #started = 0;

  constructor(engine: ShardEngine, { vnodes, clock, gcGraceMs, defer, bounds }: ReplicaTreesOptions) {
    this.#engine = engine;
    this.#clock = clock;
    this.#gcGraceMs = gcGraceMs;
    this.#vnodes = vnodes;
    this.#bounds = bounds ?? treeBounds();
    this.#nextTurn = () => new Promise(defer);
  }

  /** Builds a tree for each vnode; they are added to those of the session. */
  build(request: ReplicaTree, done: (answer: TreeAnswer) => void): void {
    const { session: id, vnodes, deadlineMs } = request;
    const nowMs = this.#clock.nowMs();
    const ignoreDeadBeforeMs = Math.max(request.ignoreDeadBeforeMs, nowMs - this.#gcGraceMs);
    const count = this.#waiting.length;
    if (count >= limits.treeBuildsMax) {
      const message = `${count} trees wait to be built; the limit is ${limits.treeBuildsMax}`;
      done({ status: Status.OVERLOADED, records: 0, ignoredDeadBeforeMs: ignoreDeadBeforeMs, message });
      return;
    }
    const session = this.#open(id);
    this.#waiting.push({ id, session, vnodes, deadlineMs, nowMs, ignoreDeadBeforeMs, done });
    if (this.#isBuilding) return;
    this.#isBuilding = true;
    void this.#buildAll();
  }

  nodes({ session, vnode, level, indexes }: ReplicaTreeNodes): TreeNodesAnswer {
    if (this.#isBeingBuilt(session, vnode))
      return {
        status: Status.OVERLOADED,
        hashes: NO_BYTES,
        message: `the tree of vnode ${vnode} in session ${session} is being built`,
      };
    const leaves = this.#sessions.get(session)?.trees.get(vnode);
    if (leaves === undefined)
      return {
        status: Status.NOT_FOUND,
        hashes: NO_BYTES,
        message: `no tree of vnode ${vnode} in session ${session}`,
      };
    const width = leavesUnder(level);
    const hashes = new Uint8Array(indexes.length * HASH_BYTES);
    const view = new DataView(hashes.buffer);
    for (const [i, index] of indexes.entries())
      writeSum(leaves, index * width, (index + 1) * width, view, i * HASH_BYTES);
    return { status: Status.OK, hashes, message: '' };
  }

  /** Gives up what is built for the session, too. */
  end(id: number): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    this.#sessions.delete(id);
    for (const leaves of session.trees.values()) this.#bytes -= leaves.byteLength;
    new StopFlag(session.cancel).raise();
    const given = this.#waiting.filter((build) => build.session === session);
    this.#waiting = this.#waiting.filter((build) => build.session !== session);
    for (const build of given) answer(build, 0, endedError(id));
  }

  #isBeingBuilt(id: number, vnode: number): boolean {
    const isIts = (build: Build | null): boolean =>
      build !== null && build.id === id && !this.#isEnded(build) && build.vnodes.includes(vnode);
    return isIts(this.#building) || this.#waiting.some(isIts);
  }

  async #buildAll(): Promise<void> {
    for (let build = this.#waiting.shift(); build !== undefined; build = this.#waiting.shift()) {
      this.#building = build;
      let records = 0;
      let failure: unknown = null;
      try {
        for (const vnode of build.vnodes) {
          const { sums, summed } = await this.#buildOne(build, vnode);
          records += summed;
          this.#keep(build.session, vnode, sums);
        }
      } catch (error) {
        failure = error;
      }
      this.#building = null;
      answer(build, records, this.#isEnded(build) ? endedError(build.id) : failure);
    }
    this.#isBuilding = false;
  }

  async #buildOne(build: Build, vnode: number): Promise<{ sums: Uint32Array; summed: number }> {
    const width = TWO_32 / this.#vnodes;
    const tree: TreeSpec = {
      firstHi: vnode * width,
      lastHi: (vnode + 1) * width - 1,
      leaves: TREE_LEAVES,
      nowMs: build.nowMs,
      ignoreDeadBeforeMs: build.ignoreDeadBeforeMs,
      deadlineMs: build.deadlineMs,
      cancel: build.session.cancel,
    };
    const sums = new Uint32Array(2 * TREE_LEAVES);
    let summed = 0;
    let after: SeekTarget | null = null;
    do {
      const part = await readHeads(this.#engine, tree, after, this.#bounds, this.#nextTurn);
      const more = await this.#engine.sumTree(part);
      // Its end may have come when the job was done already.
      if (this.#isEnded(build)) throw endedError(build.id);
      addSums(sums, more.sums);
      summed += more.records;
      after = more.next;
    } while (after !== null);
    return { sums, summed };
  }

  #isEnded({ id, session }: Build): boolean {
    return this.#sessions.get(id) !== session;
  }

  #open(id: number): Session {
    const before = this.#sessions.get(id);
    if (before !== undefined) return before;
    const session = {
      trees: new Map<number, Uint32Array>(),
      order: ++this.#started,
      cancel: createStopFlag(),
    };
    this.#sessions.set(id, session);
    this.#makeRoom();
    return session;
  }

  #keep(session: Session, vnode: number, leaves: Uint32Array): void {
    const before = session.trees.get(vnode);
    if (before !== undefined) this.#bytes -= before.byteLength;
    session.trees.set(vnode, leaves);
    this.#bytes += leaves.byteLength;
    this.#makeRoom();
  }

  #makeRoom(): void {
    while (this.#bytes > limits.treeBytesMax || this.#sessions.size > limits.treeSessionsMax) {
      const [oldest] = [...this.#sessions].sort(([, a], [, b]) => a.order - b.order);
      if (oldest === undefined) break;
      this.end(oldest[0]);
    }
  }
}

const endedError = (id: number): OverloadedError =>
  new OverloadedError(`tree session ${id} was ended, or made room for others`);

function answer(build: Build, records: number, failure: unknown): void {
  const { ignoreDeadBeforeMs: ignoredDeadBeforeMs, done } = build;
  if (failure === null) done({ status: Status.OK, records, ignoredDeadBeforeMs, message: '' });
  else
    done({
      status: statusOfError(failure),
      records,
      ignoredDeadBeforeMs,
      message: (failure as Error).message,
    });
}
