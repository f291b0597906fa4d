import snappy from 'snappy';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { compressed, decodePayload } from '../../src/engine/block-codec.ts';
import { SnappyCodec } from '../../src/engine/snappy-codec.ts';
import { snappyModule } from '../../src/engine/snappy-module.ts';
import { FRAME_HEADER_BYTES, STORED_SNAPPY } from '../../src/engine/table-format.ts';
import { testSeed } from '../seed.ts';

declare const WebAssembly: {
  readonly Memory: new (pages: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
};

const seed = testSeed();
const EDGE = 24;
const EDGES = new Uint8Array(EDGE).fill(0xa5);
const codec = new SnappyCodec();
const packed = (bytes: Uint8Array): Uint8Array => snappy.compressSync(Buffer.from(bytes));

/** What the snappy package makes of it; null where it refuses. */
function byPackage(stored: Uint8Array, rawBytes: number): Uint8Array | null {
  try {
    const raw = snappy.uncompressSync(Buffer.from(stored)) as Uint8Array;
    return raw.length === rawBytes ? raw : null;
  } catch {
    return null;
  }
}

/** Decodes between two edges that must stay as they are, and so must all of it where the payload is bad. */
function byCodec(stored: Uint8Array, rawBytes: number): Uint8Array | null {
  const target = new Uint8Array(rawBytes + 2 * EDGE).fill(0xa5);
  const source = new Uint8Array(stored.length + EDGE);
  source.set(stored, 5);
  const fault = codec.decode(source, 5, stored.length, target, EDGE, rawBytes);
  const untouched =
    fault === '' ? [...target.subarray(0, EDGE), ...target.subarray(EDGE + rawBytes)] : target;
  expect(untouched.every((byte) => byte === 0xa5)).toBe(true);
  return fault === '' ? target.slice(EDGE, EDGE + rawBytes) : null;
}

/** toEqual takes milliseconds for a few kilobytes. */
const same = (a: Uint8Array | null, b: Uint8Array | null): boolean =>
  a === null || b === null ? a === b : Buffer.compare(a, b) === 0;

/** Bytes with repetitions of all distances and lengths among noise. */
function texture(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const run = Math.min(length - at, 1 + random.below(random.pick([4, 20, 70, 300])));
    if (at > 0 && random.chance(0.6)) {
      const distance = 1 + random.below(Math.min(at, random.pick([3, 9, 2000, 60_000])));
      for (let i = 0; i < run; i++) bytes[at + i] = bytes[at + i - distance] as number;
    } else bytes.set(random.bytes(run), at);
    at += run;
  }
  return bytes;
}

