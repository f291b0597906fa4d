/**
 * Requests of many that go to one node over HTTP: those of one turn of the loop share batches (POST /v1/batch), a few of which
 * are in flight at a time. A batch that is lost or refused as a whole ends each of its requests as it would end a request
 * alone; whoever asked decides what is repeated. Invariant: a request settles once, and a batch holds no more ops, bytes or
 * expected bytes of answers than the limits say, or one op.
 */
import { type Clock, latest, type MonotonicMs, msLeft } from '../base/clock.ts';
import { OverloadedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { isDots, type RawAnswer } from './encoding.ts';
import { CBOR, decodeResults, encodeBatch, OP_OVERHEAD_BYTES } from './http-batch-format.ts';
import { type KvAnswer, KvOp, type KvRequest } from './kv.ts';
import { Pending } from './pending.ts';
import type { HttpRequest } from './platform.ts';

export interface HttpBatchOptions {
  readonly clock: Clock;
  readonly soon: (what: () => void) => void;
  /** The answer, of a status below 400; rejects with what another stands for. */
  readonly call: (request: HttpRequest, deadlineMs: MonotonicMs, signal: AbortSignal) => Promise<RawAnswer>;
  /** A request alone. */
  readonly one: (
    request: KvRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
  ) => Promise<KvAnswer>;
}

export class HttpBatch {
  readonly #options: HttpBatchOptions;
  #waiting: Pending[] = [];
  #inFlight = 0;
  #flushComing = false;
  #sweepTimer: ReturnType<typeof setTimeout> | null = null;
  /** Of the values of recent gets; at first the longest that there may be. */
  #valueBytes: number = limits.valueBytesMax;
  #hasSeenValues = false;

  constructor(options: HttpBatchOptions) {
    this.#options = options;
  }

  /** Whether a request may share a batch. */
  static takes({ value, idempotencyKey }: KvRequest): boolean {
    return (
      idempotencyKey === undefined && (value === null || value.length <= limits.clientBatchValueBytesMax)
    );
  }

  send(request: KvRequest, deadlineMs: MonotonicMs, signal: AbortSignal | undefined): Promise<KvAnswer> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#waiting.length >= limits.clientQueueMax)
        throw new OverloadedError(
          `${this.#waiting.length} requests wait for their batch; the limit is ${limits.clientQueueMax}; nothing was sent`,
        );
      this.#waiting.push(new Pending(request, deadlineMs, signal, resolve, reject));
      this.#sweepTimer ??= setTimeout(this.#sweep, limits.clientSweepMs);
      if (this.#flushComing) return;
      this.#flushComing = true;
      this.#options.soon(this.#flush);
    });
  }

  close(reason: unknown): void {
    for (const pending of this.#waiting.splice(0)) pending.reject(reason);
    if (this.#sweepTimer !== null) clearTimeout(this.#sweepTimer);
    this.#sweepTimer = null;
  }

  readonly #flush = (): void => {
    this.#flushComing = false;
    while (this.#inFlight < limits.clientBatchesInFlightMax) {
      const batch = this.#next();
      if (batch.length === 0) return;
      this.#inFlight++;
      void this.#run(batch).finally(() => {
        this.#inFlight--;
        this.#flush();
      });
    }
  };

  /** Takes what shares the next batch: what waited longest, and what has about its deadline. */
  #next(): Pending[] {
    const batch: Pending[] = [];
    const nowMs = this.#options.clock.monotonicMs();
    let bytes = 0;
    let expectedBytes = 0;
    let taken = 0;
    for (const pending of this.#waiting) {
      pending.expireUnsent(nowMs);
      if (!pending.settled) {
        const isGet = pending.request.op === KvOp.GET;
        const [first = pending] = batch;
        bytes += pending.bytes + OP_OVERHEAD_BYTES;
        expectedBytes += isGet ? this.#valueBytes : 0;
        const fits =
          batch.length < limits.clientBatchOpsMax &&
          bytes <= limits.clientBatchBytesMax &&
          expectedBytes <= limits.clientBatchReplyBytesMax &&
          Math.abs(msLeft(pending.deadlineMs, first.deadlineMs)) <= limits.clientBatchSlackMs;
        if (batch.length > 0 && !fits) break;
        batch.push(pending);
      }
      taken++;
    }
    this.#waiting = this.#waiting.slice(taken);
    return batch;
  }

  async #run(batch: readonly Pending[]): Promise<void> {
    const over = new AbortController();
    const abortWhenAllAre = (): void => {
      if (batch.every(({ settled }) => settled)) over.abort();
    };
    for (const pending of batch) pending.onAborted = abortWhenAllAre;
    try {
      const [first] = batch;
      if (batch.length === 1 && first !== undefined && !isDots(first.request.key)) {
        const { request, deadlineMs } = first;
        const answer = await this.#options.one(request, deadlineMs, over.signal);
        this.#learn(answer);
        first.resolve(answer);
        return;
      }
      const deadlineMs = latest(batch.map((pending) => pending.deadlineMs));
      const requests = batch.map(({ request }) => request);
      const headers = { 'content-type': CBOR, accept: CBOR };
      const request = { method: 'POST', path: '/v1/batch', headers, body: encodeBatch(requests) } as const;
      const answer = await this.#options.call(request, deadlineMs, over.signal);
      const outcomes = decodeResults(
        answer.body,
        requests.map(({ op }) => op),
      );
      for (const [index, outcome] of outcomes.entries())
        if (outcome instanceof Error) batch[index]?.reject(outcome);
        else {
          this.#learn(outcome);
          batch[index]?.resolve(outcome);
        }
    } catch (error) {
      for (const pending of batch) pending.reject(error);
    }
  }

  /** Up at once, down slowly: a value beyond what was expected is refused by the server and asked for again. */
  #learn({ value }: KvAnswer): void {
    if (value === null) return;
    const { length } = value;
    if (!this.#hasSeenValues || length > this.#valueBytes) this.#valueBytes = length;
    else this.#valueBytes = this.#valueBytes * 0.99 + length * 0.01;
    this.#hasSeenValues = true;
  }

  /** Ends those that wait beyond their deadlines. */
  readonly #sweep = (): void => {
    this.#sweepTimer = null;
    const nowMs = this.#options.clock.monotonicMs();
    for (const pending of this.#waiting) pending.expireUnsent(nowMs);
    this.#waiting = this.#waiting.filter(({ settled }) => !settled);
    if (this.#waiting.length > 0) this.#sweepTimer = setTimeout(this.#sweep, limits.clientSweepMs);
  };
}
