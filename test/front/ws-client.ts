/**
 * A client of ringkv.v1 written from docs/websocket.md alone: CBOR by hand, nothing from src/. Two ways to connect: undici's
 * WebSocket, and frames on a socket, for what no good client does.
 */
import { connect as connectSocket, type Socket } from 'node:net';
import { WebSocket } from 'undici';

const PATIENCE_MS = 60_000;

/** A CBOR item: null, booleans, numbers, text, bytes, arrays, maps with text keys. */
export type Item =
  | null
  | undefined
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Item[]
  | { readonly [name: string]: Item };

export function head(major: number, argument: number): Buffer {
  const top = major << 5;
  if (argument < 24) return Buffer.from([top | argument]);
  if (argument < 0x100) return Buffer.from([top | 24, argument]);
  if (argument < 0x1_0000) return Buffer.from([top | 25, argument >> 8, argument & 255]);
  const bytes = Buffer.alloc(argument < 2 ** 32 ? 5 : 9);
  bytes[0] = top | (argument < 2 ** 32 ? 26 : 27);
  if (argument < 2 ** 32) bytes.writeUInt32BE(argument, 1);
  else bytes.writeBigUInt64BE(BigInt(argument), 1);
  return bytes;
}

export function encode(item: Item): Buffer {
  if (item === null) return Buffer.from([0xf6]);
  if (item === undefined) return Buffer.from([0xf7]);
  if (typeof item === 'boolean') return Buffer.from([item ? 0xf5 : 0xf4]);
  if (typeof item === 'number') {
    if (Number.isSafeInteger(item)) return item < 0 ? head(1, -1 - item) : head(0, item);
    const bytes = Buffer.alloc(9, 0xfb);
    bytes.writeDoubleBE(item, 1);
    return bytes;
  }
  if (typeof item === 'string') return Buffer.concat([head(3, Buffer.byteLength(item)), Buffer.from(item)]);
  if (item instanceof Uint8Array) return Buffer.concat([head(2, item.length), item]);
  if (Array.isArray(item)) return Buffer.concat([head(4, item.length), ...item.map(encode)]);
  const pairs = Object.entries(item as { readonly [name: string]: Item });
  return Buffer.concat([
    head(5, pairs.length),
    ...pairs.flatMap(([name, one]) => [encode(name), encode(one)]),
  ]);
}

