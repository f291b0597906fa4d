/**
 * PUT and DELETE: conditions, idempotency, and the append. Owned by the shard's thread. Invariants:
 *
 * 1. Between what a write is told about its key (the condition, the idempotency record) and its append, no other
 *    write to the key is executed: both happen in one turn, or the write is the head of its key's order
 *    (same-key-order.ts). What a lookup brings back is the newest at that moment (contract of ShardEngine).
 * 2. A reply waits for all that it rests on: a write for its own record, a refused condition for the record that it
 *    met, a repeat for the outcome of the first.
 * 3. With an idempotency key, record and outcome are one append: a crash keeps both or neither. A refused condition
 *    is an outcome and is kept too; a refusal by the engine (disk full, overloaded) is none, and may be repeated.
 */
import { hasPassed } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  isDeadAt,
  KEYSPACE_IDEMPOTENCY,
  KEYSPACE_USER,
  type RecordFields,
  versionAt,
} from '../base/record.ts';
import { Status, statusName } from '../base/status.ts';
import { type EngineLookup, LOOKUP_ABSENT, LOOKUP_FOUND, LOOKUP_PENDING } from '../engine/contract.ts';
import type { ClientLink } from './client-link.ts';
import { Condition, Op } from './contract.ts';
import { NIL } from './held-requests.ts';
import { idempotencyRecordKey, idempotencyRecordValue, RememberedOutcome } from './idempotency.ts';
import { encodeMessage } from './replies.ts';
import { SameKeyOrder } from './same-key-order.ts';
import { canHold, hold, type ShardParts, TOO_MANY } from './shard-parts.ts';
import { RequestView } from './shard-protocol.ts';

/** Where a write goes on after its lookup. */
const START = 0;
const OUTCOME_LOOKED_UP = 1;
const CURRENT_LOOKED_UP = 2;

const EMPTY = new Uint8Array(0);
const NOTHING_WRITTEN = '; nothing was written';
const newFields = (keyspace: number): RecordFields => ({
  tokenHi: 0,
  tokenLo: 0,
  keyspace,
  key: EMPTY,
  value: EMPTY,
  version: 0,
  origin: 0,
  flags: 0,
  expiresMs: 0,
});

export class Writes {
  readonly #parts: ShardParts;
  readonly #order: SameKeyOrder;
  readonly #record = newFields(KEYSPACE_USER);
  readonly #outcomeRecord = newFields(KEYSPACE_IDEMPOTENCY);
  readonly #remembered = new RememberedOutcome();
  readonly #resumed = new RequestView();
  /** Why the engine refuses, as of `#reasonMs`. */
  #reason = '';
  #reasonStatus = 0;
  #reasonMs = 0;

  constructor(parts: ShardParts) {
    this.#parts = parts;
    this.#order = new SameKeyOrder(parts.held);
  }

  /** Keys with a write that waits for a lookup. */
  get waitingKeys(): number {
    return this.#order.size;
  }

