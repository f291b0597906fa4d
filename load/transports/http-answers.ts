/** Reads the answers on one keep-alive connection, one at a time: Content-Length and chunked bodies. */
import { loadLimits } from '../limits.ts';

const HEAD_END = Buffer.from('\r\n\r\n');
const LINE_END = '\r\n';
const NONE = Buffer.alloc(0);
const HEAD_BYTES_MAX = 65_536;
const ZERO = 0x30;

type State = 'head' | 'body' | 'size' | 'chunk' | 'done';

export class HttpAnswers {
  readonly #answered: (status: number, body: Buffer, head: string) => void;
  readonly #broken: (why: string) => void;
  /** Bytes not read yet: of a head, or of the size of a chunk. */
  #rest: Buffer = NONE;
  #state: State = 'head';
  #left = 0;
  #status = 0;
  #head = '';
  #bodyBytes = 0;
  readonly #parts: Buffer[] = [];

  /** `answered` gets a body that is valid during the call; `broken`, what is not HTTP. */
  constructor(answered: (status: number, body: Buffer, head: string) => void, broken: (why: string) => void) {
    this.#answered = answered;
    this.#broken = broken;
  }

  push(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = NONE;
    for (;;) {
      const used = this.#step(bytes);
      if (used === WRONG) return;
      if (used === MORE) {
        this.#rest = bytes;
        return;
      }
      bytes = used === bytes.length ? NONE : bytes.subarray(used);
      if (this.#state === 'done') {
        // One request at a time: nothing may follow.
        if (bytes.length > 0) this.#broken('more bytes than the answer has');
        else this.#finish();
        return;
      }
    }
  }

  #finish(): void {
    const [first = NONE] = this.#parts;
    const body = this.#parts.length <= 1 ? first : Buffer.concat(this.#parts);
    this.#parts.length = 0;
    this.#bodyBytes = 0;
    this.#state = 'head';
    this.#answered(this.#status, body, this.#head);
  }

  /** Bytes used, MORE or WRONG. */
  #step(bytes: Buffer): number {
    if (this.#state === 'head') return this.#readHead(bytes);
    if (this.#state === 'size') return this.#readSize(bytes);
    if (bytes.length === 0) return MORE;
    const used = Math.min(this.#left, bytes.length);
    // A chunk ends with two bytes that are not of the body.
    const body = this.#state === 'chunk' ? Math.min(used, Math.max(0, this.#left - 2)) : used;
    if (body > 0) this.#parts.push(bytes.subarray(0, body));
    this.#bodyBytes += body;
    if (this.#bodyBytes > loadLimits.answerBytesMax)
      return this.#wrong(`an answer of more than ${loadLimits.answerBytesMax} bytes`);
    this.#left -= used;
    if (this.#left === 0) this.#state = this.#state === 'chunk' ? 'size' : 'done';
    return used;
  }

  #readHead(bytes: Buffer): number {
    const end = bytes.indexOf(HEAD_END);
    if (end < 0)
      return bytes.length > HEAD_BYTES_MAX
        ? this.#wrong(`a head of more than ${HEAD_BYTES_MAX} bytes`)
        : MORE;
    const head = bytes.toString('latin1', 0, end);
    if (!head.startsWith('HTTP/1.1 ')) return this.#wrong(`no answer of HTTP/1.1: ${head.slice(0, 40)}`);
    const digit = (at: number): number => (bytes[at] as number) - ZERO;
    this.#status = digit(9) * 100 + digit(10) * 10 + digit(11);
    this.#head = head;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length !== undefined) {
      this.#left = Number(length);
      this.#state = this.#left === 0 ? 'done' : 'body';
    } else if (/\r\ntransfer-encoding: *chunked/i.test(head)) this.#state = 'size';
    else {
      this.#left = 0;
      this.#state = 'done';
    }
    return end + HEAD_END.length;
  }

  #readSize(bytes: Buffer): number {
    const end = bytes.indexOf(LINE_END);
    if (end < 0) return MORE;
    const size = Number.parseInt(bytes.toString('latin1', 0, end), 16);
    if (!(size >= 0)) return this.#wrong('a chunk without a size');
    if (size > 0) {
      this.#left = size + 2;
      this.#state = 'chunk';
      return end + 2;
    }
    // No trailers: the last chunk is followed by an empty line.
    if (bytes.length < end + 4) return MORE;
    this.#state = 'done';
    return end + 4;
  }

  #wrong(why: string): number {
    this.#broken(why);
    return WRONG;
  }
}

const MORE = -1;
const WRONG = -2;
