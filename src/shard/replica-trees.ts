/**
 * Hash trees of the vnodes of one shard, for comparing replicas (contract of ReplicaTree). Owned by the shard's thread. Built in
 * slices between other work, from pages of what is durable: writes that come meanwhile may be in or not, and show as
 * differences at worst. Leaves alone are kept; a node's hash is the sum of its leaves'.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  isDeadAt,
  KEYSPACE_USER,
  keyLengthAt,
  keyStartAt,
  keyspaceAt,
  originAt,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../base/record.ts';
import { Status } from '../base/status.ts';
import { hashToken, token } from '../base/token.ts';
import type { ReplicaTree, ReplicaTreeNodes, TreeAnswer, TreeNodesAnswer } from '../cluster/contract.ts';
import { leafOf, leavesUnder, TREE_LEAVES } from '../cluster/repair-ranges.ts';
import type { ShardEngine } from '../engine/contract.ts';
import type { SeekTarget } from '../ipc/contract.ts';
import { statusOfError } from './error-status.ts';

const TWO_32 = 0x1_0000_0000;
const HASH_BYTES = 8;
const VERSION_AND_FLAGS_BYTES = 13;
const NO_BYTES = new Uint8Array(0);
const scratch = new Uint8Array(1 + limits.keyBytesCeiling + VERSION_AND_FLAGS_BYTES);
const scratchView = new DataView(scratch.buffer);

/**
 * XXH64 over (keyspace, key, version, origin, flags) of a record, into `token`. What has expired counts as the tombstone that
 * compaction makes of it sooner or later.
 */
function hashRecord(view: DataView, bytes: Uint8Array, offset: number, isDead: boolean): void {
  const length = keyLengthAt(view, offset);
  const start = keyStartAt(offset);
  scratch[0] = keyspaceAt(view, offset);
  scratch.set(bytes.subarray(start, start + length), 1);
  const at = 1 + length;
  scratchView.setFloat64(at, versionAt(view, offset), true);
  scratchView.setUint32(at + 8, originAt(view, offset), true);
  scratch[at + 12] = isDead ? FLAG_TOMBSTONE : flagsAt(view, offset);
  hashToken(scratch.subarray(0, at + VERSION_AND_FLAGS_BYTES));
}

/** When a record died or will: its expiry, or a tombstone's version, in ms since 1970; Infinity for one that lives on. */
function deathMsOf(view: DataView, offset: number): number {
  const flags = flagsAt(view, offset);
  if ((flags & FLAG_TOMBSTONE) !== 0) return versionAt(view, offset) / 1000;
  return (flags & FLAG_EXPIRING) !== 0 ? expiresMsAt(view, offset) : Number.POSITIVE_INFINITY;
}

/** Where the lower half of a 64-bit number lies in memory, in words of 32 bits. */
const LOW = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1;

/** Modulo 2^64. By halves, which are exact in up to 2^21 leaves: ten times as fast as with BigInts of more than 64 bits. */
function sumOf(leaves: BigUint64Array): bigint {
  const halves = new Uint32Array(leaves.buffer, leaves.byteOffset, 2 * leaves.length);
  let low = 0;
  let high = 0;
  for (let i = 0; i < halves.length; i += 2) {
    low += halves[i + LOW] ?? 0;
    high += halves[i + 1 - LOW] ?? 0;
  }
  high += Math.floor(low / TWO_32);
  return (BigInt(high % TWO_32) << 32n) | BigInt(low % TWO_32);
}

interface Session {
  readonly trees: Map<number, BigUint64Array>;
  readonly order: number;
}

export interface ReplicaTreesOptions {
  readonly vnodes: number;
  readonly clock: Clock;
  readonly gcGraceMs: number;
  /** Runs a slice after other work. */
  readonly defer: (run: () => void) => void;
}

export class ReplicaTrees {
  readonly #engine: ShardEngine;
  readonly #vnodes: number;
  readonly #clock: Clock;
  readonly #gcGraceMs: number;
  readonly #defer: (run: () => void) => void;
  readonly #sessions = new Map<number, Session>();
  #bytes = 0;
  #started = 0;

  constructor(engine: ShardEngine, { vnodes, clock, gcGraceMs, defer }: ReplicaTreesOptions) {
    this.#engine = engine;
    this.#clock = clock;
    this.#gcGraceMs = gcGraceMs;
    this.#vnodes = vnodes;
    this.#defer = defer;
  }

