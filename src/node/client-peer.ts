/**
 * A client of the shards as the main thread sees it: a front-end thread, or the thread that embeds the store.
 *
 * When a shard is started again, every client must have turned to its new memtables before the shard answers the first
 * of them: else one could still read from the old ones what another has overwritten. So `attach` resolves when the client
 * has done so, and only then does the shard get its own ends (shard-run.ts).
 */
import type { DoorbellMemory } from '../ipc/doorbell.ts';
import type { RingShardClient } from '../shard/shard-client.ts';
import type { ShardClientEnds } from '../shard/shard-ends.ts';

export interface ClientPeer {
  readonly doorbell: DoorbellMemory;
  /** Resolves when the client uses the ends, or never will. */
  attach(ends: ShardClientEnds): Promise<void>;
  /** The shard's thread has ended. */
  detach(shard: number): void;
}

/** The client of this thread. */
export class LocalPeer implements ClientPeer {
  readonly doorbell: DoorbellMemory;
  readonly #client: RingShardClient;
  #closed = false;

  constructor(client: RingShardClient, doorbell: DoorbellMemory) {
    this.#client = client;
    this.doorbell = doorbell;
  }
  attach(ends: ShardClientEnds): Promise<void> {
    if (!this.#closed) this.#client.attach(ends);
    return Promise.resolve();
  }
  detach(shard: number): void {
    if (!this.#closed) this.#client.detach(shard);
  }
  /** The client is about to be closed. */
  close(): void {
    this.#closed = true;
  }
}
