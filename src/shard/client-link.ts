/**
 * A shard's ends of the channels of one client. Owned by the shard's thread. Invariants:
 *
 * 1. No reply is lost: where the reply ring is full, the reply of a held request waits in `stuck`, and a request
 *    that could be answered at once stays in the request ring (`unanswered`), to be executed again.
 * 2. While either is the case, no further request of this client is taken: a client that does not read is refused
 *    by its own full request ring, and costs the shard nothing but slots that it held already.
 */

import { ChannelReader, ChannelWriter } from '../ipc/channel.ts';
import type { RingProducer } from '../ipc/contract.ts';
import { type HeldList, NIL, newHeldList } from './held-requests.ts';
import type { ShardServerEnds } from './shard-ends.ts';

export class ClientLink {
  readonly client: number;
  readonly out: RingProducer;
  readonly reader: ChannelReader;
  readonly stuck: HeldList = newHeldList();
  readonly snapshots = new Set<number>();
  unanswered = false;
  /** Replies to flush. */
  dirty = false;
  closed = false;
  /** Times that the reply ring had no room. */
  refusals = 0;
  readonly #writer: ChannelWriter;

  constructor({ client, requests, replies }: ShardServerEnds, onWake: () => void) {
    this.client = client;
    this.#writer = new ChannelWriter(replies);
    this.out = this.#writer;
    this.reader = new ChannelReader(requests, onWake);
  }

  get blocked(): boolean {
    return this.unanswered || this.stuck.first !== NIL;
  }
  /** Whether there is a request to take. */
  readonly waiting = (): boolean => !this.blocked && this.reader.pending();

  /** Makes replies visible. */
  flush(): void {
    if (!this.dirty || this.closed) return;
    this.dirty = false;
    this.#writer.flush();
  }
  /** Gives back the memory of requests that are through: only between turns, for the engine may be reading one. */
  release(): void {
    if (!this.unanswered && !this.closed) this.reader.release();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#writer.close();
    this.reader.close();
  }
}