  /** Executes a write that stands in its ring. */
  start(link: ClientLink, request: RequestView): void {
    const { tokenHi, tokenLo } = request;
    if (this.#order.waits(tokenHi, tokenLo)) {
      const { held } = this.#parts;
      if (canHold(held, request, NIL)) this.#order.follow(tokenHi, tokenLo, hold(held, link, request, NIL));
      else this.#answer(link, request, NIL, Status.OVERLOADED, 0, TOO_MANY);
      return;
    }
    if (this.#go(link, request, NIL, START, LOOKUP_ABSENT, null)) this.#order.begin(tokenHi, tokenLo);
  }

  /** The lookup of a held write came back. Executes those behind it too, as far as they need not wait. */
  resume(slot: number, outcome: EngineLookup, error: Error | null): void {
    const request = this.#load(slot);
    const { tokenHi, tokenLo } = request;
    const { held } = this.#parts;
    const link = held.link[slot] as ClientLink;
    if (this.#go(link, request, slot, held.stage[slot] as number, outcome, error)) return;
    for (let next = this.#order.end(tokenHi, tokenLo); next !== NIL; next = this.#order.end(tokenHi, tokenLo))
      if (this.#go(held.link[next] as ClientLink, this.#load(next), next, START, LOOKUP_ABSENT, null)) return;
  }

  #load(slot: number): RequestView {
    const copy = this.#parts.held.copy(slot);
    this.#resumed.load(new DataView(copy.buffer), copy, 0, copy.length);
    return this.#resumed;
  }

  /** True where the write waits for a lookup; otherwise it was answered, or waits for its sync. */
  #go(
    link: ClientLink,
    request: RequestView,
    slot: number,
    stage: number,
    outcome: EngineLookup,
    error: Error | null,
  ): boolean {
    const { held, replies, turn } = this.#parts;
    if (link.closed) {
      if (slot !== NIL) held.free(slot);
      return false;
    }
    if (hasPassed(request.deadlineMs, turn.monotonicMs)) {
      this.#answer(link, request, slot, Status.TIMEOUT, 0, 'the deadline passed; nothing was written');
      return false;
    }
    try {
      if (error !== null) throw error;
      return this.#steps(link, request, slot, stage, outcome);
    } catch (thrown) {
      replies.answerError(link, request, slot, thrown, NOTHING_WRITTEN);
      return false;
    }
  }

  #steps(
    link: ClientLink,
    request: RequestView,
    slot: number,
    stage: number,
    outcome: EngineLookup,
  ): boolean {
    const { held, turn } = this.#parts;
    const idempotent = request.idempotencyLength > 0;
    const conditional = request.condition !== Condition.NONE;
    if (!idempotent && !conditional) {
      this.#write(link, request, slot);
      return false;
    }
    if (!canHold(held, request, slot)) {
      this.#answer(link, request, slot, Status.OVERLOADED, 0, TOO_MANY);
      return false;
    }
    let found = outcome;
    if (idempotent && stage !== CURRENT_LOOKED_UP) {
      if (stage === START) found = this.#lookup(KEYSPACE_IDEMPOTENCY, request, slot);
      if (found === LOOKUP_PENDING) return this.#wait(link, request, slot, OUTCOME_LOOKED_UP);
      const record = this.#parts.engine.found;
      if (found === LOOKUP_FOUND && !isDeadAt(record.view, record.offset, turn.nowMs)) {
        this.#repeat(link, request, slot);
        return false;
      }
    }
    if (!conditional) {
      this.#write(link, request, slot);
      return false;
    }
    if (stage !== CURRENT_LOOKED_UP) found = this.#lookup(KEYSPACE_USER, request, slot);
    if (found === LOOKUP_PENDING) return this.#wait(link, request, slot, CURRENT_LOOKED_UP);
    this.#judge(link, request, slot, found === LOOKUP_FOUND);
    return false;
  }

  #lookup(keyspace: number, request: RequestView, slot: number): EngineLookup {
    const { engine, held } = this.#parts;
    const key = keyspace === KEYSPACE_USER ? request.key() : idempotencyRecordKey(request);
    const ticket = slot === NIL ? held.peek() : slot;
    return engine.lookup(keyspace, request.tokenHi, request.tokenLo, key, true, ticket);
  }

