/**
 * How a replica's requests wait on one shard's engine: for files, for the requests of the same key before them, for
 * durability. Owned by the shard's thread; what they do is in replica-store.ts.
 */
import { limits } from '../base/limits.ts';
import { recordBytesAt } from '../base/record.ts';
import { Status } from '../base/status.ts';
import {
  type EngineLookup,
  LOOKUP_ABSENT,
  LOOKUP_FOUND,
  LOOKUP_PENDING,
  type ShardEngine,
} from '../engine/contract.ts';
import { statusOfError } from './error-status.ts';
import { type Held, viewOf } from './replica-records.ts';

const NOTHING_WRITTEN = '; nothing was written';

/** Called with what a lookup found. */
export type OnHeld = (held: Held | null) => void;
export type OnFailure = (status: number, message: string) => void;
/** A request; it calls `release` when others of its key may go on. */
export type Run = (release: () => void) => void;

interface Lookup {
  readonly done: OnHeld;
  readonly fail: OnFailure;
}
interface Waiting {
  readonly seq: number;
  readonly done: () => void;
  readonly fail: OnFailure;
}

const placeOf = (tokenHi: number, tokenLo: number): number => tokenHi * 2 ** 21 + (tokenLo >>> 11);

export class ReplicaWaits {
  readonly #engine: ShardEngine;
  readonly #firstTicket: number;
  readonly #lookups = new Map<number, Lookup>();
  #nextTicket = 0;
  /** By token: what waits behind a request for it that waits for a file. */
  readonly #chains = new Map<number, Run[]>();
  /** By rising seq. */
  readonly #waiting: Waiting[] = [];

  /** `firstTicket`: the first of limits.replicaLookupsMax tickets of the engine that are used here. */
  constructor(engine: ShardEngine, firstTicket: number) {
    this.#engine = engine;
    this.#firstTicket = firstTicket;
  }

  /** Requests that wait for a file or for a sync. */
  get inFlight(): number {
    return this.#lookups.size + this.#waiting.length;
  }
  isMine(ticket: number): boolean {
    return ticket >= this.#firstTicket;
  }

  onDurable(seq: number): void {
    let count = 0;
    while (count < this.#waiting.length && (this.#waiting[count] as Waiting).seq <= seq) count++;
    for (const { done } of this.#waiting.splice(0, count)) done();
  }
  onWriteFailure(status: number, error: Error): void {
    this.onDurable(this.#engine.durableSeq);
    const full = status === Status.DISK_FULL;
    const message = error.message + (full ? NOTHING_WRITTEN : '; outcome unknown');
    for (const { fail } of this.#waiting.splice(0)) fail(full ? status : Status.UNAVAILABLE, message);
  }
  onLookup(ticket: number, outcome: EngineLookup, error: Error | null): void {
    const lookup = this.#lookups.get(ticket);
    if (lookup === undefined) return;
    this.#lookups.delete(ticket);
    if (error !== null) lookup.fail(statusOfError(error), error.message);
    else lookup.done(outcome === LOOKUP_FOUND ? this.found() : null);
  }

  /** `inMemory`: of memtables alone, which never waits. */
  lookup(
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    fail: OnFailure,
    then: OnHeld,
    inMemory = false,
  ): void {
    const engine = this.#engine;
    const ticket = inMemory ? 0 : this.#freeTicket();
    let outcome: EngineLookup;
    try {
      if (!inMemory) outcome = engine.lookup(keyspace, tokenHi, tokenLo, key, true, ticket);
      else outcome = engine.lookupMemory(keyspace, tokenHi, tokenLo, key) ? LOOKUP_FOUND : LOOKUP_ABSENT;
    } catch (error) {
      fail(statusOfError(error), (error as Error).message);
      return;
    }
    if (outcome === LOOKUP_PENDING) this.#lookups.set(ticket, { done: then, fail });
    else then(outcome === LOOKUP_FOUND ? this.found() : null);
  }

  #freeTicket(): number {
    do this.#nextTicket = (this.#nextTicket + 1) % limits.replicaLookupsMax;
    while (this.#lookups.has(this.#firstTicket + this.#nextTicket));
    return this.#firstTicket + this.#nextTicket;
  }

  /** A copy: what the engine found is gone with the next call. */
  found(): Held {
    const { bytes, view, offset, seq } = this.#engine.found;
    const copy = bytes.slice(offset, offset + recordBytesAt(view, offset));
    return { bytes: copy, view: viewOf(copy), seq: seq > this.#engine.durableSeq ? seq : 0 };
  }

  whenDurable(seq: number, done: () => void, fail: OnFailure): void {
    if (seq <= this.#engine.durableSeq) {
      done();
      return;
    }
    let at = this.#waiting.length;
    while (at > 0 && (this.#waiting[at - 1] as Waiting).seq > seq) at--;
    this.#waiting.splice(at, 0, { seq, done, fail });
  }

  /**
   * Runs a request when none before it for the token waits for a lookup. It calls `release` once it has appended or been
   * answered: those behind it go on then, and not only when that is durable.
   */
  inOrder(tokenHi: number, tokenLo: number, run: Run): void {
    const place = placeOf(tokenHi, tokenLo);
    const chain = this.#chains.get(place);
    if (chain === undefined) this.#run(place, run);
    else chain.push(run);
  }

  /** Whether a request for the token waits for a lookup. */
  isOccupied(tokenHi: number, tokenLo: number): boolean {
    return this.#chains.size > 0 && this.#chains.has(placeOf(tokenHi, tokenLo));
  }

  /** False where it waits for a lookup: the chain goes on when that is through. */
  #run(place: number, run: Run): boolean {
    let isReleased = false;
    let hasReturned = false;
    run(() => {
      if (isReleased) return;
      isReleased = true;
      if (hasReturned) this.#goOn(place);
    });
    hasReturned = true;
    if (!isReleased && !this.#chains.has(place)) this.#chains.set(place, []);
    return isReleased;
  }

  #goOn(place: number): void {
    const chain = this.#chains.get(place);
    for (let next = chain?.shift(); next !== undefined; next = chain?.shift())
      if (!this.#run(place, next)) return;
    this.#chains.delete(place);
  }
}
