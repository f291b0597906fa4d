/**
 * Copies what the memtables of a shard hold of a part of a hash tree, without values: the share in a tree job (src/engine/tree-job.ts)
 * that only the shard's thread can give. Memtables lie in shared memory, but a job that read them there would keep them from being
 * used again for as long as it waits and runs, and writes would wait for it. In slices of limits.treeSliceRecords, at most
 * limits.treeHeadsBytes: where there are more the part ends with the last.
 */
import { limits } from '../base/limits.ts';
import { copyHead, headBytesAt, placeAt } from '../base/record.ts';
import type { ShardEngine } from '../engine/contract.ts';
import type { TreePart, TreeSpec } from '../engine/tree-contract.ts';
import type { SeekTarget } from '../ipc/contract.ts';

const NO_BYTES = new Uint8Array(0);
const BUFFER_BYTES_START = 16 * 1024;
const LAST_LO = 0xffff_ffff;

/** What is done at a time, so that others have their turn. Tests have smaller ones. */
export interface TreeBounds {
  readonly sliceRecords: number;
  readonly headsBytes: number;
  readonly partBytes: number;
}
export const treeBounds = (): TreeBounds => ({
  sliceRecords: limits.treeSliceRecords,
  headsBytes: limits.treeHeadsBytes,
  partBytes: limits.treePartBytes,
});

/** Resolves to the part of the tree that begins behind `after`. Rejects with what a page throws, ClosedError for instance. */
export async function readHeads(
  engine: ShardEngine,
  tree: TreeSpec,
  after: SeekTarget | null,
  { sliceRecords, headsBytes, partBytes }: TreeBounds,
  nextTurn: () => Promise<void>,
): Promise<TreePart> {
  let heads = new Uint8Array(BUFFER_BYTES_START);
  let length = 0;
  let last = after;
  for (let isFull = false; !isFull; ) {
    const isDone = engine.rawPage(
      {
        from: last ?? { tokenHi: tree.firstHi, tokenLo: 0, keyspace: 0, key: NO_BYTES },
        exclusive: last !== null,
        lastHi: tree.lastHi,
        lastLo: LAST_LO,
        recordsMax: sliceRecords,
        bytesMax: Number.POSITIVE_INFINITY,
        memoryOnly: true,
      },
      (view, bytes, offset) => {
        const size = headBytesAt(view, offset);
        isFull = length > 0 && length + size > headsBytes;
        if (isFull) return false;
        if (length + size > heads.length) heads = wider(heads, length, length + size);
        length += copyHead(view, bytes, offset, heads, length);
        last = placeAt(view, bytes, offset);
        return true;
      },
    );
    if (isDone) return { tree, after, to: null, heads: heads.slice(0, length), bytesMax: partBytes };
    if (!isFull) await nextTurn();
  }
  return { tree, after, to: last, heads: heads.slice(0, length), bytesMax: partBytes };
}

function wider(bytes: Uint8Array, length: number, needed: number): Uint8Array<ArrayBuffer> {
  const more = new Uint8Array(2 ** Math.ceil(Math.log2(needed)));
  more.set(bytes.subarray(0, length));
  return more;
}
