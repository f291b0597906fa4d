/**
 * Puts replies into the rings of their clients, and keeps those that find no room. Owned by the shard's thread.
 * `slot` is the place of a request among the held ones, NIL for one that still stands in its ring: the first waits
 * in its link's `stuck` list, the second is executed again (client-link.ts has the invariants).
 */
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { ClientLink } from './client-link.ts';
import { statusOfError } from './error-status.ts';
import { type HeldRequests, NIL } from './held-requests.ts';
import { newReplyHead, type ReplyHead, type RequestView, setPlain, writeReply } from './shard-protocol.ts';

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
const scratch = new Uint8Array(limits.replyMessageBytesMax);

/** The UTF-8 of a message, cut at a character where it is longer than limits.replyMessageBytesMax. */
export function encodeMessage(message: string): Uint8Array {
  return scratch.slice(0, encoder.encodeInto(message, scratch).written);
}

export class Replies {
  readonly #held: HeldRequests;
  readonly #onFull: () => void;
  /** For `send`: whoever fills it in sets every field but slot and generation. */
  readonly head: ReplyHead = newReplyHead();

  /** `onFull`: a reply found no room, and waits for `retry`. */
  constructor(held: HeldRequests, onFull: () => void) {
    this.#held = held;
    this.#onFull = onFull;
  }

  /** Answers with a status and a message or other body, '' for none. */
  answer(
    link: ClientLink,
    request: RequestView,
    slot: number,
    status: number,
    version: number,
    message: string,
  ): void {
    const body = message === '' ? null : encodeMessage(message);
    if (slot !== NIL) {
      this.finish(slot, status, version, body);
      return;
    }
    setPlain(this.head, status, version);
    this.send(link, request, NIL, body ?? EMPTY, 0, body?.length ?? 0);
  }

  answerError(link: ClientLink, request: RequestView, slot: number, error: unknown, outcome: string): void {
    const status = statusOfError(error);
    this.answer(link, request, slot, status, 0, `${(error as Error).message}${outcome}`);
  }

  /**
   * Answers with `head` and a body that is there only now: where there is no room, the request is executed again
   * later, and must be held with its copy or stand in its ring.
   */
  send(
    link: ClientLink,
    request: RequestView,
    slot: number,
    bytes: Uint8Array,
    start: number,
    length: number,
  ): void {
    const { head } = this;
    head.slot = request.slot;
    head.generation = request.generation;
    if (this.#write(link, bytes, start, length)) {
      if (slot !== NIL) this.#held.free(slot);
    } else if (slot === NIL) link.unanswered = true;
    else {
      this.#held.again[slot] = 1;
      this.#held.append(link.stuck, slot);
    }
  }

  /** Answers a held request whose reply is small enough to be kept. */
  finish(slot: number, status: number, version: number, body: Uint8Array | null): void {
    const held = this.#held;
    const link = held.link[slot] as ClientLink;
    held.again[slot] = 0;
    held.status[slot] = status;
    held.version[slot] = version;
    held.body[slot] = body;
    if (link.stuck.first === NIL && this.#finish(link, slot)) held.free(slot);
    else {
      held.dropCopy(slot);
      held.append(link.stuck, slot);
    }
  }

  /** The reply that a held request was given before. */
  settle(slot: number): void {
    const held = this.#held;
    this.finish(slot, held.status[slot] as number, held.version[slot] as number, held.body[slot] ?? null);
  }

  /**
   * Sends what is stuck, as far as there is room. Gives the first request that must be executed again, taken off the
   * list, or NIL.
   */
  retry(link: ClientLink): number {
    const held = this.#held;
    for (let slot = link.stuck.first; slot !== NIL; slot = link.stuck.first) {
      if (held.again[slot] === 1) return held.shift(link.stuck);
      if (!this.#finish(link, slot)) return NIL;
      held.free(held.shift(link.stuck));
    }
    return NIL;
  }

  #finish(link: ClientLink, slot: number): boolean {
    const held = this.#held;
    setPlain(this.head, held.status[slot] as number, held.version[slot] as number);
    this.head.slot = held.clientSlot[slot] as number;
    this.head.generation = held.generation[slot] as number;
    const body = held.body[slot] ?? null;
    return this.#write(link, body ?? EMPTY, 0, body?.length ?? 0);
  }

  /** True as well where the client is gone: nobody waits. */
  #write(link: ClientLink, bytes: Uint8Array, start: number, length: number): boolean {
    if (link.closed) return true;
    if (!writeReply(link.out, this.head, bytes, start, length)) {
      link.refusals++;
      this.#onFull();
      return false;
    }
    link.dirty = true;
    return true;
  }

  /** Sets `head` for a record that was found. */
  setFound(version: number, expiresMs: number): void {
    setPlain(this.head, Status.OK, version);
    this.head.expiresMs = expiresMs;
  }
  /** Sets `head` for a scan page. */
  setPage(done: boolean, tokenHi: number, tokenLo: number, key: Uint8Array): void {
    setPlain(this.head, Status.OK, 0);
    this.head.done = done;
    this.head.tokenHi = tokenHi;
    this.head.tokenLo = tokenLo;
    this.head.key = key;
  }
}
