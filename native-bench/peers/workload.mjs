// What every store in the comparison gets: the same keys, the same 2 KB values, half of each value random so that
// a compressor saves half (RocksDB's db_bench does the same by default), and a fixed number of calls in flight.
import { createHistogram } from 'node:perf_hooks';

export const VALUE_BYTES = 2048;
const VALUES = 512;

/** sfc32-like: a stream of 32-bit integers that is the same in every process. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}

export function makeValues() {
  const next = generator(1);
  return Array.from({ length: VALUES }, () => {
    const value = Buffer.alloc(VALUE_BYTES, 0x61);
    for (let at = 0; at < VALUE_BYTES / 2; at += 4) value.writeUInt32LE(next(), at);
    return value;
  });
}

export const keyOf = (number) => `user:${String(number).padStart(11, '0')}`;
export const randomKeys = (seed, keys) => {
  const next = generator(seed);
  return () => keyOf(next() % keys);
};

/**
 * Keeps `inFlight` calls of `call(index): Promise` going until `seconds` have passed or `count` calls are done.
 * Gives calls per second, processor time of all threads for a call, and latency percentiles in ms.
 */
export async function drive(
  call,
  { inFlight, seconds = Number.POSITIVE_INFINITY, count = Number.POSITIVE_INFINITY },
) {
  const histogram = createHistogram();
  const cpu = process.cpuUsage();
  const start = performance.now();
  const end = start + seconds * 1000;
  let index = 0;
  let done = 0;
  const lane = async () => {
    for (;;) {
      const begun = performance.now();
      if (begun >= end || index >= count) return;
      await call(index++);
      done++;
      histogram.record(Math.max(1, Math.round((performance.now() - begun) * 1e6)));
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const elapsed = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const ms = (percentile) => histogram.percentile(percentile) / 1e6;
  return {
    perSecond: done / elapsed,
    calls: done,
    cpuUs: (user + system) / done,
    p50Ms: ms(50),
    p99Ms: ms(99),
    p999Ms: ms(99.9),
  };
}

/** Calls `call(index)` one after another for `seconds`: for stores that read synchronously. */
export async function driveSync(call, { seconds }) {
  const start = performance.now();
  const end = start + seconds * 1000;
  let done = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 256; i++) call(done++);
    // Others on this thread get their turn, as they would in a program.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { perSecond: done / ((performance.now() - start) / 1000), calls: done };
}
