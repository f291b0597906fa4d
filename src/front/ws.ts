/**
 * The WebSocket protocol ringkv.v1: docs/websocket.md. Front-end thread. A message is decoded in place and its requests are copied
 * into the rings of the shards, or answered from shared memory, before the handler returns: uWebSockets.js takes the
 * bytes back then. What a request means, its limits and its options, is what they are over HTTP, by the same code.
 */

import type { HttpRequest, HttpResponse, TemplatedApp, us_socket_context_t, WebSocket } from 'uWebSockets.js';
import { type MonotonicMs, msAfter } from '../base/clock.ts';
import { BadRequestError, OverloadedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import { hashToken, token } from '../base/token.ts';
import { TurnTime } from '../base/turn-time.ts';
import { MEMTABLE_HIT, MEMTABLE_MISS } from '../ipc/contract.ts';
import { Condition, type ShardReply } from '../shard/contract.ts';
import { statusOfError } from '../shard/error-status.ts';
import { checkValueLength } from './bodies.ts';
import { MalformedError } from './cbor-reader.ts';
import { mismatchMessage } from './conditions.ts';
import type { ReplySink } from './exchange.ts';
import type { FrontState } from './front-state.ts';
import { checkKeyLength } from './key-text.ts';
import { Metric } from './metrics.ts';
import { outcomeOf } from './outcome.ts';
import { type FoundRecord, secondsLeft } from './record-answer.ts';
import { messageOf } from './requests.ts';
import { isGone, placesTaken, WsClosing } from './ws-closing.ts';
import { WsConnection, WsSlots, type WsUserData } from './ws-connection.ts';
import { checkUpgrade } from './ws-handshake.ts';
import type { CloseReason } from './ws-metrics.ts';
import { WsOptions } from './ws-options.ts';
import { WsOutbox } from './ws-outbox.ts';
import { PolicyError, WsRequests } from './ws-request.ts';
import { nextSize, roomOf, sizesOf, type WsSize } from './ws-sizes.ts';
import { CloseCode, SUB_PROTOCOL, WS_PATH, WS_PATTERNS, WsOp } from './ws-wire.ts';

const EMPTY = new Uint8Array(0);
const NO_VERSION = -1;
const encoder = new TextEncoder();

const CODES: Readonly<Record<CloseReason, number>> = {
  client: CloseCode.POLICY,
  lost: CloseCode.POLICY,
  malformed: CloseCode.MALFORMED,
  policy: CloseCode.POLICY,
  unread: CloseCode.POLICY,
  silent: CloseCode.POLICY,
  going_away: CloseCode.GOING_AWAY,
};

export class WebSockets implements ReplySink {
  readonly #state: FrontState;
  readonly #connections: WsConnection[] = [];
  readonly #slots: WsSlots;
  readonly #requests = new WsRequests();
  readonly #options = new WsOptions();
  readonly #outbox: WsOutbox;
  readonly #sizes: readonly WsSize[];
  readonly #closing: WsClosing;
  #stopping = false;
  readonly #turn: TurnTime<MonotonicMs>;

  constructor(state: FrontState) {
    this.#state = state;
    this.#turn = new TurnTime(() => state.clock.monotonicMs());
    const { maxKeyBytes, maxValueBytes, wsUnfinishedBytesMax, wsAnswersBytesMax } = state.options;
    this.#closing = new WsClosing(state.wsMetrics);
    this.#slots = new WsSlots(state.requests.client.slotsMax);
    this.#sizes = sizesOf(maxKeyBytes, maxValueBytes, wsUnfinishedBytesMax);
    this.#outbox = new WsOutbox(
      state.wsMetrics,
      () => this.#turn.ms,
      (connection, what) => this.#shut(connection, 'unread', what),
      wsAnswersBytesMax,
    );
  }

  addTo(app: TemplatedApp): void {
    this.#sizes.forEach((size, index) => {
      this.#addSize(app, size, WS_PATTERNS[index] as string);
    });
  }

  #addSize(app: TemplatedApp, size: WsSize, pattern: string): void {
    app.ws<WsUserData>(pattern, {
      maxPayloadLength: size.payloadBytesMax,
      idleTimeout: limits.wsIdleSeconds,
      // Its own pings would leave a client half of the time to answer them in, and a closed socket twice the time.
      sendPingsAutomatically: false,
      // What waits is bounded by the outbox: uWebSockets.js would drop answers.
      maxBackpressure: 0,
      upgrade: (res, req, context) => this.#upgrade(size, res, req, context),
      open: (ws) => this.#open(ws),
      message: (ws, bytes, isBinary) => this.#take(ws.getUserData().connection, bytes, isBinary),
      drain: (ws) => this.#outbox.setBuffered(ws.getUserData().connection, ws.getBufferedAmount()),
      ping: (ws) => this.#heard(ws),
      pong: (ws) => this.#heard(ws),
      close: (ws, code, message) => this.#closed(ws.getUserData().connection, isGone(code, message)),
    });
  }

  #upgrade(size: WsSize, res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void {
    const state = this.#state;
    const next = nextSize(this.#sizes);
    // The first one answers where there is no room at all.
    if (size !== (next ?? this.#sizes[0]) || req.getUrl() !== WS_PATH) {
      req.setYield(true);
      return;
    }
    try {
      checkUpgrade(req);
      const { wsConnectionsMax = limits.wsConnectionsMax } = state.options;
      const max = Math.min(wsConnectionsMax, roomOf(this.#sizes));
      if (next === null || placesTaken(state.wsMetrics, max) >= max) {
        state.wsMetrics.connectionsRefused++;
        const { connections, closing } = state.wsMetrics;
        throw new OverloadedError(
          `${connections} WebSocket connections are open and ${closing} were closed in the last ${limits.wsClosingMs} ms; the limit is ${max}`,
        );
      }
      if (this.#stopping) throw new OverloadedError('the node is stopping');
    } catch (error) {
      state.refuse(res, error, Metric.OTHER, state.clock.monotonicMs(), false);
      return;
    }
    const key = req.getHeader('sec-websocket-key');
    const extensions = req.getHeader('sec-websocket-extensions');
    res.upgrade<WsUserData>(
      { connection: new WsConnection(size) },
      ...([key, SUB_PROTOCOL, extensions, context] as const),
    );
  }

  #open(ws: WebSocket<WsUserData>): void {
    const { connection } = ws.getUserData();
    connection.ws = ws;
    connection.index = this.#connections.length;
    connection.heardMs = this.#turn.ms;
    this.#connections.push(connection);
    this.#state.wsMetrics.connections++;
    connection.size.connections++;
    ws.send(connection.size.greeting, true);
  }

  #heard(ws: WebSocket<WsUserData>): void {
    ws.getUserData().connection.heardMs = this.#turn.ms;
  }

  #closed(connection: WsConnection, gone: boolean): void {
    const { metrics, wsMetrics } = this.#state;
    connection.ws = null;
    const last = this.#connections.pop() as WsConnection;
    if (last !== connection) {
      this.#connections[connection.index] = last;
      last.index = connection.index;
    }
    if (!gone) this.#closing.add(connection.size, connection.bufferedBytes, this.#turn.ms);
    this.#outbox.forget(connection);
    wsMetrics.connections--;
    connection.size.connections--;
    // The filter of uWebSockets.js tells of connections that end, and not of those that were upgraded.
    metrics.connections--;
    const reason = connection.reason === '' ? (gone ? 'lost' : 'client') : connection.reason;
    wsMetrics.closed[reason]++;
  }

  /** `bytes` are the caller's again when this returns. */
  #take(connection: WsConnection, bytes: ArrayBuffer, isBinary: boolean): void {
    const { wsMetrics, clock } = this.#state;
    const requests = this.#requests;
    const startMs = this.#turn.ms;
    connection.heardMs = startMs;
    wsMetrics.messagesIn++;
    wsMetrics.bytesIn += bytes.byteLength;
    try {
      if (!isBinary)
        throw new MalformedError(`a text message of ${bytes.byteLength} bytes; messages are binary`);
      const max = connection.size.messageBytesMax;
      if (bytes.byteLength > max)
        throw new PolicyError(`a message of ${bytes.byteLength} bytes; the limit is ${max}`);
      requests.decode(new Uint8Array(bytes));
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#shut(connection, error instanceof PolicyError ? 'policy' : 'malformed', error.message);
      return;
    }
    const nowMs = clock.nowMs();
    this.#options.begin(requests);
    for (let index = 0; index < requests.count && connection.ws !== null; index++)
      this.#run(connection, index, nowMs, startMs);
    requests.clear();
  }

  #run(connection: WsConnection, index: number, nowMs: number, startMs: MonotonicMs): void {
    const id = this.#requests.ids.at(index);
    const op = this.#requests.ops.at(index);
    const refusal = this.#stopping ? STOPPING : connection.refusal();
    if (refusal !== '') {
      this.#fail(connection, op, id, Status.OVERLOADED, NO_VERSION, refusal, startMs);
      return;
    }
    try {
      const status = this.#start(connection, index, id, op, nowMs, startMs);
      if (status !== Status.OK)
        this.#fail(connection, op, id, status, NO_VERSION, this.#state.requests.refusal, startMs);
    } catch (error) {
      const status = statusOfError(error);
      this.#fail(connection, op, id, status, NO_VERSION, (error as Error).message, startMs);
    }
  }

  /** OK: it is answered, or will be. */
  #start(
    connection: WsConnection,
    index: number,
    id: number,
    op: number,
    nowMs: number,
    startMs: MonotonicMs,
  ): number {
    const { requests, options: settings } = this.#state;
    const { keys, values, bytes } = this.#requests;
    const options = this.#options;
    const keyStart = keys.start(index);
    const keyEnd = keys.end(index);
    if (op === WsOp.PING) {
      if (keyEnd > keyStart || values.has(index)) throw new BadRequestError('a ping with a key or a value');
      this.#outbox.message(connection).add(id, Status.OK, NO_VERSION, false, '');
      this.#state.wsMetrics.count(op, Status.OK, this.#turn.ms - startMs);
      return Status.OK;
    }
    if (op !== WsOp.GET && op !== WsOp.PUT && op !== WsOp.DELETE)
      throw new BadRequestError(`op ${op} is none of 1 (put), 2 (get), 3 (delete), 4 (ping)`);
    checkKeyLength(keyEnd - keyStart, settings.maxKeyBytes);
    const key = bytes.subarray(keyStart, keyEnd);
    options.take(index, op);
    let value: Uint8Array = EMPTY;
    if (op === WsOp.PUT) {
      if (!values.has(index)) throw new BadRequestError('a put without a value');
      checkValueLength(values.end(index) - values.start(index), settings.maxValueBytes);
      value = bytes.subarray(values.start(index), values.end(index));
    } else if (values.has(index)) throw new BadRequestError(`a value beside op ${op}; a put alone has one`);
    hashToken(key);
    const deadlineMs = msAfter(startMs, options.timeoutMs);
    if (op === WsOp.GET) {
      const outcome = requests.client.getLocal(token.hi, token.lo, key, nowMs);
      if (outcome === MEMTABLE_HIT) this.#found(connection, id, requests.client.local, nowMs, startMs);
      else if (outcome !== MEMTABLE_MISS) return Status.NOT_FOUND;
      if (outcome !== MEMTABLE_MISS) return Status.OK;
      requests.setRead(key, deadlineMs, options.consistency);
    } else {
      const expiresMs = options.ttlMs === 0 ? 0 : nowMs + options.ttlMs;
      const { condition, wantedVersion } = options;
      requests.setWrite(op, key, value, expiresMs, condition, wantedVersion, deadlineMs, options);
    }
    return this.#send(connection, id, op, key.length + value.length, startMs);
  }

  /** Sends the client's request. */
  #send(connection: WsConnection, id: number, op: number, bytes: number, startMs: number): number {
    const slots = this.#slots;
    if (connection.inFlight > 0 && connection.inFlightBytes + bytes > limits.wsInFlightBytesMax)
      throw new OverloadedError(
        `requests of ${connection.inFlightBytes + bytes} bytes in flight; the limit is ${limits.wsInFlightBytesMax} a connection; nothing was done`,
      );
    const slot = slots.next();
    if (slot < 0) return Status.OVERLOADED;
    const status = this.#state.requests.send(this, slot);
    if (status !== Status.OK) return status;
    slots.ids[slot] = id;
    slots.ops[slot] = op;
    slots.bytes[slot] = bytes;
    slots.startMs[slot] = startMs;
    slots.conditions[slot] = this.#options.condition;
    slots.versions[slot] = this.#options.wantedVersion;
    slots.take(connection);
    this.#state.wsMetrics.inFlight++;
    return Status.OK;
  }

  takeReply(reply: ShardReply, slot: number): void {
    const slots = this.#slots;
    const { wsMetrics } = this.#state;
    const connection = slots.free(slot);
    wsMetrics.inFlight--;
    if (connection.ws === null) {
      wsMetrics.aborted++;
      return;
    }
    const id = slots.ids[slot] as number;
    const op = slots.ops[slot] as number;
    const startMs = slots.startMs[slot] as number;
    const { status, version } = reply;
    if (status === Status.OK) {
      if (op === WsOp.GET) this.#found(connection, id, reply, this.#state.turnMs(), startMs);
      else {
        this.#outbox.message(connection).add(id, status, version, reply.sloppy, '');
        wsMetrics.count(op, status, this.#turn.ms - startMs);
      }
    } else if (status === Status.VERSION_MISMATCH || status === Status.PRECONDITION_FAILED) {
      const condition = slots.conditions[slot] as number;
      const text =
        condition === Condition.NONE
          ? messageOf(reply)
          : mismatchMessage(condition, slots.versions[slot] as number, version);
      this.#fail(connection, op, id, Status.VERSION_MISMATCH, version, text, startMs);
    } else this.#fail(connection, op, id, status, NO_VERSION, messageOf(reply), startMs);
  }

  #found(connection: WsConnection, id: number, record: FoundRecord, nowMs: number, startMs: number): void {
    const { version, expiresMs, bytes, start, length } = record;
    if (!this.#outbox.hasRoom(connection, length)) {
      const text = `${connection.bufferedBytes} bytes of answers wait and the value has ${length}; the limit is ${limits.wsValuesBytesMax}; read them and ask again`;
      this.#fail(connection, WsOp.GET, id, Status.OVERLOADED, NO_VERSION, text, startMs);
      return;
    }
    const ttl = expiresMs === 0 ? 0 : secondsLeft(expiresMs, nowMs);
    this.#outbox.message(connection).addValue(id, version, ttl, bytes, start, length);
    this.#state.wsMetrics.count(WsOp.GET, Status.OK, this.#turn.ms - startMs);
  }

  /** `message` '' takes the table's own; that a key is absent needs none. */
  #fail(
    connection: WsConnection,
    op: number,
    id: number,
    status: number,
    version: number,
    message: string,
    startMs: number,
  ): void {
    const text = status === Status.NOT_FOUND ? '' : message === '' ? outcomeOf(status).message : message;
    this.#outbox.message(connection).add(id, status, version, false, text);
    this.#state.wsMetrics.count(op, status, this.#turn.ms - startMs);
  }

  /** Closes a connection, with a reason where it can be told without holding what was not read. */
  #shut(connection: WsConnection, reason: CloseReason, text: string): void {
    const { ws } = connection;
    if (ws === null || connection.reason !== '') return;
    connection.reason = reason;
    this.#outbox.send(connection);
    if (ws.getBufferedAmount() > limits.wsCloseBufferedBytesMax) ws.close();
    else ws.end(CODES[reason], reasonOf(text));
  }

  /** Closes connections that do not read, or send nothing whole, and pings those that are silent; called about once a second. */
  sweep(): void {
    const nowMs = this.#state.clock.monotonicMs();
    this.#closing.sweep(nowMs);
    for (const connection of [...this.#connections]) {
      const { ws, heardMs } = connection;
      if (ws === null) continue;
      if (connection.isPingDue(nowMs)) ws.ping();
      if (connection.bufferedBytes > 0) this.#outbox.setBuffered(connection, ws.getBufferedAmount());
      const least = limits.wsDrainPeriodBytesMin;
      if (connection.isUnread(nowMs))
        this.#shut(
          connection,
          'unread',
          `${connection.bufferedBytes} bytes wait and less than ${least} were read in ${limits.wsDrainPeriodMs} ms`,
        );
      else if (nowMs - heardMs > limits.wsSilenceMs)
        this.#shut(
          connection,
          'silent',
          `no whole message and no pong in ${limits.wsSilenceMs} ms; a message must arrive within it`,
        );
    }
  }

  /** From now on requests are refused. */
  stop(): void {
    this.#stopping = true;
  }
  /** Tells every client that the node goes. */
  closeAll(): void {
    this.#outbox.sendAll();
    for (const connection of [...this.#connections]) this.#shut(connection, 'going_away', STOPPING);
  }
}

const STOPPING = 'the node is stopping; nothing was done';

/** A text in as many bytes of UTF-8 as a close frame takes. */
function reasonOf(text: string): string {
  const { read } = encoder.encodeInto(text, reasonBytes);
  return text.slice(0, read);
}
const reasonBytes = new Uint8Array(limits.wsReasonBytesMax);
