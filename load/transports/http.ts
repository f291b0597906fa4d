/**
 * HTTP/1.1 written by hand over sockets, because the generator shares the processors with the server: one connection for each
 * slot, one request at a time on each, no pipelining. A connection that ends is made anew, to the next node of the list; one that was idle for
 * as long as the node keeps idle ones, as its `Keep-Alive` said, is made anew before it is used, as HTTP clients do (RFC 9112, section 9.3).
 */
import type { Socket } from 'node:net';
import { hashToken, token } from '../../src/base/token.ts';
import { encodeCursor } from '../../src/front/scan-cursor.ts';
import { loadLimits } from '../limits.ts';
import { HttpAnswers } from './http-answers.ts';
import { type HttpDialect, target, withoutSloppy } from './http-dialects.ts';
import { type HttpNode, nodesOf } from './nodes.ts';
import { ReconnectingSocket } from './reconnecting-socket.ts';
import { Answer, type AnswerSink, keyText, type Slot, type Transport } from './transport.ts';

/** How often connections are asked whether their answer is late. */
const WATCH_MS = 1000;
const OK_MIN = 200;
const OK_MAX = 299;
const NOT_FOUND = 404;
const EMPTY_KEY = new Uint8Array(0);

export class HttpTransport implements Transport {
  readonly #nodes: readonly HttpNode[];
  readonly #dialect: HttpDialect;
  readonly #query: string;
  readonly #keepAlive = new KeepAlive();
  #lanes: HttpLane[] = [];
  #watch: NodeJS.Timeout | null = null;

  constructor(urls: readonly string[], dialect: HttpDialect, query: string) {
    this.#nodes = nodesOf(urls);
    this.#dialect = dialect;
    this.#query = query;
  }

  open(slots: readonly Slot[], sink: AnswerSink): Promise<void> {
    this.#lanes = slots.map(
      (slot) => new HttpLane(slot, sink, this.#nodes, this.#dialect, this.#query, this.#keepAlive),
    );
    for (const lane of this.#lanes) lane.connect();
    this.#watch = setInterval(() => {
      const now = performance.now();
      for (const lane of this.#lanes) lane.endIfLate(now);
    }, WATCH_MS);
    return Promise.resolve();
  }
  read(slot: Slot): void {
    this.#laneOf(slot).read();
  }
  write(slot: Slot): void {
    this.#laneOf(slot).write();
  }
  delete(slot: Slot): void {
    this.#laneOf(slot).delete();
  }
  scan(slot: Slot): void {
    this.#laneOf(slot).scan();
  }
  flush(): void {
    // Each request has gone with its own write.
  }
  close(): Promise<void> {
    if (this.#watch !== null) clearInterval(this.#watch);
    for (const lane of this.#lanes) lane.close();
    return Promise.resolve();
  }
  #laneOf(slot: Slot): HttpLane {
    return this.#lanes[slot.index] as HttpLane;
  }
}

const READ = 1;
const WRITE = 2;
const SCAN = 3;

/** How long a connection may be idle and still be used: what the first answer that says so says, for all lanes. */
class KeepAlive {
  idleMsMax = Number.POSITIVE_INFINITY;
  take(head: string): void {
    if (this.idleMsMax !== Number.POSITIVE_INFINITY) return;
    const seconds = /\r\nkeep-alive: *timeout=(\d+)/i.exec(head)?.[1];
    if (seconds !== undefined) this.idleMsMax = Math.max(0, Number(seconds) * 1000 - ON_THE_WAY_MS);
  }
}
/** The node counts from when it sent its answer, and until it reads the next request. */
const ON_THE_WAY_MS = 1000;

class HttpLane {
  readonly #slot: Slot;
  readonly #sink: AnswerSink;
  readonly #line: ReconnectingSocket;
  readonly #dialect: HttpDialect;
  readonly #query: string;
  readonly #keepAlive: KeepAlive;
  /** What is on its way; 0 where nothing is. */
  #kind = 0;
  #sentMs = 0;
  /** Connected, or answered. */
  #usedMs = 0;
  #buffer = Buffer.alloc(0);
  /** Of a scan: records that are still to come, and the token of the last one. */
  #left = 0;
  #lastHi = 0;
  #lastLo = 0;

  constructor(
    slot: Slot,
    sink: AnswerSink,
    nodes: readonly HttpNode[],
    dialect: HttpDialect,
    query: string,
    keepAlive: KeepAlive,
  ) {
    this.#slot = slot;
    this.#sink = sink;
    this.#dialect = dialect;
    this.#query = query;
    this.#keepAlive = keepAlive;
    this.#line = new ReconnectingSocket(
      nodes,
      slot.index % nodes.length,
      (socket, where) => this.#made(socket, where),
      (why) => this.#lost(why),
    );
  }

