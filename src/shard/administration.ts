/**
 * SNAPSHOT, RELEASE_SNAPSHOT, STATS, FLUSH, COMPACT and VERIFY. Owned by the shard's thread. A snapshot belongs
 * to the client that took it: no other client can read or release it, and it goes when that client goes.
 */
import { hasPassed } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { JobResult } from '../engine/contract.ts';
import type { ClientLink } from './client-link.ts';
import { Op } from './contract.ts';
import { statusOfError } from './error-status.ts';
import { NIL } from './held-requests.ts';
import { type ShardParts, TOO_MANY } from './shard-parts.ts';
import type { RequestView } from './shard-protocol.ts';

const encoder = new TextEncoder();
/** Reply of a request that took its time. */
interface Result {
  readonly version: number;
  readonly body: Uint8Array | null;
}
const DONE: Result = { version: 0, body: null };

export class Administration {
  readonly #parts: ShardParts;
  constructor(parts: ShardParts) {
    this.#parts = parts;
  }

  /** Executes a request that stands in its ring. */
  start(link: ClientLink, request: RequestView): void {
    const { engine } = this.#parts;
    switch (request.op) {
      case Op.STATS:
        this.#stats(link, request);
        return;
      case Op.RELEASE_SNAPSHOT:
        this.#release(link, request);
        return;
      case Op.SNAPSHOT:
        this.#later(link, request, () => this.#snapshot(link));
        return;
      case Op.FLUSH:
        this.#later(link, request, () => engine.flush().then(() => DONE));
        return;
      case Op.COMPACT:
        this.#later(link, request, () => engine.compactAll().then(() => DONE));
        return;
      default:
        this.#later(link, request, () => engine.verify().then(verified));
    }
  }

  /** Gives up the snapshots of a client that is gone. */
  releaseAll(link: ClientLink): void {
    for (const snapshot of link.snapshots) this.#parts.engine.releaseSnapshot(snapshot);
    link.snapshots.clear();
  }

  #stats(link: ClientLink, request: RequestView): void {
    const { engine, held, replies } = this.#parts;
    const figures = { ...engine.stats(), requestsHeld: held.count, requestBytesHeld: held.copiedBytes };
    const body = encoder.encode(JSON.stringify(figures));
    replies.setPage(true, 0, 0, request.key());
    replies.send(link, request, NIL, body, 0, body.length);
  }

  /** Executed again where the reply finds no room, so a snapshot that is gone already is no error. */
  #release(link: ClientLink, request: RequestView): void {
    const { engine, replies } = this.#parts;
    if (link.snapshots.delete(request.snapshot)) engine.releaseSnapshot(request.snapshot);
    replies.answer(link, request, NIL, Status.OK, 0, '');
  }

  async #snapshot(link: ClientLink): Promise<Result> {
    const { engine } = this.#parts;
    const version = await engine.snapshot();
    if (link.closed) engine.releaseSnapshot(version);
    else link.snapshots.add(version);
    return { version, body: null };
  }

  #later(link: ClientLink, request: RequestView, begin: () => Promise<Result>): void {
    const { held, replies, turn } = this.#parts;
    if (hasPassed(request.deadlineMs, turn.monotonicMs)) {
      replies.answer(link, request, NIL, Status.TIMEOUT, 0, 'the deadline passed; nothing was done');
      return;
    }
    if (held.peek() === NIL) {
      replies.answer(link, request, NIL, Status.OVERLOADED, 0, TOO_MANY);
      return;
    }
    void this.#run(held.take(link, request.slot, request.generation), begin);
  }

  /** An error that is none of the store's rejects this, unhandled: it ends the thread. */
  async #run(slot: number, begin: () => Promise<Result>): Promise<void> {
    const { replies } = this.#parts;
    try {
      const { version, body } = await begin();
      replies.finish(slot, Status.OK, version, body);
    } catch (error) {
      const status = statusOfError(error);
      replies.finish(slot, status, 0, encoder.encode((error as Error).message));
    }
    this.#parts.schedule();
  }
}

function verified({ bytesRead, recordsRead, damage }: JobResult): Result {
  const listed = damage.slice(0, limits.damageListedMax);
  const report = { bytesRead, recordsRead, damaged: damage.length, damage: listed };
  return { version: 0, body: encoder.encode(JSON.stringify(report)) };
}