  /** Builds a tree for each vnode; they are added to those of the session. */
  build(request: ReplicaTree, done: (answer: TreeAnswer) => void): void {
    const { session, vnodes } = request;
    const nowMs = this.#clock.nowMs();
    const ignoreDeadBeforeMs = Math.max(request.ignoreDeadBeforeMs, nowMs - this.#gcGraceMs);
    const kept = this.#sessions.get(session) ?? { trees: new Map(), order: ++this.#started };
    this.#sessions.set(session, kept);
    let records = 0;
    let at = 0;
    let from: SeekTarget | null = null;
    let leaves: BigUint64Array = new BigUint64Array(0);
    const answer = (status: number, message: string): void =>
      done({ status, records, ignoredDeadBeforeMs: ignoreDeadBeforeMs, message });
    const slice = (): void => {
      const vnode = vnodes[at];
      if (vnode === undefined) {
        answer(Status.OK, '');
        return;
      }
      if (this.#sessions.get(session) !== kept) {
        answer(Status.OVERLOADED, `tree session ${session} made room for others`);
        return;
      }
      const first = from === null;
      // Its own: where the same tree was asked for twice, the other one's must not count here as well.
      if (first) leaves = this.#newTree(kept, vnode);
      const width = TWO_32 / this.#vnodes;
      const start: SeekTarget = from ?? { tokenHi: vnode * width, tokenLo: 0, keyspace: 0, key: NO_BYTES };
      let last: SeekTarget | null = null;
      try {
        const isDone = this.#engine.rawPage(
          {
            from: start,
            exclusive: !first,
            lastHi: (vnode + 1) * width - 1,
            lastLo: TWO_32 - 1,
            recordsMax: limits.treeSliceRecords,
            bytesMax: limits.treeSliceBytes,
          },
          (view, bytes, offset) => {
            const keyAt = keyStartAt(offset);
            last = {
              tokenHi: tokenHiAt(view, offset),
              tokenLo: tokenLoAt(view, offset),
              keyspace: keyspaceAt(view, offset),
              key: bytes.slice(keyAt, keyAt + keyLengthAt(view, offset)),
            };
            const isDead = isDeadAt(view, offset, nowMs);
            if (deathMsOf(view, offset) < ignoreDeadBeforeMs) return true;
            // Compaction drops these at once, on each replica in its own time.
            if (isDead && last.keyspace !== KEYSPACE_USER) return true;
            const leaf = leafOf(last.tokenHi, this.#vnodes);
            hashRecord(view, bytes, offset, isDead);
            // BigUint64Array wraps at 2^64 by itself.
            leaves[leaf] = (leaves[leaf] as bigint) + ((BigInt(token.hi) << 32n) | BigInt(token.lo));
            records++;
            return true;
          },
        );
        if (isDone) {
          at++;
          from = null;
        } else from = last;
      } catch (error) {
        answer(statusOfError(error), (error as Error).message);
        return;
      }
      this.#defer(slice);
    };
    this.#defer(slice);
  }

  nodes({ session, vnode, level, indexes }: ReplicaTreeNodes): TreeNodesAnswer {
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
      view.setBigUint64(i * HASH_BYTES, sumOf(leaves.subarray(index * width, (index + 1) * width)), true);
    return { status: Status.OK, hashes, message: '' };
  }

  end(session: number): void {
    const kept = this.#sessions.get(session);
    if (kept === undefined) return;
    this.#sessions.delete(session);
    for (const leaves of kept.trees.values()) this.#bytes -= leaves.byteLength;
  }

  #newTree({ trees }: Session, vnode: number): BigUint64Array {
    const before = trees.get(vnode);
    if (before !== undefined) this.#bytes -= before.byteLength;
    const leaves = new BigUint64Array(TREE_LEAVES);
    trees.set(vnode, leaves);
    this.#bytes += leaves.byteLength;
    while (this.#bytes > limits.treeBytesMax || this.#sessions.size > limits.treeSessionsMax) {
      const [oldest] = [...this.#sessions].sort(([, a], [, b]) => a.order - b.order);
      if (oldest === undefined) break;
      this.end(oldest[0]);
    }
    return leaves;
  }
}
