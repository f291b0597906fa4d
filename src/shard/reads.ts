/**
 * GET and SCAN over the durable state. Owned by the shard's thread. A read is executed anew where its reply finds no
 * room, so no value is kept for a client that does not read.
 */
import { hasPassed } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  expiresMsAt,
  isDeadAt,
  KEYSPACE_USER,
  keyLengthAt,
  RECORD_HEADER_BYTES,
  recordBytes,
  recordBytesAt,
  valueLengthAt,
  valueStartAt,
  versionAt,
} from '../base/record.ts';
import { Status } from '../base/status.ts';
import { type EngineLookup, LOOKUP_FOUND, LOOKUP_PENDING } from '../engine/contract.ts';
import type { ClientLink } from './client-link.ts';
import { NIL } from './held-requests.ts';
import { canHold, hold, type ShardParts, TOO_MANY } from './shard-parts.ts';
import { RequestView } from './shard-protocol.ts';

const PAGE_BYTES_START = 64 * 1024;
/** A page buffer that has grown up to this is kept: one of its default limit of records of 2 KB takes 200 KiB. */
const PAGE_BYTES_KEPT = 512 * 1024;
const PAGE_BYTES_MAX =
  limits.scanPageBytesMax + recordBytes(limits.keyBytesCeiling, limits.valueBytesCeiling);

export class Reads {
  readonly #parts: ShardParts;
  readonly #resumed = new RequestView();
  #page = new Uint8Array(PAGE_BYTES_START);
  #pageView = new DataView(this.#page.buffer);
  #pageBytes = 0;

  constructor(parts: ShardParts) {
    this.#parts = parts;
  }

  /** Executes a GET: from its ring, or a held one (`slot`) from the start. */
  get(link: ClientLink, request: RequestView, slot: number): void {
    const { engine, held, replies, turn } = this.#parts;
    if (hasPassed(request.deadlineMs, turn.monotonicMs)) {
      replies.answer(link, request, slot, Status.TIMEOUT, 0, 'the deadline passed; nothing was read');
      return;
    }
    if (!canHold(held, request, slot)) {
      replies.answer(link, request, slot, Status.OVERLOADED, 0, TOO_MANY);
      return;
    }
    const { tokenHi, tokenLo } = request;
    const ticket = slot === NIL ? held.peek() : slot;
    try {
      const outcome = engine.lookup(KEYSPACE_USER, tokenHi, tokenLo, request.key(), false, ticket);
      if (outcome === LOOKUP_PENDING) hold(held, link, request, slot);
      else this.#finish(link, request, slot, outcome);
    } catch (error) {
      replies.answerError(link, request, slot, error, '');
    }
  }

  /** The lookup of a held GET came back. */
  resume(slot: number, outcome: EngineLookup, error: Error | null): void {
    const { held, replies } = this.#parts;
    const copy = held.copy(slot);
    const link = held.link[slot] as ClientLink;
    const request = this.#resumed;
    request.load(new DataView(copy.buffer), copy, 0, copy.length);
    if (link.closed) held.free(slot);
    else if (error !== null) replies.answerError(link, request, slot, error, '');
    else this.#finish(link, request, slot, outcome);
  }

  #finish(link: ClientLink, request: RequestView, slot: number, outcome: EngineLookup): void {
    const { engine, held, replies, turn } = this.#parts;
    const { view, bytes, offset, seq } = engine.found;
    if (outcome === LOOKUP_FOUND && seq > engine.durableSeq) {
      const at = hold(held, link, request, slot);
      held.again[at] = 1;
      held.seq[at] = seq;
      this.#parts.waitDurable(at);
    } else if (outcome === LOOKUP_FOUND && !isDeadAt(view, offset, turn.nowMs)) {
      replies.setFound(versionAt(view, offset), expiresMsAt(view, offset));
      replies.send(link, request, slot, bytes, valueStartAt(view, offset), valueLengthAt(view, offset));
    } else replies.answer(link, request, slot, Status.NOT_FOUND, 0, '');
  }

  /** One page, executed from its ring. */
  scan(link: ClientLink, request: RequestView): void {
    const { engine, replies, turn } = this.#parts;
    const { tokenHi, tokenLo, exclusive, snapshot } = request;
    if (hasPassed(request.deadlineMs, turn.monotonicMs)) {
      replies.answer(link, request, NIL, Status.TIMEOUT, 0, 'the deadline passed; nothing was read');
      return;
    }
    if (snapshot !== 0 && !link.snapshots.has(snapshot)) {
      replies.answer(link, request, NIL, Status.BAD_REQUEST, 0, `there is no snapshot ${snapshot}`);
      return;
    }
    this.#pageBytes = 0;
    const visit = request.withValues ? this.#visitWhole : this.#visitKey;
    try {
      const end = engine.scan(
        {
          from: { tokenHi, tokenLo, keyspace: KEYSPACE_USER, key: request.key() },
          exclusive,
          prefix: request.value(),
          limit: Math.min(limits.scanLimitMax, Math.max(1, request.limit)),
          bytesMax: limits.scanPageBytesMax,
          examinedMax: limits.scanExaminedMax,
          keyspace: KEYSPACE_USER,
        },
        snapshot,
        visit,
      );
      replies.setPage(end.done, end.tokenHi, end.tokenLo, end.key);
      replies.send(link, request, NIL, this.#page, 0, this.#pageBytes);
    } catch (error) {
      replies.answerError(link, request, NIL, error, '');
    }
    if (this.#page.length > PAGE_BYTES_KEPT) this.#grow(PAGE_BYTES_START, 0);
  }

  readonly #visitWhole = (view: DataView, bytes: Uint8Array, offset: number): void => {
    const size = recordBytesAt(view, offset);
    this.#reserve(size);
    this.#page.set(bytes.subarray(offset, offset + size), this.#pageBytes);
    this.#pageBytes += size;
  };

  readonly #visitKey = (view: DataView, bytes: Uint8Array, offset: number): void => {
    const keyLength = keyLengthAt(view, offset);
    const size = recordBytes(keyLength, 0);
    this.#reserve(size);
    const at = this.#pageBytes;
    const end = RECORD_HEADER_BYTES + keyLength;
    this.#page.set(bytes.subarray(offset, offset + end), at);
    this.#page.fill(0, at + end, at + size);
    this.#pageView.setUint32(at, 0, true);
    this.#pageBytes += size;
  };

  #reserve(size: number): void {
    const need = this.#pageBytes + size;
    if (need > this.#page.length) this.#grow(Math.min(PAGE_BYTES_MAX, 2 * need), this.#pageBytes);
  }
  #grow(size: number, kept: number): void {
    const page = new Uint8Array(size);
    page.set(this.#page.subarray(0, kept));
    this.#page = page;
    this.#pageView = new DataView(page.buffer);
  }
}
