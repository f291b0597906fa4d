/**
 * Decompression of snappy payloads without a buffer for each: in a small memory of its own, from where the caller's bytes are
 * copied. Owned by the thread that made it. The code is WebAssembly (snappy-decode.wat). The snappy package gives a new Buffer for
 * every payload, which lives until the next collection: tens of megabytes of them floated in each thread, and making them took longer than
 * copying (decision 9 has the figures). Payloads above limits.tableDecodeBytesMax, which this memory does not hold, are left to the package.
 *
 * 1. Nothing is allocated after the constructor.
 * 2. Whatever the payload holds, only [at, at + rawBytes) of the target changes; where the payload is bad, nothing does.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { snappyModule } from './snappy-module.ts';

/** What is used of the global that neither the language's library nor Node's types declare. */
declare const WebAssembly: {
  readonly Memory: new (pages: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
};

interface SnappyExports {
  readonly decode: (from: number, fromEnd: number, to: number, toEnd: number) => number;
}

const PAGE_BYTES = 65_536;
/** Where the raw payload goes; the compressed one comes before it. */
const RAW_AT = limits.tableDecodeBytesMax;
const PAGES = (2 * limits.tableDecodeBytesMax) / PAGE_BYTES;

/** By the number that `decode` returns. */
const faults = [
  '',
  'its length cannot be read',
  'it has another length than the header says',
  'an element is cut off',
  'an element goes beyond its end',
  'a copy from before its beginning',
] as const;

export class SnappyDecoder {
  readonly #bytes: Uint8Array;
  readonly #decode: SnappyExports['decode'];

  constructor() {
    assert(
      Number.isInteger(PAGES),
      'limits: tableDecodeBytesMax is no multiple of half a page of WebAssembly',
    );
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
    const module = new WebAssembly.Module(Buffer.from(snappyModule, 'base64'));
    const { exports } = new WebAssembly.Instance(module, { ringkv: { memory } });
    this.#bytes = new Uint8Array(memory.buffer);
    this.#decode = (exports as SnappyExports).decode;
  }

  /** Whether `decode` takes a payload of so many bytes. */
  holds(storedBytes: number, rawBytes: number): boolean {
    return storedBytes <= RAW_AT && rawBytes <= limits.tableDecodeBytesMax;
  }

  /** Decompresses bytes[from, from + storedBytes) to target[at, at + rawBytes). What is wrong with it: '' where nothing is. */
  decode(
    bytes: Uint8Array,
    from: number,
    storedBytes: number,
    target: Uint8Array,
    at: number,
    rawBytes: number,
  ): string {
    assert(
      this.holds(storedBytes, rawBytes),
      () => `snappy: ${storedBytes} bytes that give ${rawBytes}; the limit is ${limits.tableDecodeBytesMax}`,
    );
    const memory = this.#bytes;
    memory.set(bytes.subarray(from, from + storedBytes));
    const fault = this.#decode(0, storedBytes, RAW_AT, RAW_AT + rawBytes);
    if (fault !== 0) return faults[fault] ?? `fault ${fault}`;
    target.set(memory.subarray(RAW_AT, RAW_AT + rawBytes), at);
    return '';
  }
}
