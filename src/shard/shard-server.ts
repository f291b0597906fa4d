/**
 * The loop of one shard's thread: takes requests from the rings of all clients, has them executed over the engine, and
 * sends replies when what they rest on is durable. Owned by the shard's thread. Invariants:
 *
 * 1. A turn takes at most limits.shardBatchMax requests, in rounds of limits.shardClientBatchMax for each client
 *    in rotation, then starts one group commit and flushes each reply ring once. The rest of the event loop (syncs,
 *    reads, jobs) runs between turns.
 * 2. A write is answered with OK only after `onDurable` of its seq. One that will never be durable is answered with
 *    DISK_FULL where nothing was written, and otherwise with UNAVAILABLE, outcome unknown.
 * 3. The thread sleeps in its event loop, and says so through the doorbell, only when no request can be taken, and none could in
 *    the turn before: what comes while it syncs and answers finds it awake.
 * 4. The engine's errors go to the request that met them. Any other error ends the thread.
 */
import { assert } from '../base/assert.ts';
import { type Clock, HybridClock, MONOTONIC_ZERO } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { EngineListener, EngineLookup, ShardEngine } from '../engine/contract.ts';
import { type DoorbellMemory, DoorbellSleeper } from '../ipc/doorbell.ts';
import { Administration } from './administration.ts';
import { ClientLink } from './client-link.ts';
import { Op } from './contract.ts';
import { HeldRequests, NIL, newHeldList } from './held-requests.ts';
import { Reads } from './reads.ts';
import { ReplicaServer } from './replica-server.ts';
import { encodeMessage, Replies } from './replies.ts';
import type { ShardServerEnds } from './shard-ends.ts';
import type { ShardParts, Turn } from './shard-parts.ts';
import { isForReplica, isWrite, RequestView } from './shard-protocol.ts';
import { Writes } from './writes.ts';

export interface ShardServerOptions {
  /** Coordinator id in the records written here. */
  readonly origin: number;
  /** Of this thread: `connectShard` takes the same. */
  readonly doorbell: DoorbellMemory;
  readonly clock: Clock;
  readonly onEvent: (level: 'info' | 'warn' | 'error', message: string) => void;
  readonly heldMax?: number;
  /** Of the ring, and how long tombstones are kept. */
  readonly replica: { readonly vnodes: number; readonly gcGraceMs: number; readonly isRestart: boolean };
}

/** What there is once the engine is open. */
interface Running {
  readonly engine: ShardEngine;
  readonly reads: Reads;
  readonly writes: Writes;
  readonly replica: ReplicaServer;
  readonly administration: Administration;
}