  #wait(link: ClientLink, request: RequestView, slot: number, stage: number): boolean {
    const { held } = this.#parts;
    held.stage[hold(held, link, request, slot)] = stage;
    return true;
  }

  /** A write under a key that has an outcome. */
  #repeat(link: ClientLink, request: RequestView, slot: number): void {
    const { found } = this.#parts.engine;
    const { seq } = found;
    const first = this.#remembered;
    first.load(found);
    if (!first.answers(request)) {
      const text = Buffer.from(request.idempotencyKey()).toString();
      const message = `the idempotency key ${JSON.stringify(text)} was used for a different request`;
      this.#answer(link, request, slot, Status.BAD_REQUEST, 0, message + NOTHING_WRITTEN);
      return;
    }
    const message = first.status === Status.OK ? '' : mismatch(request, first.version);
    this.#settle(link, request, slot, seq, first.status, first.version, message);
  }

  #judge(link: ClientLink, request: RequestView, slot: number, found: boolean): void {
    const { engine, turn } = this.#parts;
    const { view, offset, seq } = engine.found;
    const live = found && !isDeadAt(view, offset, turn.nowMs);
    const current = live ? versionAt(view, offset) : 0;
    const holds = request.condition === Condition.EXISTS ? live : current === request.version;
    if (holds) {
      this.#write(link, request, slot);
      return;
    }
    let restsOn = found ? seq : 0;
    if (request.idempotencyLength > 0) {
      const version = this.#parts.versions.next();
      restsOn = engine.append(this.#outcome(request, version, Status.VERSION_MISMATCH, current), null);
      turn.appended = true;
    }
    if (restsOn < 0) this.#refused(link, request, slot, -restsOn);
    else {
      const message = mismatch(request, current);
      this.#settle(link, request, slot, restsOn, Status.VERSION_MISMATCH, current, message);
    }
  }

  #write(link: ClientLink, request: RequestView, slot: number): void {
    const { engine, held, versions, origin } = this.#parts;
    if (slot === NIL && held.peek() === NIL) {
      this.#answer(link, request, slot, Status.OVERLOADED, 0, TOO_MANY);
      return;
    }
    const version = versions.next();
    const record = this.#record;
    const dead = request.op === Op.DELETE;
    const expiresMs = dead ? 0 : request.expiresMs;
    record.tokenHi = request.tokenHi;
    record.tokenLo = request.tokenLo;
    record.key = request.key();
    record.value = dead ? EMPTY : request.value();
    record.version = version;
    record.origin = origin;
    record.flags = (dead ? FLAG_TOMBSTONE : 0) | (expiresMs > 0 ? FLAG_EXPIRING : 0);
    record.expiresMs = expiresMs;
    const also = request.idempotencyLength === 0 ? null : this.#outcome(request, version, Status.OK, version);
    const seq = engine.append(record, also);
    this.#parts.turn.appended = true;
    if (seq > 0) this.#settle(link, request, slot, seq, Status.OK, version, '');
    else this.#refused(link, request, slot, -seq);
  }

  #outcome(request: RequestView, version: number, status: number, replyVersion: number): RecordFields {
    const record = this.#outcomeRecord;
    record.tokenHi = request.tokenHi;
    record.tokenLo = request.tokenLo;
    record.key = idempotencyRecordKey(request);
    record.value = idempotencyRecordValue(request, status, replyVersion);
    record.version = version;
    record.origin = this.#parts.origin;
    record.flags = FLAG_EXPIRING;
    record.expiresMs = this.#parts.turn.nowMs + limits.idempotencyTtlMs;
    return record;
  }

  #refused(link: ClientLink, request: RequestView, slot: number, status: number): void {
    const { engine, turn } = this.#parts;
    // The engine's figures are dear, and refusals come in floods.
    if (this.#reasonStatus !== status || this.#reasonMs !== turn.nowMs) {
      const { writesRefused } = engine.stats();
      this.#reason = (writesRefused === '' ? statusName(status) : writesRefused) + NOTHING_WRITTEN;
      this.#reasonStatus = status;
      this.#reasonMs = turn.nowMs;
    }
    this.#answer(link, request, slot, status, 0, this.#reason);
  }

  /** Answers when `seq` is durable; 0 where it is, and nothing was appended. */
  #settle(
    link: ClientLink,
    request: RequestView,
    slot: number,
    seq: number,
    status: number,
    version: number,
    message: string,
  ): void {
    const { engine, held, replies } = this.#parts;
    if (seq === 0) {
      replies.answer(link, request, slot, status, version, message);
      return;
    }
    // Held even where it is durable by now: what was appended must not be executed again for want of room.
    const at = slot === NIL ? held.take(link, request.slot, request.generation) : slot;
    held.dropCopy(at);
    held.status[at] = status;
    held.version[at] = version;
    held.body[at] = message === '' ? null : encodeMessage(message);
    held.seq[at] = seq;
    if (seq <= engine.durableSeq) replies.settle(at);
    else this.#parts.waitDurable(at);
  }

  #answer(
    link: ClientLink,
    request: RequestView,
    slot: number,
    status: number,
    version: number,
    message: string,
  ): void {
    this.#parts.replies.answer(link, request, slot, status, version, message);
  }
}

function mismatch(request: RequestView, current: number): string {
  const is = current === 0 ? 'the key is absent' : `the version is ${current}`;
  const wanted =
    request.condition === Condition.EXISTS
      ? 'it must be there'
      : request.version === 0
        ? 'the key must be absent'
        : `it must be ${request.version}`;
  return `${is}, and ${wanted}${NOTHING_WRITTEN}`;
}
