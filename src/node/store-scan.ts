/**
 * A scan over all shards in order of (token, key): each shard gives pages in that order, and the least head of
 * them comes next. Holds one page per shard, at most limits.scanPageBytesMax and one record each.
 */
import { BadRequestError, CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  compareRecordPlaces,
  expiresMsAt,
  keyAt,
  recordBytesAt,
  recordFault,
  valueAt,
  versionAt,
} from '../base/record.ts';
import type { ScanEntry, ScanOptions, ScanPage } from './store-types.ts';

/** What gives pages: the store. */
export interface PageSource {
  readonly shards: number;
  scanPage(
    shard: number,
    after: ScanPage | null,
    prefix: Uint8Array,
    limit: number,
    withValues: boolean,
    snapshot: number,
  ): Promise<ScanPage>;
}

/** Where the scan stands in one shard. */
class ShardPages {
  view = new DataView(new ArrayBuffer(0));
  bytes = new Uint8Array(0);
  offset = 0;
  readonly #next: (after: ScanPage | null) => Promise<ScanPage>;
  #page: ScanPage | null = null;

  constructor(next: (after: ScanPage | null) => Promise<ScanPage>) {
    this.#next = next;
  }

  /** Whether a record stands at `offset`. */
  get ready(): boolean {
    return this.offset < this.bytes.length;
  }

  /** Fetches pages until one has a record or the shard is done; whether one has. */
  async fill(): Promise<boolean> {
    while (!this.ready) {
      if (this.#page?.done === true) return false;
      this.#page = await this.#next(this.#page);
      this.bytes = new Uint8Array(this.#page.records);
      this.view = new DataView(this.bytes.buffer);
      this.offset = 0;
      this.#check();
    }
    return true;
  }

  #check(): void {
    for (let at = 0; at < this.bytes.length; at += recordBytesAt(this.view, at)) {
      const fault = recordFault(this.bytes, at, this.bytes.length);
      if (fault !== '') throw new CorruptionError('a scan page', at, fault);
    }
  }

  take(): ScanEntry {
    const { view, bytes, offset } = this;
    this.offset += recordBytesAt(view, offset);
    return {
      key: keyAt(view, bytes, offset).slice(),
      value: valueAt(view, bytes, offset).slice(),
      version: versionAt(view, offset),
      expiresMs: expiresMsAt(view, offset),
    };
  }
}

/** `snapshot`: the number of the snapshot in each shard, null for the present. */
export async function* scanShards(
  source: PageSource,
  options: ScanOptions,
  snapshot: readonly number[] | null,
): AsyncGenerator<ScanEntry, void, undefined> {
  const { prefix = new Uint8Array(0), limit = Number.POSITIVE_INFINITY, values = true } = options;
  if (!(limit >= 0)) throw new BadRequestError(`limit ${limit} is not a number from 0`);
  const prefixBytes = typeof prefix === 'string' ? new TextEncoder().encode(prefix) : prefix;
  const pageLimit = Math.min(limits.scanLimitMax, Math.max(1, limit));
  const shards = Array.from(
    { length: source.shards },
    (_, shard) =>
      new ShardPages((after) =>
        source.scanPage(shard, after, prefixBytes, pageLimit, values, snapshot?.[shard] ?? 0),
      ),
  );
  await Promise.all(shards.map((pages) => pages.fill()));
  for (let left = limit; left > 0; left--) {
    let least: ShardPages | null = null;
    for (const pages of shards) {
      if (!pages.ready && !(await pages.fill())) continue;
      if (least === null || isBefore(pages, least)) least = pages;
    }
    if (least === null) return;
    yield least.take();
  }
}

function isBefore(a: ShardPages, b: ShardPages): boolean {
  return compareRecordPlaces(a.view, a.bytes, a.offset, b.view, b.bytes, b.offset) < 0;
}
