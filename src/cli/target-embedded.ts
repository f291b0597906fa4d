/** A data directory opened in this process as a target of commands. */
import type { Clock } from '../base/clock.ts';
import type { Snapshot, Store } from '../node/store.ts';
import type { ScanEntry } from '../node/store-types.ts';
import { InterruptedError, UsageError } from './failure.ts';
import type { ReadOptions, Target, TargetEntry, TargetScanOptions, WriteOptions } from './target.ts';

const SECOND_MS = 1000;

export class EmbeddedTarget implements Target {
  readonly name: string;
  readonly #store: Store;
  readonly #clock: Clock;
  constructor(store: Store, path: string, clock: Clock) {
    this.name = `data directory ${path}`;
    this.#store = store;
    this.#clock = clock;
  }

  async get(key: Uint8Array, options: ReadOptions): Promise<TargetEntry | null> {
    refuseTimeout(options);
    const entry = await this.#store.getEntry(key);
    return entry === null ? null : this.#entry({ key, ...entry });
  }
  async put(key: Uint8Array, value: Uint8Array, options: WriteOptions): Promise<number> {
    refuseTimeout(options);
    const { ttl, version } = options;
    return await this.#store.put(key, value, {
      ...(ttl === undefined ? {} : { ttl }),
      ...(version === undefined ? {} : { version }),
    });
  }
  async delete(key: Uint8Array, options: WriteOptions): Promise<void> {
    refuseTimeout(options);
    const { version } = options;
    await this.#store.delete(key, version === undefined ? {} : { version });
  }
  async *scan(options: TargetScanOptions): AsyncGenerator<TargetEntry, void, undefined> {
    refuseTimeout(options);
    const snapshot = options.snapshot ? await this.#store.snapshot() : null;
    try {
      yield* this.#entries(snapshot ?? this.#store, options);
    } finally {
      await snapshot?.close();
    }
  }
  close(): Promise<void> {
    return this.#store.close();
  }

  async *#entries(
    source: Pick<Snapshot, 'scan'>,
    { limit, prefix, signal, values }: TargetScanOptions,
  ): AsyncGenerator<TargetEntry, void, undefined> {
    const range = { ...(prefix.length > 0 ? { prefix } : {}), ...(Number.isFinite(limit) ? { limit } : {}) };
    for await (const entry of source.scan({ ...range, values })) {
      if (signal.aborted) throw new InterruptedError();
      yield this.#entry(entry);
    }
  }

  #entry({ key, value, version, expiresMs }: ScanEntry): TargetEntry {
    const leftMs = expiresMs - this.#clock.nowMs();
    return { key, value, version, ttl: expiresMs === 0 ? null : Math.max(1, Math.ceil(leftMs / SECOND_MS)) };
  }
}

/** The store in this process has its own deadlines; a flag that does nothing would be a lie. */
function refuseTimeout({ timeoutMs }: { readonly timeoutMs?: number | undefined }): void {
  if (timeoutMs !== undefined)
    throw new UsageError('--timeout is for a server, and this is a data directory');
}
