import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import type { Job } from '../../src/engine/contract.ts';
import { JobPace, PAUSE_MS_MAX, REST_PER_WORK } from '../../src/engine/job-pace.ts';
import { createJobUrgency, JobUrgency } from '../../src/ipc/job-urgency.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import { newDisk } from './disk.ts';
import { EngineHarness, fieldsOf, ownKeys, SHAPE } from './engine-harness.ts';
import { PlainTables } from './plain-tables.ts';

/** A job whose slices take as long as they are said to, and the pauses that it makes. */
function benchOf(urgency: JobUrgency | null, bytesPerSecond = 0) {
  const clock = new ManualClock(1000);
  const pauses: number[] = [];
  const pause = (ms: number): Promise<void> => {
    pauses.push(ms);
    clock.advanceMs(ms);
    return Promise.resolve();
  };
  const pace = new JobPace(
    createStopFlag(),
    { tables: new PlainTables(), clock, pause },
    bytesPerSecond,
    urgency,
  );
  const slice = async (ms: number, bytes = 0): Promise<void> => {
    clock.advanceMs(ms);
    await pace.turn(bytes);
  };
  return { pauses, slice };
}

describe('a job', () => {
  it('rests in proportion to its work while nobody waits for it, its pauses not counted', async () => {
    const { pauses, slice } = benchOf(new JobUrgency(createJobUrgency()));
    for (const ms of [1, 2, 5]) await slice(ms);
    expect(pauses).toEqual([REST_PER_WORK, 2 * REST_PER_WORK, 5 * REST_PER_WORK]);
    await slice(10_000);
    expect(pauses.at(-1)).toBe(PAUSE_MS_MAX);
  });

  it('does not rest from the moment it is urgent, until it is not', async () => {
    const memory = createJobUrgency();
    const { pauses, slice } = benchOf(new JobUrgency(memory));
    const urgency = new JobUrgency(memory);
    await slice(2);
    urgency.set(true);
    await slice(2);
    urgency.set(false);
    await slice(2);
    expect(pauses).toEqual([2 * REST_PER_WORK, 0, 2 * REST_PER_WORK]);
  });

  it('that cannot be told never rests, but keeps its rate', async () => {
    const { pauses, slice } = benchOf(null, 1_000_000);
    await slice(5, 1000);
    await slice(5, 150_000);
    expect(pauses[0]).toBe(0);
    expect(pauses.slice(1).reduce((sum, ms) => sum + ms, 0)).toBeGreaterThan(0);
  });
});

describe('an engine', () => {
  const [KEY] = ownKeys(1, SHAPE) as [Uint8Array];
  /** Jobs wait for `open`, and are kept. */
  class Gate {
    readonly jobs: Job[] = [];
    readonly #waiting: (() => void)[] = [];
    opened = false;
    readonly pass = (job: Job): Promise<void> => {
      this.jobs.push(job);
      return this.opened ? Promise.resolve() : new Promise((open) => this.#waiting.push(open));
    };
    open(): void {
      this.opened = true;
      for (const open of this.#waiting.splice(0)) open();
    }
    urgent(): boolean {
      const memory = this.jobs.find((job) => job.kind === 'compact')?.urgency;
      if (memory === undefined) throw new Error('no job knows of its urgency');
      return new JobUrgency(memory).urgent;
    }
  }
  async function opened(shape = SHAPE) {
    const harness = new EngineHarness(newDisk(), shape);
    const gate = new Gate();
    harness.beforeJob = gate.pass;
    const engine = await harness.open();
    let version = 0;
    const put = (bytes: number): number =>
      engine.append(fieldsOf({ key: KEY, value: new Uint8Array(bytes), version: ++version }), null);
    return { harness, gate, engine, put };
  }

  it('calls compactions urgent when tables gather behind the one that runs, or somebody waits', async () => {
    const { harness, gate, engine, put } = await opened({ ...SHAPE, compactionsMax: 1, tablesMax: 12 });
    harness.beforeJob = (job) => (job.kind === 'compact' ? gate.pass(job) : Promise.resolve());
    const table = async (): Promise<void> => {
      put(10);
      await harness.wait(engine.flush());
    };
    while (gate.jobs.length === 0) await table();
    expect(engine.stats().tables).toBeLessThan(6);
    expect(gate.urgent()).toBe(false);
    while (engine.stats().tables < 8) await table();
    expect(gate.urgent()).toBe(true);
    gate.open();
    await harness.settle();
    expect(gate.urgent()).toBe(false);
    gate.opened = false;
    await table();
    const compacted = engine.compactAll();
    await harness.settle();
    expect(gate.urgent()).toBe(true);
    gate.open();
    await harness.wait(compacted);
    expect(gate.urgent()).toBe(false);
    await harness.close();
  });
});
