/** Redis, by its own protocol (RESP2): one connection for each slot and one command at a time on each, as with HTTP. */
import { connect, type Socket } from 'node:net';
import { loadLimits } from '../limits.ts';
import { type HttpNode, nodesOf } from '../transports/nodes.ts';
import { Answer, type AnswerSink, keyText, type Slot, type Transport } from '../transports/transport.ts';
import type { Values } from '../values.ts';

const WATCH_MS = 1000;
const LINE_END = '\r\n';
const END_BYTES = 2;
const NONE = Buffer.alloc(0);

export class RedisTransport implements Transport {
  readonly #nodes: readonly HttpNode[];
  readonly #values: Values;
  readonly #writer: number;
  #lanes: RedisLane[] = [];
  #watch: NodeJS.Timeout | null = null;

  constructor(urls: readonly string[], values: Values, writer: number) {
    this.#nodes = nodesOf(urls);
    this.#values = values;
    this.#writer = writer;
  }
  open(slots: readonly Slot[], sink: AnswerSink): Promise<void> {
    const [node] = this.#nodes;
    if (node === undefined) throw new Error('no Redis to connect to');
    this.#lanes = slots.map((slot) => new RedisLane(slot, sink, node, this.#values, this.#writer));
    this.#watch = setInterval(() => {
      for (const lane of this.#lanes) lane.failIfLate(performance.now());
    }, WATCH_MS);
    return Promise.resolve();
  }
  read(slot: Slot): void {
    this.#lane(slot).send(['GET', keyText(slot.key)]);
  }
  write(slot: Slot): void {
    this.#lane(slot).set();
  }
  delete(slot: Slot): void {
    this.#lane(slot).send(['DEL', keyText(slot.key)]);
  }
  scan(): void {
    throw new Error('Redis has no scans in an order of keys');
  }
  flush(): void {
    // Each command has gone with its own write.
  }
  close(): Promise<void> {
    if (this.#watch !== null) clearInterval(this.#watch);
    for (const lane of this.#lanes) lane.close();
    return Promise.resolve();
  }
  #lane(slot: Slot): RedisLane {
    return this.#lanes[slot.index] as RedisLane;
  }
}

class RedisLane {
  readonly #slot: Slot;
  readonly #sink: AnswerSink;
  readonly #values: Values;
  readonly #writer: number;
  readonly #socket: Socket;
  #busy = false;
  #sentMs = 0;
  #rest: Buffer = NONE;
  #buffer: Buffer = NONE;

  constructor(slot: Slot, sink: AnswerSink, { host, port }: HttpNode, values: Values, writer: number) {
    this.#slot = slot;
    this.#sink = sink;
    this.#values = values;
    this.#writer = writer;
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.on('connect', () => sink.idle(slot));
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', (error) => sink.broken(error));
    this.#socket.on('close', () => sink.broken(new Error('Redis closed a connection')));
  }
  close(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }
  failIfLate(nowMs: number): void {
    if (this.#busy && nowMs - this.#sentMs > loadLimits.answerMsMax)
      this.#sink.broken(new Error(`Redis gave no answer in ${loadLimits.answerMsMax} ms`));
  }
  send(words: readonly string[]): void {
    const text = words.map((word) => `$${word.length}\r\n${word}\r\n`).join('');
    this.#write(Buffer.from(`*${words.length}\r\n${text}`, 'latin1'));
  }
  set(): void {
    const { key, serial, valueBytes, ttlMs } = this.#slot;
    const px = String(ttlMs);
    const tail = ttlMs > 0 ? `\r\n$2\r\nPX\r\n$${px.length}\r\n${px}\r\n` : LINE_END;
    const name = keyText(key);
    const head = `*${ttlMs > 0 ? 5 : 3}\r\n$3\r\nSET\r\n$${name.length}\r\n${name}\r\n$${valueBytes}\r\n`;
    const length = head.length + valueBytes + tail.length;
    if (this.#buffer.length < length || this.#socket.writableLength > 0)
      this.#buffer = Buffer.allocUnsafeSlow(length);
    this.#buffer.write(head, 0, 'latin1');
    this.#values.write(this.#buffer, head.length, valueBytes, key, this.#writer, serial);
    this.#buffer.write(tail, head.length + valueBytes, 'latin1');
    this.#write(this.#buffer.subarray(0, length));
  }

  #write(bytes: Buffer): void {
    this.#busy = true;
    this.#sentMs = performance.now();
    this.#socket.write(bytes);
  }
  /** One reply: a status, an error, a number, or a string of a length. */
  #take(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = bytes;
    const end = bytes.indexOf(LINE_END);
    if (end < 0) return;
    const kind = bytes.toString('latin1', 0, 1);
    const line = bytes.toString('latin1', 1, end);
    const start = end + END_BYTES;
    const length = kind === '$' ? Number(line) : 0;
    if (kind === '$' && length >= 0) {
      if (bytes.length < start + length + END_BYTES) return;
      this.#answer(Answer.OK, bytes.subarray(start, start + length), '');
    } else if (kind === '$') this.#answer(Answer.ABSENT, null, '');
    else if (kind === '+' || kind === ':') this.#answer(Answer.OK, null, '');
    else this.#answer(Answer.UNKNOWN, null, line.slice(0, 60));
  }
  #answer(answer: number, value: Buffer | null, failure: string): void {
    this.#rest = NONE;
    this.#busy = false;
    this.#sink.answered(this.#slot, answer, value, failure);
    if (!this.#busy) this.#sink.idle(this.#slot);
  }
}
