import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { OverloadedError, UnavailableError } from '../../src/base/errors.ts';
import { driveLoad, type LoadOptions } from '../../src/cli/bench-load.ts';
import { InterruptedError } from '../../src/cli/failure.ts';

const STEP_MS = 10;

/** A load on a clock that each call moves by STEP_MS, and a processor that works half of that time. */
function world(changes: Partial<LoadOptions> = {}) {
  const clock = new ManualClock(0);
  let calls = 0;
  const options: LoadOptions = {
    inFlight: 1,
    seconds: 1,
    clock,
    signal: new AbortController().signal,
    cpuUs: () => calls * STEP_MS * 500,
    ...changes,
  };
  const indexes: number[] = [];
  const call = (index: number): Promise<void> => {
    calls++;
    indexes.push(index);
    clock.advanceMs(STEP_MS);
    return Promise.resolve();
  };
  return { call, clock, indexes, options };
}

describe('a closed loop', () => {
  it('counts calls, their rate, latency and processor time until its time is over', async () => {
    const { call, indexes, options } = world();
    const figures = await driveLoad(call, 7, options);
    expect(figures).toMatchObject({ calls: 100, refused: 0, seconds: 1, perSecond: 100, cpuUs: 5000 });
    for (const ms of [figures.p50Ms, figures.p99Ms, figures.p999Ms, figures.maxMs])
      expect(ms).toBeCloseTo(STEP_MS, 1);
    expect(indexes).toEqual(Array.from({ length: 100 }, (_, at) => 7 + at));
  });

  it('ends after so many calls where that is earlier', async () => {
    const { call, indexes, options } = world({ calls: 5, inFlight: 3 });
    expect((await driveLoad(call, 0, options)).calls).toBe(5);
    expect(indexes).toEqual([0, 1, 2, 3, 4]);
  });

  it('has as many in flight as it was told, and no more', async () => {
    const { clock, options } = world({ inFlight: 4, calls: 40 });
    let inFlight = 0;
    let most = 0;
    await driveLoad(
      async () => {
        most = Math.max(most, ++inFlight);
        await new Promise((done) => setImmediate(done));
        clock.advanceMs(1);
        inFlight--;
      },
      0,
      options,
    );
    expect(most).toBe(4);
  });

  it('makes what was refused for overload again, and counts its wait as latency', async () => {
    const { call, clock, indexes, options } = world({ calls: 3 });
    let refusals = 2;
    const figures = await driveLoad(
      (index) => {
        if (index !== 1 || refusals-- <= 0) return call(index);
        clock.advanceMs(50);
        return Promise.reject(new OverloadedError('full'));
      },
      0,
      options,
    );
    expect(indexes).toEqual([0, 1, 2]);
    expect(figures).toMatchObject({ calls: 3, refused: 2 });
    expect(figures.maxMs).toBeGreaterThanOrEqual(110);
    expect(figures.p50Ms).toBeCloseTo(STEP_MS, 1);
  });

  it('ends with any other failure, when nothing is in flight any more', async () => {
    const { call, options } = world({ inFlight: 8 });
    let inFlight = 0;
    const failing = driveLoad(
      async (index) => {
        inFlight++;
        await new Promise((done) => setImmediate(done));
        inFlight--;
        if (index === 20) throw new UnavailableError('gone');
        await call(index);
      },
      0,
      options,
    );
    await expect(failing).rejects.toThrow('gone');
    expect(inFlight).toBe(0);
  });

  it('is ended by a signal, also where no call ever waits', async () => {
    const stop = new AbortController();
    const { options } = world({ signal: stop.signal, seconds: 3600 });
    setImmediate(() => stop.abort());
    await expect(driveLoad(() => Promise.resolve(), 0, options)).rejects.toThrow(InterruptedError);
  });
});
