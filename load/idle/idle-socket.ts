/** One connection of load/idle/idle-connections.ts. */
import { connect, type Socket } from 'node:net';
import { loadLimits } from '../limits.ts';
import type { HttpNode } from '../transports/nodes.ts';
import {
  controlFrame,
  FRAME_HEAD_BYTES_MAX,
  FrameReader,
  Opcode,
  writeFrameHead,
} from '../transports/ws-frames.ts';

const HEAD_END = '\r\n\r\n';
const HEAD_BYTES_MAX = 16_384;

export abstract class IdleSocket {
  /** Resolves when it is open; rejects where it does not come to that. */
  readonly opened: Promise<void>;
  protected readonly socket: Socket;
  #settle: { readonly done: () => void; readonly failed: (error: Error) => void } | null = null;
  #answered: ((isAnswered: boolean) => void) | null = null;
  #late: NodeJS.Timeout;
  #why = 'ended by the node';
  #isOpen = false;
  #isClosed = false;

  /** `onEnd`: it was open, and ended before `close`. */
  constructor({ host, port }: HttpNode, localAddress: string | undefined, onEnd: (why: string) => void) {
    this.opened = new Promise((done, failed) => {
      this.#settle = { done, failed };
    });
    this.#late = setTimeout(
      () => this.socket.destroy(new Error(`not open within ${loadLimits.idleOpenMs} ms`)),
      loadLimits.idleOpenMs,
    );
    this.socket = connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
    this.socket.on('error', ({ message }) => {
      this.#why = message;
    });
    this.socket.on('close', () => {
      this.#isClosed = true;
      clearTimeout(this.#late);
      this.#answered?.(false);
      if (this.#isOpen) onEnd(this.#why);
      else this.#settle?.failed(new Error(`an idle connection to ${host}:${port}: ${this.#why}`));
    });
  }

  /** Asks for something small; nothing where an answer is under way. */
  abstract ask(): void;

  /** Whether it gives an answer that is asked for now. */
  answers(msMax: number): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    return new Promise((done) => {
      const late = setTimeout(() => done(false), msMax);
      this.#answered = (isAnswered) => {
        clearTimeout(late);
        this.#answered = null;
        done(isAnswered);
      };
      this.ask();
    });
  }
  close(): void {
    clearTimeout(this.#late);
    this.socket.destroy();
  }

  protected nowOpen(): void {
    this.#isOpen = true;
    clearTimeout(this.#late);
    this.#settle?.done();
  }
  protected nowAnswered(): void {
    this.#answered?.(true);
  }
  /** What came is no answer. */
  protected end(why: string): void {
    this.#why = why;
    this.socket.destroy();
  }
}

/** Open when a first request is answered. */
export class IdleHttp extends IdleSocket {
  readonly #request: string;
  #seen = '';
  #isAsking = false;
  #wasAnswered = false;

  constructor(node: HttpNode, localAddress: string | undefined, onEnd: (why: string) => void) {
    super(node, localAddress, onEnd);
    this.#request = `GET /healthz HTTP/1.1\r\nHost: ${node.host}\r\n\r\n`;
    this.socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.ask();
  }
  ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.socket.write(this.#request);
  }
  #take(chunk: Buffer): void {
    this.#seen += chunk.toString('latin1');
    const end = this.#seen.indexOf(HEAD_END);
    if (end < 0 && this.#seen.length < HEAD_BYTES_MAX) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#seen)?.[1] ?? Number.NaN);
    if (!this.#seen.startsWith('HTTP/1.1 200 ') || Number.isNaN(length)) {
      this.end(`answered ${this.#seen.slice(0, Math.max(0, this.#seen.indexOf('\r\n')))}`);
      return;
    }
    if (this.#seen.length < end + HEAD_END.length + length) return;
    this.#seen = '';
    this.#isAsking = false;
    if (!this.#wasAnswered) this.nowOpen();
    this.#wasAnswered = true;
    this.nowAnswered();
  }
}

/** A get of the key `a` under id 2: the second vector of docs/websocket.md; and how any answer to it begins behind its first byte. */
const GET = Buffer.from('a3636964738102636f707302646b657973814161', 'hex');
const ANSWER = Buffer.from('636964738102', 'hex');

/** Open when the limits have come. */
export class IdleWebSocket extends IdleSocket {
  readonly #frames: FrameReader;
  #head = '';
  #wasGreeted = false;

  constructor(node: HttpNode, localAddress: string | undefined, onEnd: (why: string) => void) {
    super(node, localAddress, onEnd);
    this.#frames = new FrameReader(
      (opcode, payload) => this.#frame(opcode, payload),
      (why) => this.end(why),
    );
    this.socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.socket.write(
      `GET /v1/ws HTTP/1.1\r\nHost: ${node.host}:${node.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ringkv.v1\r\n\r\n',
    );
  }
  ask(): void {
    const frame = Buffer.alloc(FRAME_HEAD_BYTES_MAX + GET.length);
    GET.copy(frame, FRAME_HEAD_BYTES_MAX);
    this.socket.write(frame.subarray(writeFrameHead(frame, FRAME_HEAD_BYTES_MAX, GET.length, Opcode.BINARY)));
  }
  #take(chunk: Buffer): void {
    if (this.#head.endsWith(HEAD_END)) {
      this.#frames.push(chunk);
      return;
    }
    const before = this.#head.length;
    const text = this.#head + chunk.toString('latin1');
    const end = text.indexOf(HEAD_END);
    this.#head = end < 0 ? text : text.slice(0, end + HEAD_END.length);
    if (end < 0 && text.length < HEAD_BYTES_MAX) return;
    if (!text.startsWith('HTTP/1.1 101 ')) {
      this.end(`answered ${text.slice(0, Math.max(0, text.indexOf('\r\n')))}`);
      return;
    }
    const rest = chunk.subarray(this.#head.length - before);
    if (rest.length > 0) this.#frames.push(rest);
  }
  #frame(opcode: number, payload: Buffer): void {
    if (opcode === Opcode.PING) this.socket.write(controlFrame(Opcode.PONG, payload));
    else if (opcode === Opcode.CLOSE)
      this.end(`closed with ${payload.length < 2 ? 'no code' : payload.readUInt16BE(0)}`);
    else if (opcode !== Opcode.BINARY) return;
    else if (!this.#wasGreeted) {
      this.#wasGreeted = true;
      this.nowOpen();
    } else if (payload.indexOf(ANSWER) === 1) this.nowAnswered();
  }
}
