/**
 * Reads and writes of one node over one WebSocket. What is asked for in one turn of the loop goes in one message
 * (ws-batch.ts says how much). A connection that is lost is made anew after a random wait that grows with each failure;
 * what was in flight on it rejects as unknown, what still waited as not sent. A connection that gives no sign of life,
 * leaves a request unanswered long after its deadline, or sends what ringkv.v1 does not allow, counts as lost. A put whose value is longer
 * than the connection takes goes over HTTP to the same node, which may take it there: docs/websocket.md, "Limits are a connection's own".
 */
import { type Clock, type MonotonicMs, msLeft } from '../base/clock.ts';
import {
  BadRequestError,
  ClosedError,
  OverloadedError,
  type RingKvError,
  ValueTooLargeError,
} from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { Status } from '../base/status.ts';
import { ConnectionError, errorOfWsStatus, ProtocolError } from './errors.ts';
import { type KvAnswer, type KvLink, KvOp, type KvRequest } from './kv.ts';
import { Pending } from './pending.ts';
import { type Platform, quietTimer, type StandardSocket, type TlsOptions } from './platform.ts';
import { reconnectMs } from './retry.ts';
import { decodeAnswers, type WsAnswers } from './ws-answers.ts';
import { type ServerLimits, WsBatch } from './ws-batch.ts';
import { encodeRequests } from './ws-requests.ts';

export interface WsLinkOptions {
  readonly platform: Platform;
  readonly clock: Clock;
  readonly random: Random;
  readonly tls: TlsOptions | undefined;
  /** The same node over HTTP. */
  readonly http: KvLink;
  /** For tests. */
  readonly heartbeatMs?: number;
}

const SUB_PROTOCOL = 'ringkv.v1';
const NO_KEY = new Uint8Array(0);
const defaults: ServerLimits = {
  valueBytesMax: limits.valueBytesMax,
  messageBytesMax: limits.wsMessageBytesMax,
  messageRequestsMax: limits.wsBatchRequestsMax,
  inFlightMax: limits.wsInFlightMax,
  inFlightBytesMax: limits.wsInFlightBytesMax,
  pausedBytes: limits.wsPausedBytes,
};