/** The one item that `bytes` is. */
export function decode(bytes: Buffer): Item {
  let at = 0;
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new Error(`the item ends at ${bytes.length}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const argumentOf = (initial: number): number => {
    const info = initial & 31;
    if (info < 24) return info;
    const length = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
    if (length === undefined) throw new Error(`byte ${initial} before ${at}`);
    return Number(BigInt(`0x${take(length).toString('hex')}`));
  };
  const item = (): Item => {
    const initial = take(1)[0] as number;
    if (initial === 0xf6) return null;
    if (initial === 0xf5) return true;
    if (initial === 0xfb) return take(8).readDoubleBE();
    const argument = argumentOf(initial);
    switch (initial >> 5) {
      case 0:
        return argument;
      case 2:
        return Buffer.from(take(argument));
      case 3:
        return take(argument).toString();
      case 4:
        return Array.from({ length: argument }, item);
      case 5:
        return Object.fromEntries(Array.from({ length: argument }, () => [item() as string, item()]));
      default:
        throw new Error(`byte ${initial} before ${at}`);
    }
  };
  const decoded = item();
  if (at !== bytes.length) throw new Error(`${bytes.length - at} bytes after the item`);
  return decoded;
}

/** One answer, taken out of its columns. */
export interface WsAnswer {
  readonly id: number;
  readonly status: number;
  readonly version: number | null;
  readonly ttl: number | null;
  readonly sloppy: boolean;
  readonly message: string | null;
  readonly value: Buffer | null;
}

interface Answers {
  readonly [column: string]: readonly Item[];
}
export function answersOf(bytes: Buffer): WsAnswer[] {
  const { ids = [], ...columns } = decode(bytes) as unknown as Answers;
  const at = <T>(name: string, index: number): T | null => (columns[name]?.[index] ?? null) as T | null;
  return ids.map((id, index) => ({
    id: id as number,
    status: at<number>('statuses', index) as number,
    version: at<number>('versions', index),
    ttl: at<number>('ttls', index),
    sloppy: at<boolean>('sloppy', index) ?? false,
    message: at<string>('messages', index),
    value: at<Buffer>('values', index),
  }));
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}
export type Columns = Readonly<Record<string, Item>>;
export const PUT = 1;
export const GET = 2;
export const DELETE = 3;

/** Over undici's WebSocket. */
export class WsClient {
  readonly closed: Promise<Closed>;
  /** Messages as they came, the first of which has the limits. */
  readonly messages: Buffer[] = [];
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: WsAnswer) => void>();
  #nextId = 1;
  #onMessage: (() => void) | null = null;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('message', ({ data }) => {
      const bytes = Buffer.from(data as ArrayBuffer);
      this.messages.push(bytes);
      for (const answer of answersOf(bytes)) {
        this.#waiting.get(answer.id)?.(answer);
        this.#waiting.delete(answer.id);
      }
      this.#onMessage?.();
    });
    this.closed = new Promise((done) => {
      socket.addEventListener('close', ({ code, reason }) => done({ code, reason }));
    });
  }

  /** Resolves when the limits have come; rejects where the connection is refused. */
  static async connect(port: number, protocols: readonly string[] = ['ringkv.v1']): Promise<WsClient> {
    const client = new WsClient(new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, [...protocols]));
    const first = new Promise<void>((done) => {
      client.#onMessage = done;
    });
    const refused = client.closed.then(({ code, reason }) => {
      throw new Error(`closed with ${code} ${reason}`);
    });
    await Promise.race([first, refused]);
    return client;
  }

  get limits(): Readonly<Record<string, number>> {
    return (decode(this.messages[0] as Buffer) as { limits: Record<string, number> }).limits;
  }

  sendBytes(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }
  sendText(text: string): void {
    this.#socket.send(text);
  }
  close(): Promise<Closed> {
    this.#socket.close();
    return this.closed;
  }

  /** Sends one message whose ids are given here; the answers in order of the requests. */
  request(columns: Columns): Promise<WsAnswer[]> {
    const count = (columns.keys as readonly Item[]).length;
    const ids = Array.from({ length: count }, () => this.#nextId++);
    const answers = Promise.all(
      ids.map((id) => new Promise<WsAnswer>((done) => this.#waiting.set(id, done))),
    );
    this.sendBytes(encode({ ids, ...columns }));
    const gone = this.closed.then(({ code, reason }) => {
      throw new Error(`closed with ${code} ${reason}`);
    });
    return Promise.race([answers, gone]);
  }
  async one(columns: Columns): Promise<WsAnswer> {
    const [answer] = await this.request(columns);
    if (answer === undefined) throw new Error('no answer');
    return answer;
  }

  put(key: string, value: string | Uint8Array, options: Columns = {}): Promise<WsAnswer> {
    return this.one({ ops: PUT, keys: [Buffer.from(key)], values: [Buffer.from(value)], ...options });
  }
  get(key: string, options: Columns = {}): Promise<WsAnswer> {
    return this.one({ ops: GET, keys: [Buffer.from(key)], ...options });
  }
  delete(key: string, options: Columns = {}): Promise<WsAnswer> {
    return this.one({ ops: DELETE, keys: [Buffer.from(key)], ...options });
  }
}

export const HANDSHAKE = [
  'GET /v1/ws HTTP/1.1',
  'Host: localhost',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Protocol: ringkv.v1',
];
export const BINARY = 2;
export const PING = 9;
export const CLOSE = 8;

/** A frame as clients send them, under a mask of zeros. */
export function frame(opcode: number, payload: Uint8Array, fin = true): Buffer {
  const { length } = payload;
  const long = length > 0xffff;
  const header = Buffer.alloc(2 + (length < 126 ? 0 : long ? 8 : 2) + 4);
  header[0] = (fin ? 0x80 : 0) | opcode;
  header[1] = 0x80 | (length < 126 ? length : long ? 127 : 126);
  if (long) header.writeBigUInt64BE(BigInt(length), 2);
  else if (length >= 126) header.writeUInt16BE(length, 2);
  return Buffer.concat([header, payload]);
}

/** A socket with frames by hand. It reads only when it is told to. */
export class RawWs {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  #ended = false;
  readonly ended: Promise<void>;

  private constructor(port: number) {
    this.socket = connectSocket(port, '127.0.0.1');
    this.socket.on('error', () => undefined);
    this.ended = new Promise((done) => {
      this.socket.once('close', () => {
        this.#ended = true;
        done();
      });
    });
  }
  get isOpen(): boolean {
    return !this.#ended;
  }

  /** Shakes hands, and then reads nothing. */
  static async connect(port: number): Promise<RawWs> {
    const raw = new RawWs(port);
    raw.socket.write(`${HANDSHAKE.join('\r\n')}\r\n\r\n`);
    await new Promise<void>((done, failed) => {
      raw.socket.once('data', (chunk) =>
        chunk.toString('latin1').startsWith('HTTP/1.1 101 ') ? done() : failed(new Error(chunk.toString())),
      );
    });
    raw.socket.on('data', (chunk: Buffer) => raw.#chunks.push(chunk));
    raw.socket.pause();
    return raw;
  }

  /** Resolves when the system took it, or the connection is gone. */
  send(bytes: Uint8Array): Promise<void> {
    if (this.#ended || this.socket.destroyed) return new Promise((done) => setImmediate(done));
    return new Promise((done) => this.socket.write(bytes, () => done()));
  }

  /** What was read since the handshake. */
  get seen(): Buffer {
    return Buffer.concat(this.#chunks);
  }
  read(): void {
    this.socket.resume();
  }
  /** Reads until the end; all bytes. */
  async readAll(): Promise<Buffer> {
    this.read();
    await this.ended;
    return this.seen;
  }
  destroy(): void {
    this.socket.destroy();
  }
}

/** Waits for what happens on the other side of a socket. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const started = performance.now();
  while (!(await holds())) {
    if (performance.now() - started > PATIENCE_MS) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 5));
  }
}
