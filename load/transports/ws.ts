/**
 * WebSocket, sub-protocol ringkv.v1, by hand over sockets: many requests in a message, many on their way on each connection. What is
 * due in one turn goes out together; so does what answers of one turn make room for. A connection that ends is made anew, to the
 * next node of the list.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { loadLimits } from '../limits.ts';
import { type HttpNode, nodesOf } from './nodes.ts';
import { ReconnectingSocket } from './reconnecting-socket.ts';
import { Answer, type AnswerSink, type Slot, type Transport } from './transport.ts';
import { controlFrame, FrameReader, Opcode } from './ws-frames.ts';
import { AnswerBatch, RequestBatch, WsOp, type WsOptions } from './ws-messages.ts';

const WATCH_MS = 1000;
/** Of one connection, as the server takes them; its bytes stay below what pauses a connection. */
const SLOTS_MAX = 1024;
const ANSWER_BYTES_ABOUT = 2 * 2 ** 20;
/** A message that has grown to this goes out before the turn ends. */
const MESSAGE_REQUESTS_MAX = 256;
const MESSAGE_BYTES_MAX = 2 ** 19;
const FIRST_BYTES = 2 ** 16;
const HANDSHAKE_END = '\r\n\r\n';
const NONCE_BYTES = 16;
const HANDSHAKE_BYTES_MAX = 16_384;

/** docs/websocket.md: names of statuses, and after which nothing was written. */
const STATUS_NAMES = [
  'OK',
  'NOT_FOUND',
  'VERSION_MISMATCH',
  'BAD_REQUEST',
  'KEY_TOO_LARGE',
  'VALUE_TOO_LARGE',
  'RATE_LIMITED',
  'OVERLOADED',
  'UNAVAILABLE',
  'TIMEOUT',
  'DISK_FULL',
  'PRECONDITION_FAILED',
  'CORRUPTION',
  'READ_ONLY',
  'SHARD_DOWN',
] as const;
const SURELY_NOTHING: ReadonlySet<number> = new Set([2, 3, 4, 5, 6, 7, 10, 11, 13, 14]);

export class WsTransport implements Transport {
  readonly #nodes: readonly HttpNode[];
  readonly #options: WsOptions;
  readonly #slotsEach: number;
  #connections: WsConnection[] = [];
  #watch: NodeJS.Timeout | null = null;

  /** `apart`: each slot has a connection of its own. */
  constructor(urls: readonly string[], options: WsOptions, valueBytesMax: number, apart = false) {
    this.#nodes = nodesOf(urls);
    this.#options = options;
    const together = Math.max(1, Math.min(SLOTS_MAX, Math.floor(ANSWER_BYTES_ABOUT / valueBytesMax)));
    this.#slotsEach = apart ? 1 : together;
  }