export class WsLink implements KvLink {
  readonly #url: string;
  readonly #options: WsLinkOptions;
  readonly #batch: WsBatch;
  /** Of values that are on their way over HTTP. */
  #httpBytes = 0;
  #socket: StandardSocket | null = null;
  /** The limits have come, and requests may go. */
  #isOpen = false;
  #failures = 0;
  #isClosed = false;
  #flushComing = false;
  #heardMs = 0;
  #heartbeatId = 0;
  #heartbeatMs = 0;
  #connectTimer: ReturnType<typeof setTimeout> | null = null;
  #sweepTimer: ReturnType<typeof setTimeout> | null = null;
  #heartbeatTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(url: string, options: WsLinkOptions) {
    this.#url = url;
    this.#options = options;
    this.#batch = new WsBatch(options.clock, defaults, (pending) => this.#sendByHttp(pending));
  }
  get usable(): boolean {
    return this.#isOpen || this.#failures === 0;
  }

  send(
    request: KvRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
    isOneOfMany: boolean,
  ): Promise<KvAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw new ClosedError('the client is closed');
      signal?.throwIfAborted();
      const bytes = request.value?.length ?? 0;
      if (bytes > limits.valueBytesCeiling)
        throw new ValueTooLargeError(
          `a value of ${bytes} bytes; no server takes more than ${limits.valueBytesCeiling}`,
        );
      const pending = new Pending(request, deadlineMs, signal, resolve, reject);
      pending.isOneOfMany = isOneOfMany;
      try {
        this.#batch.add(pending);
      } catch (error) {
        pending.reject(error);
        return;
      }
      this.#sweepTimer ??= setTimeout(this.#sweep, limits.clientSweepMs);
      if (this.#isOpen) this.#flushSoon();
      else if (this.#socket === null && this.#connectTimer === null) this.#connect();
    });
  }

  /** It leaves the queue of the connection, and is bounded as it was there: over HTTP calls wait without a bound in bytes. */
  #sendByHttp(pending: Pending): void {
    const { request, deadlineMs, signal, isOneOfMany, bytes } = pending;
    if (this.#httpBytes > 0 && this.#httpBytes + bytes > limits.clientQueueBytesMax) {
      pending.reject(
        new OverloadedError(
          `${this.#httpBytes} bytes of values too long for the connection are on their way over HTTP; the limit is ${limits.clientQueueBytesMax}; nothing was sent`,
        ),
      );
      return;
    }
    this.#httpBytes += bytes;
    this.#options.http
      .send(request, deadlineMs, signal, isOneOfMany)
      .finally(() => {
        this.#httpBytes -= bytes;
      })
      .then(
        (answer) => pending.resolve(answer),
        (error: unknown) => pending.reject(error),
      );
  }

  close(): Promise<void> {
    this.#isClosed = true;
    const error = new ClosedError('the client was closed');
    this.#drop(error, error);
    for (const timer of [this.#connectTimer, this.#sweepTimer]) if (timer !== null) clearTimeout(timer);
    this.#connectTimer = null;
    this.#sweepTimer = null;
    return Promise.resolve();
  }

  readonly #connect = (): void => {
    this.#connectTimer = null;
    const { platform, tls, heartbeatMs = limits.clientHeartbeatMs } = this.#options;
    const socket = platform.socket(this.#url, SUB_PROTOCOL, tls);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    const timer = setTimeout(
      () => this.#lost(socket, `no connection within ${limits.clientConnectMs} ms`),
      limits.clientConnectMs,
    );
    socket.addEventListener('message', ({ data }) => {
      if (this.#socket !== socket) return;
      clearTimeout(timer);
      this.#take(socket, data);
    });
    socket.addEventListener('close', ({ code, reason }) => {
      clearTimeout(timer);
      this.#lost(socket, reason === '' ? `code ${code}` : `code ${code}, ${reason}`);
    });
    // What went wrong comes with the close event that follows.
    socket.addEventListener('error', () => undefined);
    if (this.#heartbeatTimer !== null) clearTimeout(this.#heartbeatTimer);
    this.#heartbeatTimer = quietTimer(this.#listen, heartbeatMs);
  };

  /** The connection is gone, or is given up; a new one is tried after a while. */
  #lost(socket: StandardSocket, why: string): void {
    if (this.#socket !== socket) return;
    const wasOpen = this.#isOpen;
    const cause = wasOpen ? 'the connection was lost' : 'not reachable by WebSocket';
    this.#drop(
      new ConnectionError(`${this.#url}: ${cause} (${why}); whether the request was done is unknown`, true),
      new ConnectionError(`${this.#url}: ${cause} (${why}); the request was not sent`, false),
    );
    const { random } = this.#options;
    this.#connectTimer = quietTimer(this.#connect, reconnectMs(this.#failures++, random));
  }
  #drop(sent: RingKvError, unsent: RingKvError): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#isOpen = false;
    this.#heartbeatId = 0;
    if (this.#heartbeatTimer !== null) clearTimeout(this.#heartbeatTimer);
    this.#heartbeatTimer = null;
    this.#batch.fail(sent, unsent);
    socket?.close();
  }

  #take(socket: StandardSocket, data: unknown): void {
    this.#heardMs = this.#options.clock.monotonicMs();
    let fault = 'a text message';
    try {
      if (data instanceof ArrayBuffer) {
        if (data.byteLength > limits.clientMessageBytesMax)
          throw new ProtocolError(
            `a message of ${data.byteLength} bytes; the limit is ${limits.clientMessageBytesMax}`,
          );
        this.#answers(decodeAnswers(new Uint8Array(data)));
        return;
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      fault = error.message;
    }
    this.#lost(socket, fault);
  }

  #answers(answers: WsAnswers): void {
    if (!this.#isOpen) {
      if (answers.limits === null) throw new ProtocolError('the first message has no limits');
      this.#isOpen = true;
      this.#failures = 0;
      this.#batch.restart(checkedLimits(answers.limits));
    }
    const { ids } = answers;
    for (let i = 0; i < ids.length; i++) this.#answer(answers, i);
    // What the callers ask for next comes in this turn still, and goes with what waits.
    if (this.#batch.waiting > 0) this.#flushSoon();
  }
  #answer(answers: WsAnswers, i: number): void {
    const id = answers.ids[i] as number;
    if (id === this.#heartbeatId) {
      this.#heartbeatId = 0;
      return;
    }
    const pending = this.#batch.answered(id);
    // Answers that cannot be told apart are not to be trusted: one may be the value of another key.
    if (pending === undefined)
      throw new ProtocolError(`an answer with id ${id}, which no request in flight has`);
    const status = answers.statuses[i] as number;
    const version = answers.versions?.[i] ?? 0;
    if (status === Status.OK) {
      const isGet = pending.request.op === KvOp.GET;
      const value = answers.values?.[i] ?? null;
      if (isGet !== (value !== null)) {
        pending.reject(new ProtocolError(`${this.#url}: a success ${isGet ? 'without a' : 'with a'} value`));
        return;
      }
      this.#batch.succeeded(pending, value?.length ?? 0);
      pending.resolve({ found: true, version, ttl: answers.ttls?.[i] ?? null, value });
      return;
    }
    if (status === Status.NOT_FOUND && pending.request.op === KvOp.GET) {
      this.#batch.succeeded(pending, 0);
      pending.resolve({ found: false, version: 0, ttl: null, value: null });
      return;
    }
    if (status === Status.OVERLOADED) this.#batch.overloaded(pending);
    pending.reject(errorOfWsStatus(status, answers.messages?.[i] ?? '', version));
  }

  #flushSoon(): void {
    if (this.#flushComing) return;
    this.#flushComing = true;
    this.#options.platform.soon(this.#flush);
  }
  readonly #flush = (): void => {
    this.#flushComing = false;
    while (this.#isOpen) {
      const batch = this.#batch.next();
      if (batch.length === 0) return;
      const nowMs = this.#options.clock.monotonicMs();
      const leftMs = batch.map(({ deadlineMs }) => Math.max(1, Math.ceil(msLeft(deadlineMs, nowMs))));
      this.#socket?.send(encodeRequests(batch, leftMs));
    }
  };

  readonly #sweep = (): void => {
    this.#sweepTimer = null;
    const stuck = this.#batch.expire();
    const socket = this.#socket;
    if (stuck && socket !== null)
      this.#lost(socket, `no answer ${limits.clientStuckMs} ms after the deadline`);
    if (!this.#batch.isEmpty) this.#sweepTimer = setTimeout(this.#sweep, limits.clientSweepMs);
  };

  /**
   * Asks a silent server for a sign of life: a ping of ringkv.v1, for a page cannot send those of RFC 6455. Whatever the answer
   * is, it will do: servers from before the op refuse it.
   */
  readonly #listen = (): void => {
    const socket = this.#socket;
    if (socket === null) return;
    const { clock, heartbeatMs = limits.clientHeartbeatMs } = this.#options;
    const nowMs = clock.monotonicMs();
    const answerMs = Math.min(limits.clientHeartbeatAnswerMs, heartbeatMs);
    this.#heartbeatTimer = quietTimer(this.#listen, answerMs);
    if (!this.#isOpen) return;
    if (this.#heartbeatId !== 0) {
      if (nowMs - this.#heartbeatMs >= answerMs && this.#heardMs <= this.#heartbeatMs)
        this.#lost(socket, `no sign of life for ${Math.round(nowMs - this.#heardMs)} ms`);
      return;
    }
    if (nowMs - this.#heardMs < heartbeatMs) return;
    this.#heartbeatId = this.#batch.takeId();
    this.#heartbeatMs = nowMs;
    socket.send(encodeRequests([{ id: this.#heartbeatId, request: heartbeat }], [answerMs]));
  };
}

const heartbeat: KvRequest = {
  op: KvOp.PING,
  key: NO_KEY,
  value: null,
  consistency: undefined,
  version: undefined,
  ttl: undefined,
  idempotencyKey: undefined,
};

function checkedLimits(told: Readonly<Record<string, number>>): ServerLimits {
  const of = (name: keyof ServerLimits): number => {
    const value = told[name] ?? defaults[name];
    if (!(value >= 1)) throw new ProtocolError(`the limit ${name} is ${value}`);
    return value;
  };
  return {
    valueBytesMax: of('valueBytesMax'),
    messageBytesMax: of('messageBytesMax'),
    messageRequestsMax: of('messageRequestsMax'),
    inFlightMax: of('inFlightMax'),
    inFlightBytesMax: of('inFlightBytesMax'),
    pausedBytes: of('pausedBytes'),
  };
}

/** ws://host/v1/ws for http://host. */
export function webSocketUrl(url: URL): string {
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new BadRequestError(`${url.href} is not HTTP`);
  return `${url.protocol === 'https:' ? 'wss' : 'ws'}://${url.host}${url.pathname.replace(/\/+$/, '')}/v1/ws`;
}
