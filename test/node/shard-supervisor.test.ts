import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { CorruptionError, UnavailableError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { type ShardRun, ShardSupervisor } from '../../src/node/shard-supervisor.ts';

/** A run that serves, fails and ends when it is told to. */
class FakeRun implements ShardRun {
  readonly ready: Promise<void>;
  readonly ended: Promise<Error | null>;
  closed = false;
  serve: () => void = () => undefined;
  refuse: (error: Error) => void = () => undefined;
  end: (error: Error | null) => void = () => undefined;
  constructor() {
    this.ready = new Promise((resolve, reject) => {
      this.serve = resolve;
      this.refuse = reject;
    });
    this.ready.catch(() => undefined);
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }
  close(): void {
    this.closed = true;
  }
  die(message: string): void {
    const error = new UnavailableError(message);
    this.refuse(error);
    this.end(error);
  }
}

class Harness {
  readonly runs: FakeRun[] = [];
  /** Whether each was said to be a restart. */
  readonly restarts: boolean[] = [];
  readonly log: string[] = [];
  readonly failures: Error[] = [];
  readonly reasons: string[] = [];
  downs = 0;
  readonly clock = new ManualClock(0);
  readonly supervisor = new ShardSupervisor({
    shard: 3,
    clock: this.clock,
    start: (isRestart) => {
      this.restarts.push(isRestart);
      const run = new FakeRun();
      this.runs.push(run);
      return run;
    },
    onDown: () => {
      this.downs++;
    },
    onFailed: (error) => this.failures.push(error),
    onReason: () => this.reasons.push(this.supervisor.reason),
    log: (level, message) => this.log.push(`${level} ${message}`),
  });
  get run(): FakeRun {
    const run = this.runs.at(-1);
    if (run === undefined) throw new Error('nothing was started');
    return run;
  }
  async started(): Promise<this> {
    const start = this.supervisor.start();
    this.run.serve();
    await start;
    return this;
  }
  /** Time passes, for timers and for the clock. */
  async pass(ms: number): Promise<void> {
    this.clock.advanceMs(ms);
    await vi.advanceTimersByTimeAsync(ms);
  }
}
const settle = (): Promise<void> => vi.advanceTimersByTimeAsync(0).then(() => undefined);

describe('the supervisor of a shard', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('starts a shard again that died, after its last run is gone and not before', async () => {
    const harness = await new Harness().started();
    expect(harness.supervisor.reason).toBe('');
    harness.run.end(new UnavailableError('heap is full'));
    await settle();
    expect(harness.downs).toBe(1);
    expect(harness.supervisor.reason).toBe('shard 3 is restarting: heap is full');
    expect(harness.runs).toHaveLength(1);
    await harness.pass(limits.shardRestartDelayMs);
    expect(harness.runs).toHaveLength(2);
    expect(harness.supervisor.reason).not.toBe('');
    harness.run.serve();
    await settle();
    expect(harness.supervisor.reason).toBe('');
    expect(harness.reasons).toEqual(['', 'shard 3 is restarting: heap is full', '']);
    expect(harness.log).toEqual(['error shard 3 is down: heap is full', 'info shard 3 serves again']);
    expect(harness.failures).toEqual([]);
  });

  it('says of each run but the first that the shard had one before, also where that never served', async () => {
    const harness = new Harness();
    const start = harness.supervisor.start();
    expect(harness.restarts).toEqual([false]);
    harness.run.serve();
    await start;
    for (const serves of [true, false, true]) {
      harness.run.die('dead');
      await settle();
      await harness.pass(limits.shardRestartWindowMs);
      if (serves) harness.run.serve();
      await settle();
    }
    expect(harness.restarts).toEqual([false, true, true, true]);
    // One shard's restarts are none of another's.
    expect((await new Harness().started()).restarts).toEqual([false]);
  });

  it('gives a shard up that dies too often, once, and says so', async () => {
    const harness = await new Harness().started();
    for (let i = 0; i < limits.shardRestartsMax; i++) {
      harness.run.die(`death ${i}`);
      await settle();
      await harness.pass(limits.shardRestartDelayMs * 2 ** i);
      expect(harness.runs).toHaveLength(i + 2);
      // Half of them die before they serve.
      if (i % 2 === 0) harness.run.serve();
      await settle();
    }
    expect(harness.failures).toEqual([]);
    harness.run.die('the last one');
    await settle();
    await harness.pass(limits.shardRestartWindowMs * 10);
    expect(harness.runs).toHaveLength(limits.shardRestartsMax + 1);
    expect(harness.failures).toHaveLength(1);
    expect(harness.failures[0]).toMatchObject({
      code: 'UNAVAILABLE',
      message:
        'shard 3 stays down: it ended 6 times within 60000 ms (the limit is 5), at last with: the last one',
    });
    expect(harness.supervisor.reason).toBe(harness.failures[0]?.message);
  });

  it('forgets deaths that lie longer back than the window', async () => {
    const harness = await new Harness().started();
    for (let i = 0; i < 3 * limits.shardRestartsMax; i++) {
      harness.run.die('now and then');
      await settle();
      await harness.pass(limits.shardRestartWindowMs / limits.shardRestartsMax + 1);
      harness.run.serve();
      await settle();
    }
    expect(harness.failures).toEqual([]);
    expect(harness.supervisor.reason).toBe('');
  });

  it('does not try again what is damaged', async () => {
    const harness = await new Harness().started();
    harness.run.die('once');
    await settle();
    await harness.pass(limits.shardRestartDelayMs);
    const damage = new CorruptionError('/data/layout-1/shard-3/wal-0000000002.log', 512, 'checksum');
    harness.run.refuse(damage);
    await settle();
    expect(harness.run.closed).toBe(true);
    harness.run.end(damage);
    await settle();
    await harness.pass(limits.shardRestartWindowMs);
    expect(harness.runs).toHaveLength(2);
    expect(harness.failures).toEqual([damage]);
    expect(harness.supervisor.reason).toContain('/data/layout-1/shard-3/wal-0000000002.log');
  });

  it('rejects the start of a shard that cannot be opened, when it is gone', async () => {
    const harness = new Harness();
    const start = harness.supervisor.start();
    const damage = new CorruptionError('/data/x', 0, 'no manifest');
    let rejected: unknown = null;
    start.catch((error: unknown) => {
      rejected = error;
    });
    harness.run.refuse(damage);
    await settle();
    expect(rejected).toBeNull();
    expect(harness.run.closed).toBe(true);
    harness.run.end(damage);
    await expect(start).rejects.toBe(damage);
    expect(harness.runs).toHaveLength(1);
  });

  it('closes a shard that serves, that starts, and that waits for its restart', async () => {
    const serving = await new Harness().started();
    let closed = false;
    const end = serving.supervisor.close().then(() => {
      closed = true;
    });
    await settle();
    expect([serving.run.closed, closed]).toEqual([true, false]);
    serving.run.end(null);
    await end;
    expect([serving.downs, serving.failures]).toEqual([0, []]);

    const starting = new Harness();
    const start = starting.supervisor.start();
    start.catch(() => undefined);
    const closing = starting.supervisor.close();
    expect(starting.run.closed).toBe(true);
    starting.run.die('closed');
    await closing;
    await expect(start).rejects.toThrow('closed');

    const waiting = await new Harness().started();
    waiting.run.end(new UnavailableError('dead'));
    await settle();
    await waiting.supervisor.close();
    await waiting.pass(limits.shardRestartWindowMs);
    expect(waiting.runs).toHaveLength(1);
  });
});
