/**
 * A request that takes several replies: a batch, a scan, a look at every shard. Front-end thread. It lives from its
 * handler until its answer is written and its last reply has come, whichever is later, and counts as busy so long.
 */

import type { HttpResponse } from 'uWebSockets.js';
import { deadlineIn, type MonotonicMs } from '../base/clock.ts';
import type { RingKvError } from '../base/errors.ts';
import { Status } from '../base/status.ts';
import type { ShardReply } from '../shard/contract.ts';
import type { ReplySink } from './exchange.ts';
import type { FrontState } from './front-state.ts';

export abstract class Run implements ReplySink {
  protected readonly state: FrontState;
  protected readonly startMs: number;
  protected readonly head: boolean;
  protected readonly deadlineMs: MonotonicMs;
  protected inFlight = 0;
  readonly #metric: number;
  #res: HttpResponse | null = null;
  #paused = false;
  #ended = false;
  #begun = false;

  constructor(state: FrontState, metric: number, startMs: number, head: boolean, timeoutMs: number) {
    this.state = state;
    this.#metric = metric;
    this.startMs = startMs;
    this.head = head;
    this.deadlineMs = deadlineIn(state.clock, timeoutMs);
  }

  /** Takes the response over; must be called once, inside the handler. */
  begin(res: HttpResponse): void {
    this.#res = res;
    this.#begun = true;
    this.state.runs++;
    res.onAborted(() => {
      this.#res = null;
      this.state.metrics.aborted++;
      this.#ended = true;
      if (this.inFlight === 0) this.#over();
    });
    this.next();
    if (!this.#ended && this.#res !== null) {
      this.#paused = true;
      this.#res.pause();
    }
  }

  /** Sends what comes next, or answers. Called at the start and after each reply. */
  protected abstract next(): void;
  /** Takes a reply that is wanted still. */
  protected abstract take(reply: ShardReply, tag: number): void;
  /** Gives up what the run holds. */
  protected release(): void {
    return;
  }

  /** The answer is written, or nobody waits for it. */
  protected get ended(): boolean {
    return this.#ended;
  }

  /** Sends the client's request. */
  protected send(tag: number): number {
    const status = this.state.requests.send(this, tag);
    if (status === Status.OK) this.inFlight++;
    return status;
  }

  takeReply(reply: ShardReply, tag: number): void {
    this.inFlight--;
    if (!this.#ended) this.take(reply, tag);
    if (!this.#ended) this.next();
    if (this.#ended && this.inFlight === 0) this.#over();
  }

  /** Answers once. `write` ends the response and returns its HTTP status. */
  protected answer(write: (res: HttpResponse) => number): void {
    const res = this.#res;
    if (this.#ended || res === null) return;
    this.#ended = true;
    this.#res = null;
    let http = 0;
    res.cork(() => {
      if (this.#paused) res.resume();
      http = write(res);
    });
    this.state.metrics.count(this.#metric, http, this.startMs);
    // Otherwise takeReply does this, or the last reply that is on its way.
    if (this.inFlight === 0 && !this.#paused) this.#over();
  }

  protected fail(status: number, message: string): void {
    this.answer((res) => this.state.answers.fail(res, status, message, -1, this.head));
  }
  protected refuse(error: RingKvError): void {
    this.answer((res) => this.state.answers.refuse(res, error, this.head));
  }
  protected answerJson(value: unknown): void {
    this.answer((res) => {
      this.state.answers.endJson(res, 200, Buffer.from(JSON.stringify(value)), this.head);
      return 200;
    });
  }

  #over(): void {
    if (!this.#begun) return;
    this.#begun = false;
    this.state.runs--;
    this.release();
  }
}
