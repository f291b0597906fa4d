/**
 * One call, from its deadline to its outcome: which nodes are asked, when it is repeated (retry.ts), when a second node
 * is asked beside the first (hedge.ts). All tries of a call share one deadline.
 */
import { type Clock, deadlineIn, hasPassed, type MonotonicMs, msLeft } from '../base/clock.ts';
import { BadRequestError, ClosedError, RingKvError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { ConnectionError, retryAfterMsOf } from './errors.ts';
import type { Hedge } from './hedge.ts';
import type { ClientNode, NodePool } from './node-pool.ts';
import { Budget, backoffMs, worthRepeating } from './retry.ts';
import type { Router } from './router.ts';
import type { CallOptions } from './types.ts';

export interface Call<T> {
  /** null for what is not of one key: it goes over HTTP. */
  readonly key: Uint8Array | null;
  /** Doing it twice is the same as doing it once. */
  readonly repeatable: boolean;
  readonly hedged: boolean;
  /** It is meant for a node that was named to connect(), and for no other. */
  readonly isForNamed?: boolean;
  readonly run: (node: ClientNode, deadlineMs: MonotonicMs, signal: AbortSignal | undefined) => Promise<T>;
}

export interface CallerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly timeoutMs: number;
  readonly retries: number;
  readonly hedge: Hedge | null;
}

export class Caller {
  readonly router: Router;
  readonly #options: CallerOptions;
  readonly #budget = new Budget(limits.clientRetriesBurst, limits.clientRetriesPerSuccess);
  readonly #pool: NodePool;
  /** Lost connections whose repeats the budget has paid for. */
  readonly #paid = new WeakSet<ConnectionError>();
  #isClosed = false;

  constructor(pool: NodePool, router: Router, options: CallerOptions) {
    this.#pool = pool;
    this.router = router;
    this.#options = options;
  }

  async run<T>(call: Call<T>, { timeoutMs = this.#options.timeoutMs, signal }: CallOptions): Promise<T> {
    checkTimeout(timeoutMs);
    const { clock, random, retries, hedge } = this.#options;
    const deadlineMs = deadlineIn(clock, timeoutMs);
    const tried: ClientNode[] = [];
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted();
      if (this.#isClosed) throw new ClosedError('the client is closed');
      const node = this.router.pick(call.key, tried, call.isForNamed);
      try {
        const answer =
          call.hedged && hedge !== null && this.#pool.list.length > 1
            ? await this.#hedged(call, node, deadlineMs, signal, hedge)
            : await call.run(node, deadlineMs, signal);
        this.#budget.add();
        return answer;
      } catch (error) {
        if (!(error instanceof RingKvError) || signal?.aborted === true) throw error;
        if (this.#isClosed && !(error instanceof ClosedError))
          throw new ClosedError('the client was closed', { cause: error });
        const elsewhere = error instanceof ConnectionError || error instanceof UnavailableError;
        if (elsewhere) {
          this.router.failed(node);
          tried.push(node);
        }
        if (attempt >= retries || !worthRepeating(error, call.repeatable)) throw error;
        const isOther = (one: ClientNode): boolean =>
          !tried.includes(one) && (call.isForNamed !== true || one.isNamed);
        const untried = elsewhere && this.#pool.list.some(isOther);
        const waitMs = untried ? 0 : backoffMs(attempt, retryAfterMsOf(error), random);
        if (hasPassed(deadlineMs, deadlineIn(clock, waitMs)) || !this.#pay(error)) throw error;
        if (waitMs > 0) await pause(waitMs, signal);
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#pool.close();
  }

  /** What one connection lost is repeated together, in few messages, and costs the budget one repeat. */
  #pay(error: RingKvError): boolean {
    if (!(error instanceof ConnectionError)) return this.#budget.take();
    if (this.#paid.has(error)) return true;
    if (!this.#budget.take()) return false;
    this.#paid.add(error);
    return true;
  }

  /** The first success of two nodes; the error of the first one where both fail. The one that lost is given up. */
  async #hedged<T>(
    call: Call<T>,
    node: ClientNode,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
    hedge: Hedge,
  ): Promise<T> {
    const { clock } = this.#options;
    const startMs = clock.monotonicMs();
    const over = new AbortController();
    const inner = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
    const first = call.run(node, deadlineMs, inner);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const { afterMs } = hedge;
    const tries: Promise<T>[] = [first];
    try {
      if (afterMs < msLeft(deadlineMs, startMs)) {
        const late = new Promise<'late'>((done) => {
          timer = setTimeout(() => done('late'), afterMs);
        });
        const outcome = await Promise.race([first.then(() => 'done' as const), late]);
        const second = this.router.pick(call.key, [node]);
        if (outcome === 'late' && second !== node && hedge.take())
          tries.push(call.run(second, deadlineMs, inner));
      }
      const answer = tries.length === 1 ? await first : await firstSuccess(tries);
      hedge.answered(clock.monotonicMs() - startMs);
      return answer;
    } finally {
      clearTimeout(timer);
      over.abort(new ClosedError('another node answered first'));
    }
  }
}

async function firstSuccess<T>(tries: readonly Promise<T>[]): Promise<T> {
  try {
    return await Promise.any(tries);
  } catch (error) {
    throw error instanceof AggregateError ? error.errors[0] : error;
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', cancel);
      resolve();
    }, ms);
    signal?.addEventListener('abort', cancel, { once: true });
  });
}

function checkTimeout(timeoutMs: number): void {
  if (!(Number.isInteger(timeoutMs) && timeoutMs > 0 && timeoutMs <= limits.requestTimeoutMsMax))
    throw new BadRequestError(
      `a timeout of ${timeoutMs} ms; it lies between 1 and ${limits.requestTimeoutMsMax}`,
    );
}