  open(slots: readonly Slot[], sink: AnswerSink): Promise<void> {
    // Each node has one at least, as long as there are slots.
    const count = Math.min(
      slots.length,
      Math.max(this.#nodes.length, Math.ceil(slots.length / this.#slotsEach)),
    );
    const own = Array.from({ length: count }, (): Slot[] => []);
    for (const slot of slots) own[slot.index % count]?.push(slot);
    this.#connections = own.map(
      (some, at) => new WsConnection(some, sink, this.#nodes, at % this.#nodes.length, this.#options),
    );
    for (const connection of this.#connections) connection.connect();
    this.#watch = setInterval(() => {
      const now = performance.now();
      for (const connection of this.#connections) connection.endIfLate(now);
    }, WATCH_MS);
    return Promise.resolve();
  }
  read(slot: Slot): void {
    this.#of(slot).add(slot, WsOp.GET);
  }
  write(slot: Slot): void {
    this.#of(slot).add(slot, WsOp.PUT);
  }
  delete(slot: Slot): void {
    this.#of(slot).add(slot, WsOp.DELETE);
  }
  scan(): void {
    throw new Error('ringkv.v1 has no scans');
  }
  flush(): void {
    for (const connection of this.#connections) connection.flush();
  }
  close(): Promise<void> {
    if (this.#watch !== null) clearInterval(this.#watch);
    for (const connection of this.#connections) connection.close();
    return Promise.resolve();
  }
  #of(slot: Slot): WsConnection {
    return this.#connections[slot.index % this.#connections.length] as WsConnection;
  }
}

interface Sent {
  readonly slot: Slot;
  /** 0 where nothing is on its way. */
  op: number;
  sentMs: number;
}

class WsConnection {
  readonly #sink: AnswerSink;
  readonly #line: ReconnectingSocket;
  readonly #batch: RequestBatch;
  readonly #answers = new AnswerBatch();
  readonly #sent = new Map<number, Sent>();
  #isOpen = false;
  #buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);

  constructor(
    slots: readonly Slot[],
    sink: AnswerSink,
    nodes: readonly HttpNode[],
    node: number,
    options: WsOptions,
  ) {
    this.#sink = sink;
    this.#line = new ReconnectingSocket(
      nodes,
      node,
      (socket, where) => this.#made(socket, where),
      (why) => this.#lost(why),
    );
    this.#batch = new RequestBatch(options);
    for (const slot of slots) this.#sent.set(slot.index, { slot, op: 0, sentMs: 0 });
  }

  connect(): void {
    this.#line.connect();
  }
  #made(socket: Socket, where: string): void {
    const broken = (why: string): void => this.#sink.broken(new Error(`${where}: ${why}`));
    const frames = new FrameReader((opcode, payload) => this.#take(socket, opcode, payload, broken), broken);
    let handshake = '';
    socket.on('connect', () => {
      socket.write(
        `GET /v1/ws HTTP/1.1\r\nHost: load\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(NONCE_BYTES).toString('base64')}\r\nSec-WebSocket-Protocol: ringkv.v1\r\n\r\n`,
      );
    });
    socket.on('data', (chunk: Buffer) => {
      if (this.#isOpen) {
        frames.push(chunk);
        // What the answers have made room for goes out together.
        this.flush();
        return;
      }
      handshake += chunk.toString('latin1');
      const end = handshake.indexOf(HANDSHAKE_END);
      if (end < 0) {
        if (handshake.length > HANDSHAKE_BYTES_MAX) broken('a handshake without an end');
        return;
      }
      // A node that is stopping, or not ready yet, says 503: it is asked again later.
      if (handshake.startsWith('HTTP/1.1 503 ')) {
        socket.destroy();
        return;
      }
      if (!handshake.startsWith('HTTP/1.1 101 ')) {
        broken(`no WebSocket: ${handshake.slice(0, 200)}`);
        return;
      }
      this.#isOpen = true;
      const rest = handshake.slice(end + HANDSHAKE_END.length);
      if (rest !== '') frames.push(Buffer.from(rest, 'latin1'));
      for (const { slot } of this.#sent.values()) this.#sink.idle(slot);
      this.flush();
    });
  }
  close(): void {
    this.#line.close();
  }
  endIfLate(nowMs: number): void {
    if (this.#line.socket === null) return;
    for (const { op, sentMs } of this.#sent.values())
      if (op !== 0 && nowMs - sentMs > loadLimits.answerMsMax) {
        this.#line.end(`no answer in ${loadLimits.answerMsMax} ms`);
        return;
      }
  }

  add(slot: Slot, op: number): void {
    const sent = this.#sent.get(slot.index);
    if (sent === undefined) throw new Error(`slot ${slot.index} is another connection's`);
    sent.op = op;
    sent.sentMs = performance.now();
    this.#batch.add(slot, op);
    if (this.#batch.count >= MESSAGE_REQUESTS_MAX || this.#batch.bytesMax >= MESSAGE_BYTES_MAX) this.flush();
  }
  flush(): void {
    const { socket } = this.#line;
    if (this.#batch.count === 0 || socket === null) return;
    const { bytesMax } = this.#batch;
    // The same bytes again, unless the system has not taken them all yet.
    if (this.#buffer.length < bytesMax || socket.writableLength > 0)
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(bytesMax, FIRST_BYTES));
    socket.write(this.#batch.take(this.#buffer));
  }

  #take(socket: Socket, opcode: number, payload: Buffer, broken: (why: string) => void): void {
    if (opcode === Opcode.PING) socket.write(controlFrame(Opcode.PONG, payload));
    else if (opcode === Opcode.CLOSE) {
      const code = payload.length >= 2 ? payload.readUInt16BE(0) : 0;
      // 1001: the node stops. Anything else is a mistake of this program.
      if (code !== GOING_AWAY && code !== 0) broken(`closed with ${code}: ${payload.toString('utf8', 2)}`);
      else socket.destroy();
    } else if (opcode === Opcode.BINARY) this.#answered(payload, broken);
    else if (opcode !== Opcode.PONG) broken(`a frame with opcode ${opcode}`);
  }

  #answered(message: Buffer, broken: (why: string) => void): void {
    const answers = this.#answers;
    try {
      answers.read(message);
    } catch (error) {
      broken((error as Error).message);
      return;
    }
    const { ids, statuses, valueStarts, valueEnds, count } = answers;
    for (let at = 0; at < count; at++) {
      const sent = this.#sent.get(ids[at] as number);
      if (sent === undefined || sent.op === 0) {
        broken(`an answer for ${ids[at]}, which nobody has asked for`);
        return;
      }
      const { slot, op } = sent;
      sent.op = 0;
      const status = statuses[at] as number;
      const start = valueStarts[at] as number;
      if (status === 0) {
        const value = start > 0 ? message.subarray(start, valueEnds[at]) : null;
        this.#sink.answered(slot, Answer.OK, op === WsOp.GET ? value : null, '');
      } else if (status === 1 && op === WsOp.GET) this.#sink.answered(slot, Answer.ABSENT, null, '');
      else {
        const answer = SURELY_NOTHING.has(status) ? Answer.REFUSED : Answer.UNKNOWN;
        this.#sink.answered(slot, answer, null, STATUS_NAMES[status] ?? `status ${status}`);
      }
      if (sent.op === 0) this.#sink.idle(slot);
    }
  }

  #lost(why: string): void {
    this.#isOpen = false;
    // What waits to be sent ends as well: nobody would know of it any more.
    if (this.#batch.count > 0) this.#batch.take(Buffer.allocUnsafeSlow(this.#batch.bytesMax));
    for (const { slot } of this.#sent.values()) this.#sink.gone(slot);
    for (const sent of this.#sent.values()) {
      if (sent.op === 0) continue;
      sent.op = 0;
      this.#sink.answered(sent.slot, Answer.UNKNOWN, null, why);
    }
  }
}

const GOING_AWAY = 1001;
