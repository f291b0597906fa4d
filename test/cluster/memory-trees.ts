import { assert } from '../../src/base/assert.ts';
import { limits } from '../../src/base/limits.ts';
import { flagsAt, keyAt, keyspaceAt, originAt, tokenHiAt, versionAt } from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { ReplicaTreeNodes } from '../../src/cluster/contract.ts';
import { leafOf, leavesUnder, TREE_LEAVES } from '../../src/cluster/repair-ranges.ts';
import type { Held } from './records.ts';

const MASK = 0xffff_ffff_ffff_ffffn;
const scratch = new Uint8Array(64 + limits.keyBytesCeiling);
const scratchView = new DataView(scratch.buffer);

/** XXH64 over (keyspace, key, version, origin, flags). */
function hashOf({ view, bytes }: Held): bigint {
  const key = keyAt(view, bytes, 0);
  scratch[0] = keyspaceAt(view, 0);
  scratch.set(key, 1);
  const at = 1 + key.length;
  scratchView.setFloat64(at, versionAt(view, 0), true);
  scratchView.setUint32(at + 8, originAt(view, 0), true);
  scratch[at + 12] = flagsAt(view, 0);
  hashToken(scratch.subarray(0, at + 13));
  return (BigInt(token.hi) << 32n) | BigInt(token.lo);
}

/** Hash trees of a MemoryReplica: leaf sums by session and vnode. */
export class MemoryTrees {
  readonly #vnodes: number;
  readonly #sessions = new Map<number, Map<number, BigUint64Array>>();
  constructor(vnodes: number) {
    this.#vnodes = vnodes;
  }
  get size(): number {
    return this.#sessions.size;
  }
  clear(): void {
    this.#sessions.clear();
  }
  end(session: number): void {
    this.#sessions.delete(session);
  }
  /** Returns the records counted. The oldest session makes room. */
  build(session: number, lists: readonly (readonly [vnode: number, records: readonly Held[]])[]): number {
    let records = 0;
    const trees = new Map<number, BigUint64Array>();
    for (const [vnode, list] of lists) {
      const sums = new BigUint64Array(TREE_LEAVES);
      for (const held of list) {
        const leaf = leafOf(tokenHiAt(held.view, 0), this.#vnodes);
        sums[leaf] = ((sums[leaf] as bigint) + hashOf(held)) & MASK;
      }
      trees.set(vnode, sums);
      records += list.length;
    }
    this.#sessions.delete(session);
    this.#sessions.set(session, trees);
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size > limits.treeSessionsMax && oldest !== undefined) this.#sessions.delete(oldest);
    return records;
  }
  nodes({ session, vnode, level, indexes }: ReplicaTreeNodes): Uint8Array | null {
    const sums = this.#sessions.get(session)?.get(vnode);
    if (sums === undefined) return null;
    const width = leavesUnder(level);
    assert(Number.isInteger(width) && width >= 1, () => `level ${level} of a tree`);
    const out = new Uint8Array(indexes.length * 8);
    const view = new DataView(out.buffer);
    for (const [i, index] of indexes.entries()) {
      let sum = 0n;
      for (let leaf = index * width; leaf < (index + 1) * width; leaf++) sum += sums[leaf] as bigint;
      view.setBigUint64(i * 8, sum & MASK, true);
    }
    return out;
  }
}
