// The values of the load: 2 KB that name their key and the PUT that wrote them, half of them random so that a compressor
// saves half. Every byte follows from key and serial, so an answer can be checked as a whole. Register tells whether a read may
// have seen what it saw.
export const VALUE_BYTES = 2048;
const HEAD_BYTES = 8;
const NOISE_WORDS = 2 ** 18;
/** PUTs of one run; beyond it the run ends. */
export const PUTS_MAX = 2 ** 23;

export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}

export class Values {
  #noise;
  #expected = Buffer.alloc(VALUE_BYTES);
  constructor(random) {
    this.#noise = Buffer.from(new Uint32Array(NOISE_WORDS).map(random).buffer);
  }
  write(into, at, key, serial) {
    into.writeUInt32LE(key, at);
    into.writeUInt32LE(serial, at + 4);
    const from = (Math.imul(serial, 0x9e3779b1) >>> 0) % (this.#noise.length - VALUE_BYTES);
    this.#noise.copy(into, at + HEAD_BYTES, from, from + VALUE_BYTES / 2 - HEAD_BYTES);
    into.fill('ringkv', at + VALUE_BYTES / 2, at + VALUE_BYTES);
  }
  /** Serial of the PUT that wrote `value` for `key`; -1 where it is no such value. */
  serialOf(value, key) {
    if (value.length !== VALUE_BYTES || value.readUInt32LE(0) !== key) return -1;
    const serial = value.readUInt32LE(4);
    this.write(this.#expected, 0, key, serial);
    return this.#expected.equals(value) ? serial : -1;
  }
}

/**
 * A register per key, regular: a read that began after a write was acknowledged sees it or a later one, or one that
 * is going on. Where writes overlap, either may be the later one.
 */
export class Register {
  #sentUs = new Float64Array(PUTS_MAX);
  #ackedUs = new Float64Array(PUTS_MAX);
  /** Per key: when the acknowledged write that was sent last was sent. */
  #floorUs;
  #next = 0;
  constructor(keys) {
    this.#floorUs = new Float64Array(keys);
  }
  /** A serial for a PUT that is sent now. */
  put(nowUs) {
    if (this.#next >= PUTS_MAX) throw new Error(`more than ${PUTS_MAX} PUTs in a run`);
    this.#sentUs[this.#next] = nowUs;
    return this.#next++;
  }
  acknowledged(key, serial, nowUs) {
    this.#ackedUs[serial] = nowUs;
    if (this.#sentUs[serial] > this.#floorUs[key]) this.#floorUs[key] = this.#sentUs[serial];
  }
  /** What a GET that is sent now must not be older than. */
  floor(key) {
    return this.#floorUs[key];
  }
  /** Whether another write began after this one was acknowledged, and was acknowledged before the read began. */
  isStale(serial, floorUs) {
    return this.#ackedUs[serial] > 0 && this.#ackedUs[serial] < floorUs;
  }
}