describe(`the snappy codec (seed ${seed})`, () => {
  it('gives the bytes of the package, and gives back what was compressed, of every length and texture', () => {
    const random = new Random(seed);
    const check = (raw: Uint8Array): void => {
      const stored = packed(raw);
      expect(same(codec.encode(Buffer.concat([EDGES, raw, EDGES]), EDGE, raw.length), stored)).toBe(true);
      expect(same(byCodec(stored, raw.length), raw), `${raw.length} bytes`).toBe(true);
    };
    for (let length = 0; length < 300; length++) {
      const raw = texture(random, length);
      check(raw);
    }
    for (let round = 0; round < 60; round++) {
      const raw = texture(random, 1 + random.below(120_000));
      check(raw);
    }
  });

  it('decides as the package does about payloads with changed bytes', () => {
    const random = new Random(seed);
    let refused = 0;
    let taken = 0;
    for (let round = 0; round < 20_000; round++) {
      const raw = texture(random, 1 + random.below(400));
      const stored = packed(raw).slice();
      for (let change = random.below(3); change >= 0; change--)
        stored[random.below(stored.length)] = random.below(256);
      const expected = byPackage(stored, raw.length);
      if (expected === null) refused++;
      else taken++;
      expect(same(byCodec(stored, raw.length), expected), `round ${round}`).toBe(true);
    }
    expect(Math.min(refused, taken)).toBeGreaterThan(1000);
  });

  it('refuses payloads that are cut off, go on, or have another length than their header says', () => {
    const raw = texture(new Random(seed), 500);
    const stored = packed(raw);
    for (let length = 0; length < stored.length; length++)
      expect(byCodec(stored.subarray(0, length), raw.length), `cut at ${length}`).toBe(null);
    expect(byCodec(Buffer.concat([stored, Buffer.of(0, 1)]), raw.length)).toBe(null);
    expect(byCodec(stored, raw.length - 1)).toBe(null);
    expect(byCodec(stored, raw.length + 1)).toBe(null);
  });

  it('never leaves the places that it is given in its memory', () => {
    const random = new Random(seed);
    const memory = new WebAssembly.Memory({ initial: 8, maximum: 8 });
    const module = new WebAssembly.Module(Buffer.from(snappyModule, 'base64'));
    const { exports } = new WebAssembly.Instance(module, { ringkv: { memory } });
    const { decode } = exports as { decode: (...places: number[]) => number };
    const bytes = new Uint8Array(memory.buffer);
    const [from, to, area] = [1000, 100_000, 10_000];
    for (let round = 0; round < 5000; round++) {
      const raw = texture(random, 1 + random.below(400));
      const stored = packed(raw).slice();
      if (random.chance(0.7)) stored[random.below(stored.length)] = random.below(256);
      bytes.fill(0xa5, to - area, to + area);
      bytes.set(stored, from);
      decode(from, from + stored.length, to, to + raw.length);
      for (let i = to - area; i < to + area; i++)
        if (bytes[i] !== 0xa5 && (i < to || i >= to + raw.length))
          throw new Error(`round ${round}: byte ${i - to} of ${raw.length} was written`);
    }
    // More copies than the memory holds behind the output, which is full before the first.
    const copies = Buffer.alloc(3 * 10_000, Buffer.of((63 << 2) | 2, 1, 0));
    bytes.set(Buffer.concat([Buffer.of(1, 0, 7), copies]), from);
    expect(decode(from, from + 3 + copies.length, to, to + 1)).not.toBe(0);
  });

  it('reads elements that the package never writes', () => {
    const word = [...Buffer.from('ringkv')];
    // Lengths of literals in 1 to 4 bytes; a copy with 32 bits of offset; the longest copy, of a pattern of one byte.
    for (const [tag, more] of [
      [60, []],
      [61, [0]],
      [62, [0, 0]],
      [63, [0, 0, 0]],
    ] as const)
      expect(byCodec(Uint8Array.of(6, tag << 2, 5, ...more, ...word), 6)).toEqual(Uint8Array.from(word));
    expect(byCodec(Uint8Array.of(10, 5 << 2, ...word, (3 << 2) | 3, 6, 0, 0, 0), 10)).toEqual(
      new Uint8Array(Buffer.from('ringkvring')),
    );
    expect(byCodec(Uint8Array.of(65, 0, 7, (63 << 2) | 2, 1, 0), 65)).toEqual(new Uint8Array(65).fill(7));
  });

  it('refuses copies from before the beginning, lengths that wrap around, and endless ones', () => {
    const before = byCodec(Uint8Array.of(200, 1, 0, 7, (63 << 2) | 2, 2, 0), 200);
    const nowhere = byCodec(Uint8Array.of(65, 0, 7, (63 << 2) | 2, 0, 0), 65);
    const huge = byCodec(Uint8Array.of(6, 63 << 2, 255, 255, 255, 255, 1, 2, 3, 4, 5, 6), 6);
    const nothing = byCodec(Uint8Array.of(6, 63 << 2, 255, 255, 255, 255, 5 << 2, 1, 2, 3, 4, 5, 6), 6);
    const far = byCodec(Uint8Array.of(8, 0, 7, (6 << 2) | 3, 255, 255, 255, 255), 8);
    const endless = byCodec(Uint8Array.of(134, 128, 128, 128, 128, 0, 5 << 2, 1, 2, 3, 4, 5, 6), 6);
    expect([before, nowhere, huge, nothing, far, endless]).toEqual(Array(6).fill(null));
  });
});

describe('a frame', () => {
  it.each([limits.tableCodecBytesMax, limits.tableCodecBytesMax + 1, 3 * limits.tableCodecBytesMax])(
    'of %i raw bytes is decompressed, and its damage told, by the codec or the package',
    (length) => {
      const raw = texture(new Random(1), length);
      const payload = compressed(Buffer.concat([EDGES, raw]), EDGE, length)?.slice() ?? EDGES;
      expect(Buffer.compare(payload, packed(raw))).toBe(0);
      const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
      frame.set(payload, FRAME_HEADER_BYTES);
      const fields = {
        kind: 1,
        compression: STORED_SNAPPY,
        storedBytes: payload.length,
        rawBytes: length,
        entries: 1,
      };
      const target = new Uint8Array(length + 3);
      expect(decodePayload(frame, 0, fields, target, 3)).toBe('');
      expect(Buffer.compare(target.subarray(3), raw)).toBe(0);
      expect(decodePayload(frame, 0, { ...fields, storedBytes: payload.length - 1 }, target, 3)).toMatch(
        /^a payload that does not decompress: /,
      );
      expect(decodePayload(frame, 0, { ...fields, rawBytes: length - 1 }, target, 3)).toMatch(
        /^a payload that does not decompress: /,
      );
    },
  );
});
