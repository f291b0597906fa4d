// Reads the answers on one keep-alive connection, one at a time: Content-Length and chunked bodies.
const HEAD_END = '\r\n\r\n';
const NONE = Buffer.alloc(0);

export class AnswerReader {
  #keepBody;
  #done;
  #broken;
  /** Bytes not read yet: of a head, or of the size of a chunk. */
  #rest = NONE;
  #state = 'head';
  #left = 0;
  #status = 0;
  #parts = [];

  /** `done(status, body)` for each answer; `body` is empty unless `keepBody`. */
  constructor(keepBody, done, broken) {
    this.#keepBody = keepBody;
    this.#done = done;
    this.#broken = broken;
  }

  /** Keeps nothing of `chunk`, which is read into again. */
  push(chunk) {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = NONE;
    for (;;) {
      const used = this.#step(bytes);
      if (used < 0) {
        if (bytes.length > 0) this.#rest = Buffer.from(bytes);
        for (const [at, part] of this.#parts.entries())
          if (part.buffer === chunk.buffer) this.#parts[at] = Buffer.from(part);
        return;
      }
      bytes = bytes.subarray(used);
      if (this.#state === 'done') {
        const body = this.#parts.length === 1 ? this.#parts[0] : Buffer.concat(this.#parts);
        this.#parts.length = 0;
        this.#state = 'head';
        // One request at a time: nothing may follow.
        if (bytes.length > 0) this.#broken('more bytes than the answer has');
        else this.#done(this.#status, body);
        return;
      }
    }
  }

  /** Bytes used; -1 where more are needed. */
  #step(bytes) {
    if (this.#state === 'head') return this.#head(bytes);
    if (this.#state === 'size') return this.#size(bytes);
    if (bytes.length === 0) return -1;
    const used = Math.min(this.#left, bytes.length);
    // A chunk ends with two bytes that are not of the body.
    const body = this.#state === 'chunk' ? Math.min(used, Math.max(0, this.#left - 2)) : used;
    if (this.#keepBody && body > 0) this.#parts.push(bytes.subarray(0, body));
    this.#left -= used;
    if (this.#left === 0) this.#state = this.#state === 'chunk' ? 'size' : 'done';
    return used;
  }
  #head(bytes) {
    const end = bytes.indexOf(HEAD_END);
    if (end < 0) return -1;
    const text = bytes.latin1Slice(0, end);
    this.#status = Number(text.slice(9, 12));
    if (/\r\ntransfer-encoding: *chunked/i.test(text)) this.#state = 'size';
    else {
      this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0);
      this.#state = this.#left === 0 ? 'done' : 'body';
    }
    return end + HEAD_END.length;
  }
  #size(bytes) {
    const end = bytes.indexOf('\r\n');
    if (end < 0) return -1;
    const size = Number.parseInt(bytes.latin1Slice(0, end), 16);
    if (size > 0) {
      this.#left = size + 2;
      this.#state = 'chunk';
      return end + 2;
    }
    // No trailers: the last chunk is followed by an empty line.
    if (bytes.length < end + 4) return -1;
    this.#state = 'done';
    return end + 4;
  }
}
