/**
 * The engine's share in hash trees: pins the tables in force while a job reads them (tree-job.ts). Owned by the shard's thread.
 * Memtables are not pinned: a job may wait and run for longer than writes can do without one, so what they hold is copied
 * before (src/shard/tree-heads.ts).
 */
import { assert } from '../base/assert.ts';
import { BrokenTable } from './broken-table.ts';
import type { TableMeta, TokenRange } from './contract.ts';
import { contextOf, type EngineBase } from './engine-base.ts';
import { rangesOverlap } from './token-range.ts';
import type { TreePart, TreeSums } from './tree-contract.ts';

const TOKEN_HALF_MAX = 0xffff_ffff;

export class EngineTrees {
  readonly #base: EngineBase;
  #running = 0;
  #onQuiet: (() => void)[] = [];

  constructor(base: EngineBase) {
    this.#base = base;
  }

  /** As ShardEngine.sumTree. */
  async sum(part: TreePart): Promise<TreeSums> {
    const { tables, jobs, files } = this.#base;
    const version = tables.acquire();
    this.#running++;
    try {
      const range = rangeOf(part);
      const metas: TableMeta[] = [];
      for (const reader of version.tables) {
        if (!rangesOverlap(reader.meta.range, range)) continue;
        if (reader instanceof BrokenTable) throw reader.error;
        metas.push(reader.meta);
      }
      const { tree } = await jobs.run({ ...contextOf(this.#base), kind: 'tree', tables: metas, part });
      assert(tree !== undefined, 'trees: a tree job without sums');
      return tree;
    } catch (error) {
      files.report(error);
      throw error;
    } finally {
      tables.release(version);
      this.#running--;
      if (this.#running === 0) for (const quiet of this.#onQuiet.splice(0)) quiet();
    }
  }

  /** Resolves when no job runs. */
  quiet(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((quiet) => this.#onQuiet.push(quiet));
  }
}

function rangeOf({ tree, after, to }: TreePart): TokenRange {
  return {
    firstHi: after?.tokenHi ?? tree.firstHi,
    firstLo: after?.tokenLo ?? 0,
    lastHi: to?.tokenHi ?? tree.lastHi,
    lastLo: to?.tokenLo ?? TOKEN_HALF_MAX,
  };
}