export class ShardServer implements EngineListener {
  readonly #options: ShardServerOptions;
  readonly #sleeper: DoorbellSleeper;
  readonly #held: HeldRequests;
  readonly #replies: Replies;
  readonly #turnState: Turn = { nowMs: 0, monotonicMs: MONOTONIC_ZERO, appended: false };
  readonly #durable = newHeldList();
  readonly #runnable = newHeldList();
  readonly #links: ClientLink[] = [];
  /** The client that the next turn begins with. */
  #first = 0;
  #running: Running | null = null;
  #stopping = false;
  #turnDue = false;
  #retryTimer: NodeJS.Timeout | null = null;
  readonly #request = new RequestView();
  readonly #again = new RequestView();
  readonly #onTurnDue = (): void => {
    this.#turnDue = false;
    this.#turn();
  };
  readonly #onRetryDue = (): void => {
    this.#retryTimer = null;
    this.#turn();
  };
  readonly #onWake = (): void => this.#turn();
  readonly #pending = (): boolean => this.#links.some((link) => link.waiting());

  constructor(options: ShardServerOptions) {
    this.#options = options;
    this.#sleeper = new DoorbellSleeper(options.doorbell);
    this.#held = new HeldRequests(options.heldMax);
    this.#replies = new Replies(this.#held, () => {
      this.#retryTimer ??= setTimeout(this.#onRetryDue, limits.replyRetryMs);
    });
  }

  get requestsHeld(): number {
    return this.#held.count;
  }

  /** The engine is open, with this server as its listener. Requests are taken from now on. */
  start(engine: ShardEngine): void {
    assert(this.#running === null, 'shard server: started twice');
    const { clock, origin, replica } = this.#options;
    const versions = new HybridClock(clock);
    versions.observe(engine.versionMax);
    const parts: ShardParts = {
      engine,
      held: this.#held,
      replies: this.#replies,
      versions,
      origin,
      turn: this.#turnState,
      waitDurable: (slot) => this.#held.insertBySeq(this.#durable, slot),
      schedule: () => this.#schedule(),
    };
    this.#running = {
      engine,
      reads: new Reads(parts),
      writes: new Writes(parts),
      replica: new ReplicaServer(parts, { ...replica, clock, firstTicket: this.#held.max }),
      administration: new Administration(parts),
    };
    this.#schedule();
  }

  attach(ends: ShardServerEnds): void {
    assert(
      this.#links.every(({ client }) => client !== ends.client),
      () => `shard server: client ${ends.client} is attached already`,
    );
    assert(this.#links.length <= limits.frontendsMax, 'shard server: more clients than frontendsMax and one');
    this.#links.push(new ClientLink(ends, this.#onWake));
    this.#schedule();
  }

  /** The client is gone: drops its requests that were not begun, its replies and its snapshots. */
  detach(client: number): void {
    const at = this.#links.findIndex((link) => link.client === client);
    const [link] = at < 0 ? [] : this.#links.splice(at, 1);
    if (link === undefined) return;
    link.close();
    for (let slot = this.#held.shift(link.stuck); slot !== NIL; slot = this.#held.shift(link.stuck))
      this.#held.free(slot);
    this.#running?.administration.releaseAll(link);
  }

  /** Takes no more requests, closes the engine, answers what became durable by that, and closes the channels. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.#running?.engine.close();
    this.#running = null;
    for (const link of this.#links) {
      this.#replies.retry(link);
      link.flush();
      link.close();
    }
    this.#links.length = 0;
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
  }

  onDurable(seq: number): void {
    this.#settleDurable(seq);
    this.#running?.replica.store.waits.onDurable(seq);
    this.#flush();
  }

  onWriteFailure(status: number, error: Error): void {
    const running = this.#running;
    if (running === null) return;
    this.#settleDurable(running.engine.durableSeq);
    const full = status === Status.DISK_FULL;
    const message = full ? `${error.message}; nothing was written` : `${error.message}; outcome unknown`;
    const body = encodeMessage(message);
    const held = this.#held;
    for (let slot = held.shift(this.#durable); slot !== NIL; slot = held.shift(this.#durable))
      if (held.again[slot] === 1) this.#runSoon(slot);
      else this.#replies.finish(slot, full ? status : Status.UNAVAILABLE, 0, body);
    running.replica.store.waits.onWriteFailure(status, error);
    this.#flush();
  }

  onLookup(ticket: number, outcome: EngineLookup, error: Error | null): void {
    const running = this.#running;
    if (running === null) return;
    this.#readClock();
    if (running.replica.store.waits.isMine(ticket)) {
      running.replica.store.waits.onLookup(ticket, outcome, error);
      this.#schedule();
      return;
    }
    const copy = this.#held.copy(ticket);
    this.#again.load(new DataView(copy.buffer), copy, 0, copy.length);
    if (isWrite(this.#again.op)) running.writes.resume(ticket, outcome, error);
    else running.reads.resume(ticket, outcome, error);
    this.#schedule();
  }

  onEvent(level: 'info' | 'warn' | 'error', message: string): void {
    this.#options.onEvent(level, message);
  }

  #readClock(): void {
    const { clock } = this.#options;
    this.#turnState.nowMs = clock.nowMs();
    this.#turnState.monotonicMs = clock.monotonicMs();
  }

  #schedule(): void {
    if (this.#turnDue || this.#running === null) return;
    this.#turnDue = true;
    setImmediate(this.#onTurnDue);
  }

  #turn(): void {
    const running = this.#running;
    if (running === null) return;
    this.#sleeper.wake();
    this.#readClock();
    for (let slot = this.#held.shift(this.#runnable); slot !== NIL; slot = this.#held.shift(this.#runnable))
      this.#runAgain(running, slot);
    for (const link of this.#links) if (link.blocked) this.#retry(running, link);
    const taken = this.#stopping ? 0 : this.#take(running);
    if (this.#turnState.appended && !this.#stopping) {
      this.#turnState.appended = false;
      running.engine.commit();
    }
    for (const link of this.#links) {
      link.flush();
      link.release();
    }
    if (this.#stopping || this.#turnDue) return;
    if (taken > 0 || !this.#sleeper.sleep(this.#pending)) this.#schedule();
  }

  /** Executes requests of all clients, at most limits.shardBatchMax: how many there were. */
  #take(running: Running): number {
    const links = this.#links;
    let left: number = limits.shardBatchMax;
    for (let idle = 0; left > 0 && idle < links.length; ) {
      const link = links[this.#first % links.length] as ClientLink;
      const taken = this.#takeFrom(running, link, Math.min(left, limits.shardClientBatchMax));
      left -= taken;
      idle = taken === 0 ? idle + 1 : 0;
      this.#first = (this.#first + 1) % links.length;
    }
    return limits.shardBatchMax - left;
  }

  #takeFrom(running: Running, link: ClientLink, max: number): number {
    const { reader } = link;
    let count = 0;
    while (count < max && !link.blocked && reader.next()) {
      count++;
      this.#execute(running, link);
    }
    return count;
  }

  /** Executes the request on which the link's reader stands. */
  #execute({ reads, writes, replica, administration }: Running, link: ClientLink): void {
    const request = this.#request;
    const { reader } = link;
    request.load(reader.view, reader.bytes, reader.offset, reader.length);
    if (request.op === Op.GET) reads.get(link, request, NIL);
    else if (isWrite(request.op)) writes.start(link, request);
    else if (request.op === Op.SCAN) reads.scan(link, request);
    else if (isForReplica(request.op)) replica.start(link, request);
    else administration.start(link, request);
  }

  #retry(running: Running, link: ClientLink): void {
    const { refusals } = link;
    while (link.refusals === refusals && link.stuck.first !== NIL) {
      const slot = this.#replies.retry(link);
      if (slot !== NIL) this.#runAgain(running, slot);
    }
    if (link.stuck.first !== NIL || !link.unanswered) return;
    link.unanswered = false;
    this.#execute(running, link);
  }

  /** Executes a held GET from the start. */
  #runAgain({ reads }: Running, slot: number): void {
    const link = this.#held.link[slot] as ClientLink;
    const copy = this.#held.copy(slot);
    if (link.closed) {
      this.#held.free(slot);
      return;
    }
    this.#again.load(new DataView(copy.buffer), copy, 0, copy.length);
    reads.get(link, this.#again, slot);
  }
  #runSoon(slot: number): void {
    this.#held.append(this.#runnable, slot);
    this.#schedule();
  }

  #settleDurable(seq: number): void {
    const held = this.#held;
    while (this.#durable.first !== NIL && (held.seq[this.#durable.first] as number) <= seq) {
      const slot = held.shift(this.#durable);
      if (held.again[slot] === 1) this.#runSoon(slot);
      else this.#replies.settle(slot);
    }
  }

  #flush(): void {
    for (const link of this.#links) link.flush();
  }
}
