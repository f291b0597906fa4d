/**
 * Cuts a stream of bytes into lines. Lines are cut as bytes, so that a character that lies across two chunks is
 * never broken. Holds one line and one chunk; of a line that is too long it holds nothing.
 */
export interface Line {
  /** From 1. */
  readonly number: number;
  /** Without the line break; null where the line is longer than the limit. */
  readonly bytes: Uint8Array | null;
}

const NEWLINE = 0x0a;

export class LineCutter {
  readonly #bytesMax: number;
  #number = 0;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The lines that end in `chunk`. */
  *push(chunk: Uint8Array): Generator<Line, void, undefined> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#add(chunk.subarray(start, end));
      start = end + 1;
      yield this.#take();
    }
    this.#add(chunk.subarray(start));
  }

  /** The last line, where the stream does not end with a line break. */
  *end(): Generator<Line, void, undefined> {
    if (this.#length > 0) yield this.#take();
  }

  #add(part: Uint8Array): void {
    this.#length += part.length;
    if (this.#length > this.#bytesMax) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
  }

  #take(): Line {
    const first = this.#parts[0] ?? new Uint8Array(0);
    const whole = this.#parts.length <= 1 ? first : Buffer.concat(this.#parts);
    const bytes = this.#length > this.#bytesMax ? null : whole;
    this.#parts = [];
    this.#length = 0;
    this.#number += 1;
    return { number: this.#number, bytes };
  }
}

export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<Line, void, undefined> {
  const cutter = new LineCutter(bytesMax);
  for await (const chunk of chunks) yield* cutter.push(chunk);
  yield* cutter.end();
}