  connect(): void {
    this.#line.connect();
  }
  close(): void {
    this.#line.close();
  }
  endIfLate(nowMs: number): void {
    if (this.#kind !== 0 && nowMs - this.#sentMs >= loadLimits.answerMsMax)
      this.#line.end(`no answer in ${loadLimits.answerMsMax} ms`);
  }
  #made(socket: Socket, where: string): void {
    const answers = new HttpAnswers(
      (status, body, head) => {
        this.#keepAlive.take(head);
        this.#usedMs = performance.now();
        this.#answered(status, body);
      },
      (why) => this.#sink.broken(new Error(`${where}: ${why}`)),
    );
    socket.on('connect', () => {
      this.#usedMs = performance.now();
      // Otherwise it was made anew for a request, which goes now.
      if (this.#kind === 0) this.#sink.idle(this.#slot);
    });
    socket.on('data', (chunk: Buffer) => answers.push(chunk));
  }

  read(): void {
    this.#kind = READ;
    this.#sendText(this.#dialect.read(this.#slot));
  }
  delete(): void {
    this.#kind = WRITE;
    this.#sendText(`DELETE ${target(this.#slot, this.#query, 0)} HTTP/1.1\r\nHost: load\r\n\r\n`);
  }
  write(): void {
    this.#kind = WRITE;
    const head = this.#dialect.writeHead(this.#slot);
    const bytes = this.#room(head.length + this.#dialect.bodyBytes(this.#slot));
    bytes.write(head, 0, 'latin1');
    this.#dialect.writeBody(this.#slot, bytes, head.length);
    this.#send(bytes);
  }
  scan(): void {
    this.#kind = SCAN;
    this.#left = this.#slot.scanLength;
    hashToken(Buffer.from(keyText(this.#slot.key)));
    this.#lastHi = token.hi;
    this.#lastLo = token.lo;
    // From the key itself on: the place of an empty key with its token lies just before it.
    this.#sendScan(encodeCursor({ tokenHi: token.hi, tokenLo: token.lo, key: EMPTY_KEY }));
  }

  #sendScan(cursor: string): void {
    const consistency = withoutSloppy(this.#query);
    const query = `limit=${this.#left}&values=true&cursor=${cursor}${consistency === '' ? '' : `&${consistency}`}`;
    this.#sendText(`GET /v1/scan?${query} HTTP/1.1\r\nHost: load\r\nAccept: application/json\r\n\r\n`);
  }
  #sendText(text: string): void {
    const bytes = this.#room(text.length);
    bytes.write(text, 0, 'latin1');
    this.#send(bytes);
  }
  /** The same bytes for each request: its answer says that the one before has gone. Not where it came before the request was read. */
  #room(length: number): Buffer {
    const { socket } = this.#line;
    if (this.#buffer.length < length || (socket !== null && socket.writableLength > 0))
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#buffer.length));
    return this.#buffer.subarray(0, length);
  }
  #send(bytes: Buffer): void {
    this.#sentMs = performance.now();
    if (this.#sentMs - this.#usedMs >= this.#keepAlive.idleMsMax) this.#line.renew();
    this.#line.socket?.write(bytes);
  }

  #answered(status: number, body: Buffer): void {
    const kind = this.#kind;
    if (kind === 0) {
      this.#sink.broken(new Error(`an answer that nobody has asked for: ${status}`));
      return;
    }
    const ok = status >= OK_MIN && status <= OK_MAX;
    if (kind === SCAN && ok && !this.#takePage(body)) return;
    this.#kind = 0;
    if (ok && kind === READ) {
      const value = this.#dialect.valueIn(body);
      this.#sink.answered(this.#slot, value === null ? Answer.ABSENT : Answer.OK, value, '');
    } else if (ok) this.#sink.answered(this.#slot, Answer.OK, null, '');
    else if (status === NOT_FOUND && kind === READ) this.#sink.answered(this.#slot, Answer.ABSENT, null, '');
    else this.#refused(status, body);
    if (this.#kind === 0) this.#sink.idle(this.#slot);
  }

  /** Whether the scan has ended; otherwise the next page was asked for. */
  #takePage(body: Buffer): boolean {
    const page = JSON.parse(body.toString()) as ScanPage;
    for (const { key = '', value = '' } of page.entries) {
      const bytes = Buffer.from(key);
      hashToken(bytes);
      const isBehind = token.hi < this.#lastHi || (token.hi === this.#lastHi && token.lo < this.#lastLo);
      if (isBehind) this.#sink.broken(new Error(`a scan gave ${key} out of the order of tokens`));
      this.#lastHi = token.hi;
      this.#lastLo = token.lo;
      this.#sink.scanned(this.#slot, bytes, Buffer.from(value, 'base64'));
    }
    this.#left -= page.entries.length;
    if (this.#left < 0)
      this.#sink.broken(new Error(`a scan gave ${-this.#left} records more than were asked for`));
    if (this.#left <= 0 || page.cursor === undefined) return true;
    this.#sendScan(page.cursor);
    return false;
  }

  #refused(status: number, body: Buffer): void {
    const code = /"code":"([A-Z_]+)"/.exec(body.toString('latin1', 0, 200))?.[1] ?? '';
    const sure = SURELY_NOTHING.has(status) || code === 'OVERLOADED';
    const name = code === '' ? String(status) : `${status} ${code}`;
    this.#sink.answered(this.#slot, sure ? Answer.REFUSED : Answer.UNKNOWN, null, name);
  }

  #lost(why: string): void {
    const busy = this.#kind !== 0;
    this.#kind = 0;
    this.#sink.gone(this.#slot);
    if (busy) this.#sink.answered(this.#slot, Answer.UNKNOWN, null, why);
  }
}

interface ScanPage {
  readonly entries: readonly { readonly key?: string; readonly value?: string }[];
  readonly cursor?: string;
}
/** Of docs/http-api.md: nothing was written. */
const SURELY_NOTHING: ReadonlySet<number> = new Set([400, 404, 405, 409, 412, 413, 415, 429, 507]);
