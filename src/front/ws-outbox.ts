/**
 * Answers on their way to WebSocket clients. Front-end thread.
 * 1. What is answered to one connection within a turn of the loop goes out in one message at its end, or earlier where
 *    that is full.
 * 2. uWebSockets.js keeps what a client does not read. Beyond limits.wsPausedBytes the connection takes no requests, no value is
 *    added that would make it more than limits.wsValuesBytesMax, and more than limits.wsBufferedBytesMax closes it.
 * 3. Where all connections together hold too much, the one that holds most is closed, so that clients that read do not pay for others.
 */
import { limits } from '../base/limits.ts';
import { AnswerMessage } from './ws-answers.ts';
import type { WsConnection } from './ws-connection.ts';
import type { WsMetrics } from './ws-metrics.ts';

export class WsOutbox {
  readonly #metrics: WsMetrics;
  /** Closes a connection that holds too much. */
  readonly #onFull: (connection: WsConnection, what: string) => void;
  readonly #totalBytesMax: number;
  readonly #unread = new Set<WsConnection>();
  readonly #monotonicMs: () => number;
  /** Connections with a message in the making. */
  readonly #listed: WsConnection[] = [];
  readonly #spare: AnswerMessage[] = [];
  #due = false;
  readonly #onDue = (): void => {
    this.#due = false;
    this.sendAll();
  };

  constructor(
    metrics: WsMetrics,
    monotonicMs: () => number,
    onFull: (connection: WsConnection, what: string) => void,
    totalBytesMax: number = limits.wsBufferedTotalBytesMax,
  ) {
    this.#metrics = metrics;
    this.#monotonicMs = monotonicMs;
    this.#onFull = onFull;
    this.#totalBytesMax = totalBytesMax;
  }

  /** Connections whose clients have something to read. */
  get unread(): number {
    return this.#unread.size;
  }

  /** The message that takes the next answer of an open connection. */
  message(connection: WsConnection): AnswerMessage {
    const { message } = connection;
    if (message !== null) {
      if (message.full) this.send(connection);
      return message;
    }
    if (this.#listed.length >= limits.wsAnswersMax) this.sendAll();
    const fresh = this.#spare.pop() ?? new AnswerMessage();
    connection.message = fresh;
    this.#listed.push(connection);
    if (!this.#due) {
      this.#due = true;
      setImmediate(this.#onDue);
    }
    return fresh;
  }

  /** Whether a value of `length` bytes may still be answered. */
  hasRoom({ bufferedBytes, message }: WsConnection, length: number): boolean {
    return bufferedBytes + (message?.valueBytes ?? 0) + length <= limits.wsValuesBytesMax;
  }

  /** Sends what a connection has to send. It may be closed by it. */
  send(connection: WsConnection): void {
    const { message, ws } = connection;
    if (message === null || message.count === 0) return;
    if (ws !== null) {
      const bytes = message.finish();
      const isTaken = ws.send(bytes, true) === SENT;
      this.#metrics.messagesOut++;
      this.#metrics.bytesOut += bytes.length;
      connection.sentBytes += frameBytes(bytes.length);
      message.reset();
      this.setBuffered(connection, isTaken ? 0 : ws.getBufferedAmount());
    } else message.reset();
  }

  sendAll(): void {
    for (const connection of this.#listed) {
      this.send(connection);
      const { message } = connection;
      connection.message = null;
      if (message !== null) this.#spare.push(message);
    }
    this.#listed.length = 0;
  }

  /** `bytes` of what was sent are not read yet. */
  setBuffered(connection: WsConnection, bytes: number): void {
    const metrics = this.#metrics;
    if (connection.bufferedBytes === 0 && bytes > 0) {
      connection.bufferedBytes = bytes;
      metrics.bufferedBytes += bytes;
      connection.beginPeriod(this.#monotonicMs());
      this.#unread.add(connection);
    } else {
      metrics.bufferedBytes += bytes - connection.bufferedBytes;
      connection.bufferedBytes = bytes;
      if (bytes === 0) this.#unread.delete(connection);
    }
    if (connection.paused !== bytes > limits.wsPausedBytes) {
      connection.paused = !connection.paused;
      metrics.paused += connection.paused ? 1 : -1;
    }
    if (bytes > limits.wsBufferedBytesMax)
      this.#onFull(connection, `${bytes} bytes of answers wait; the limit is ${limits.wsBufferedBytesMax}`);
    else if (bytes > 0 && metrics.bufferedBytes + metrics.closingBytes > this.#totalBytesMax)
      this.#onFull(
        this.#largest(connection),
        `${metrics.bufferedBytes + metrics.closingBytes} bytes of answers wait in all; the limit is ${this.#totalBytesMax}`,
      );
  }

  #largest(connection: WsConnection): WsConnection {
    let largest = connection;
    for (const one of this.#unread) if (one.bufferedBytes > largest.bufferedBytes) largest = one;
    return largest;
  }

  /** The connection is gone. What it had to send goes nowhere: `send` drops it at the end of the turn. */
  forget(connection: WsConnection): void {
    this.setBuffered(connection, 0);
  }
}

/** What send() of uWebSockets.js returns where nothing was left behind. */
const SENT = 1;

/** A message with the head of its frame: what uWebSockets.js counts as buffered. RFC 6455, section 5.2. */
const frameBytes = (length: number): number => length + (length < 126 ? 2 : length < 65_536 ? 4 : 10);
