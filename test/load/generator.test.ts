import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Latencies } from '../../load/latencies.ts';
import { Answer } from '../../load/transports/transport.ts';
import { Operation } from '../../load/workload.ts';
import { bench, type FakeStore, open, responseOf, serviceOf } from './generator-harness.ts';

describe('a generator', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('sends what is due when it is due, whatever the answers do, and counts each once', async () => {
    const { store, run } = await bench({}, { slots: 100 });
    await run({ kind: 'preload' });
    expect(store.records.size).toBe(20);
    store.begun.length = 0;
    store.delayMs = () => 50;
    const result = await run(open(100, 5));
    expect(result).toMatchObject({ due: 500, ok: 500, failed: 0, givenUp: 0, wrong: 0, late: 0, seconds: 5 });
    const first = store.begun[0]?.ms ?? 0;
    store.begun.forEach(({ ms }, at) => {
      // By a timer of a millisecond.
      expect(ms - first - at * 10).toBeGreaterThanOrEqual(-1);
      expect(ms - first - at * 10).toBeLessThanOrEqual(2);
    });
    expect(responseOf(result).ms['50']).toBeCloseTo(51, -1);
  });

  it('a stop of the store counts in all requests that were due meanwhile, not only in those on their way', async () => {
    const { store, run } = await bench();
    await run({ kind: 'preload' });
    const begin = performance.now();
    // Four requests take a second each; then it is as fast as ever.
    store.delayMs = () => (performance.now() - begin < 1005 && performance.now() - begin > 1000 ? 1000 : 0);
    const result = await run(open(1000, 4));
    const response = responseOf(result);
    expect(result.ok).toBe(4000);
    expect(response.maxMs).toBeGreaterThan(980);
    // A quarter of the requests were due in the stop, and waited half of it in the mean.
    expect(response.meanMs).toBeGreaterThan(100);
    expect(response.ms['90']).toBeGreaterThan(500);
    // What a closed loop would have said.
    expect(serviceOf(result).ms['99']).toBeLessThan(10);
    expect(result.late).toBeGreaterThan(900);
  });

  it('no more requests are on their way than there are slots; what waits too long is given up and counts with its time', async () => {
    const { store, run } = await bench();
    await run({ kind: 'preload' });
    store.delayMs = () => 100;
    // 4 slots and 100 ms are 40 a second.
    const result = await run(open(100, 20, 0, 2000));
    expect(store.inFlightMost).toBe(4);
    expect(result.due).toBe(2000);
    expect(result.ok + result.givenUp).toBe(2000);
    expect(result.ok).toBeGreaterThan(750);
    expect(result.ok).toBeLessThan(1000);
    expect(responseOf(result).count).toBe(2000);
    expect(responseOf(result).ms['50']).toBeGreaterThan(1900);
    expect(serviceOf(result).count).toBe(result.ok);
  });

  it('every slot has its turn, so that no connection is idle at a rate that few could carry', async () => {
    const { store, run } = await bench({}, { slots: 50 });
    await run({ kind: 'preload' });
    store.begun.length = 0;
    await run(open(100, 5));
    const used = Array.from(
      { length: 50 },
      (_, index) => store.begun.filter(({ slot }) => slot.index === index).length,
    );
    expect(used).toEqual(Array(50).fill(10));
  });

  it('what is due in the warm-up is sent and not counted', async () => {
    const { store, run, intervals } = await bench();
    await run({ kind: 'preload' });
    store.begun.length = 0;
    intervals.length = 0;
    const result = await run(open(100, 2, 3));
    expect(store.begun.length).toBe(500);
    expect(result).toMatchObject({ due: 200, ok: 200, seconds: 2 });
    const sums = (from: number, to: number): number =>
      intervals
        .filter(({ interval }) => interval >= from && interval < to)
        .reduce((sum, { ok }) => sum + ok, 0);
    expect(Math.abs(sums(-3, 0) - 300)).toBeLessThanOrEqual(1);
    expect(sums(-3, 9)).toBe(500);
  });

  it('a read-modify-write is one request: its read, then its write, from when it was due', async () => {
    const { store, run } = await bench({ mix: { readModifyWrite: 1 } }, { slots: 50 });
    await run({ kind: 'preload' });
    store.begun.length = 0;
    store.delayMs = () => 30;
    const result = await run(open(50, 2));
    expect(store.begun.filter(({ what }) => what === 'read').length).toBe(100);
    expect(store.begun.filter(({ what }) => what === 'write').length).toBe(100);
    expect(result).toMatchObject({ due: 100, ok: 100, wrong: 0 });
    expect(responseOf(result).ms['50']).toBeGreaterThanOrEqual(60);
    const byOperation = new Latencies(result.latencies).byOperation;
    expect(byOperation[Operation.READ_MODIFY_WRITE]?.totalCount).toBe(100);
    expect(byOperation[Operation.READ] ?? null).toBeNull();
  });

  it('a closed loop sends when it has its answer, for its time', async () => {
    const { store, run } = await bench();
    await run({ kind: 'preload' });
    store.delayMs = () => 20;
    const result = await run({ kind: 'closed', seconds: 3 });
    expect(result.seconds).toBeCloseTo(3, 1);
    expect(Math.abs(result.ok - 600)).toBeLessThan(30);
  });

  it('a closed loop of another round asks for other keys, of the same round for the same', async () => {
    const { store, run } = await bench({ records: 500 });
    await run({ kind: 'preload' });
    const keysOf = async (round: number): Promise<string> => {
      store.begun.length = 0;
      store.delayMs = () => 20;
      await run({ kind: 'closed', seconds: 1, round });
      return store.begun
        .slice(0, 50)
        .map(({ key }) => key)
        .join(' ');
    };
    const first = await keysOf(1);
    expect(await keysOf(2)).not.toBe(first);
    expect(await keysOf(1)).toBe(first);
  });

  it('a store that has grown is filled from where it ended, by each thread with its own keys', async () => {
    for (const [writers, expected] of [
      [1, [13, 14, 15, 16, 17, 18, 19]],
      // Thread 0 of 3 has 15 and 18.
      [3, [15, 18]],
    ] as const) {
      const { store, run } = await bench({}, { writers });
      await run({ kind: 'preload', from: 13 });
      expect(store.begun.map(({ key }) => key).sort((a, b) => a - b)).toEqual(expected);
    }
  });

  const lies: readonly (readonly [
    name: string,
    fault: string,
    make: (store: FakeStore) => FakeStore['lie'],
  ])[] = [
    ['a lost record', 'lost', () => (key, value) => (key === 3 ? null : value)],
    [
      'a value that was replaced',
      'stale',
      ({ records }) => {
        const old = records.get(3) ?? null;
        return (key, value) => (key === 3 ? old : value);
      },
    ],
    [
      'the value of another key',
      'wrong value',
      ({ records }) =>
        (key, value) =>
          key === 3 ? (records.get(4) ?? null) : value,
    ],
    [
      'a changed byte',
      'wrong value',
      () => (key, value) => {
        if (key !== 3 || value === null) return value;
        const changed = Buffer.from(value);
        changed[60] = (changed[60] as number) ^ 1;
        return changed;
      },
    ],
    [
      'half a value',
      'wrong value',
      () => (key, value) => (key === 3 && value !== null ? value.subarray(0, 50) : value),
    ],
  ];
  for (const [name, fault, make] of lies)
    it(`${name} is found, in the load and when every key is read`, async () => {
      const { store, run } = await bench();
      await run({ kind: 'preload' });
      store.lie = make(store);
      const result = await run(open(1000, 2));
      expect(result.failures[fault]).toBeGreaterThan(5);
      expect(result.wrong).toBe(result.failed);
      const verified = await run({ kind: 'verify', seconds: 60 });
      expect(verified.failures).toEqual({ [fault]: 1 });
      expect(verified).toMatchObject({ ok: 19, wrong: 1 });
    });

  it('a deleted record that comes back is found', async () => {
    const { store, run } = await bench({ mix: { delete: 0.5, read: 0.3, update: 0.2 } });
    await run({ kind: 'preload' });
    const before = new Map(store.records);
    const sound = await run(open(1000, 2));
    expect(sound).toMatchObject({ wrong: 0, failed: 0 });
    expect(sound.absent).toBeGreaterThan(100);
    store.lie = (key, value) => value ?? before.get(key) ?? null;
    const result = await run(open(1000, 2));
    expect(result.failures['deleted, expired or never written, and back']).toBeGreaterThan(10);
  });

  it('records of a scan are checked too', async () => {
    const { store, run } = await bench({ mix: { scan: 1 } });
    await run({ kind: 'preload' });
    const sound = await run(open(100, 2));
    expect(sound).toMatchObject({ wrong: 0, ok: 200 });
    expect(sound.scannedRecords).toBeGreaterThan(400);
    store.lie = (key, value) => (key === 5 ? (store.records.get(6) ?? null) : value);
    const result = await run(open(100, 2));
    expect(result.failures['scan: wrong value']).toBeGreaterThan(10);
    expect(result.wrong).toBeGreaterThan(10);
  });

  it('a value that outlives its time is found; before, it must be there', async () => {
    // This store expires nothing: after a second every key is one too old.
    const reads = await bench({ ttlSeconds: { min: 1, max: 1 }, mix: { read: 1 }, records: 5 });
    await reads.run({ kind: 'preload' });
    const late = await reads.run(open(50, 1, 2));
    expect(late.failed).toBe(50);
    // In the second half of the warm-up too.
    expect(Math.abs((late.failures['deleted, expired or never written, and back'] ?? 0) - 100)).toBeLessThan(
      5,
    );
    expect(late.wrong).toBe(late.failures['deleted, expired or never written, and back']);
    const early = await bench({ ttlSeconds: { min: 5, max: 5 }, mix: { read: 1 }, records: 5 });
    await early.run({ kind: 'preload' });
    early.store.records.clear();
    expect((await early.run(open(50, 1))).failures).toEqual({ lost: 50 });
  });

  it('refused and unknown writes are failures, and nothing false is said of their keys', async () => {
    for (const answer of [Answer.REFUSED, Answer.UNKNOWN]) {
      const { store, run } = await bench();
      await run({ kind: 'preload' });
      let count = 0;
      store.refuse = (what) => (what === 'write' && count++ % 3 === 0 ? answer : null);
      const result = await run(open(1000, 3));
      expect(result.wrong).toBe(0);
      expect(result.failures.no).toBe(result.failed);
      expect(result.failed).toBeGreaterThan(300);
      expect(result.ok + result.failed).toBe(3000);
      // What was refused took no time that counts.
      expect(serviceOf(result).count).toBe(answer === Answer.REFUSED ? result.ok : 3000);
      expect(responseOf(result).count).toBe(answer === Answer.REFUSED ? result.ok : 3000);
      expect(result.doubtfulKeys).toBe(answer === Answer.UNKNOWN ? 20 : 0);
    }
  });

  it('what is refused while the records are written, or read once more, comes again', async () => {
    const { store, run } = await bench({ records: 200 });
    let count = 0;
    store.refuse = () => (count++ % 4 === 0 && count < 200 ? Answer.REFUSED : null);
    const result = await run({ kind: 'preload' });
    expect(store.records.size).toBe(200);
    // Once each, however often it came.
    expect(result).toMatchObject({ ok: 200, failed: 0 });
    expect(store.begun.length).toBe(250);
    count = 0;
    store.begun.length = 0;
    expect(await run({ kind: 'verify', seconds: 60 })).toMatchObject({ ok: 200, failed: 0, wrong: 0 });
    expect(store.begun.length).toBe(250);
    // Not for ever; then it has failed.
    const full = await bench();
    full.store.refuse = () => Answer.REFUSED;
    const refused = await full.run({ kind: 'preload' });
    expect(refused.ok).toBe(0);
    expect(refused.failed).toBeGreaterThan(0);
  });

  it('a slot whose connection has gone takes nothing until it is back, and then once at a time', async () => {
    const { store, run } = await bench();
    await run({ kind: 'preload' });
    const [slot] = store.slots;
    if (slot === undefined) throw new Error('no slot');
    store.delayMs = () => 10;
    store.gone(slot);
    store.begun.length = 0;
    expect(await run(open(200, 1))).toMatchObject({ ok: 200 });
    expect(store.begun.some((one) => one.slot === slot)).toBe(false);
    store.back(slot);
    store.back(slot);
    store.begun.length = 0;
    store.inFlightMost = 0;
    await run({ kind: 'closed', seconds: 1 });
    expect(store.begun.some((one) => one.slot === slot)).toBe(true);
    expect(store.inFlightMost).toBe(4);
  });

  it('threads share the same load: each request is sent by one of them, as if there were one', async () => {
    const whole = await bench({}, { slots: 100 });
    await whole.run({ kind: 'preload' });
    whole.store.begun.length = 0;
    await whole.run(open(500, 3));
    const told = (store: FakeStore): string[] => store.begun.map(({ what, key }) => `${what} ${key}`);
    const parts: string[] = [];
    for (const writer of [0, 1, 2]) {
      const part = await bench({}, { slots: 100, writer, writers: 3 });
      await part.run({ kind: 'preload' });
      expect([...part.store.records.keys()].every((key) => key % 3 === writer)).toBe(true);
      part.store.begun.length = 0;
      await part.run(open(500, 3));
      parts.push(...told(part.store));
    }
    expect(parts.sort()).toEqual(told(whole.store).sort());
    expect(parts.length).toBe(1500);
  });

  it('something that cannot go on ends the phase with its error', async () => {
    const { generator, store } = await bench();
    store.delayMs = () => 5;
    const running = generator.run(open(100, 60), performance.timeOrigin + performance.now());
    const ended = expect(running).rejects.toThrow('not HTTP');
    await vi.advanceTimersByTimeAsync(500);
    generator.broken(new Error('not HTTP'));
    await ended;
  });
});
