/** Numbers from a seed (splitmix32): the same choices in each run. What processes and networks do is not repeated. */
export class Random {
  #state;
  constructor(seed) {
    this.#state = seed >>> 0;
  }
  uint32() {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }
  below(count) {
    return this.uint32() % count;
  }
  pick(list) {
    return list[this.below(list.length)];
  }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls, because what is waited for happens in other processes. Returns the milliseconds it took. */
export async function until(what, msMax, holds) {
  const startMs = performance.now();
  let last = null;
  for (;;) {
    try {
      if (await holds()) return performance.now() - startMs;
      last = null;
    } catch (error) {
      last = error;
    }
    if (performance.now() - startMs > msMax)
      throw new Error(`not within ${msMax} ms: ${what}${last === null ? '' : ` (${last.message})`}`);
    await sleep(100);
  }
}

export async function inParallel(items, lines, run) {
  let next = 0;
  const line = async () => {
    for (let at = next++; at < items.length; at = next++) await run(items[at]);
  };
  await Promise.all(Array.from({ length: lines }, line));
}
