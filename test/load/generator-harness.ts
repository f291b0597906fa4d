/** A generator on a store in memory, with time that the test moves. */
import { vi } from 'vitest';
import { Generator, type GeneratorOptions } from '../../load/generator/generator.ts';
import type { PhaseResult } from '../../load/generator/tally.ts';
import { type IntervalPart, Latencies, type Summary, summaryOf } from '../../load/latencies.ts';
import {
  Answer,
  type AnswerSink,
  keyText,
  type Slot,
  type Transport,
} from '../../load/transports/transport.ts';
import type { Values } from '../../load/values.ts';
import type { Phase, Workload } from '../../load/workload.ts';

const WRITER = 0;
const workload: Workload = {
  mix: { read: 0.5, update: 0.5 },
  keys: { distribution: 'uniform' },
  records: 20,
  valueBytes: { min: 100, max: 100 },
  ttlSeconds: { min: 0, max: 0 },
  scanLengthMax: 10,
  consistency: '',
  arrivals: 'constant',
};

/** A store in memory whose every answer takes `delayMs`, and that can be made to lie. */
export class FakeStore implements Transport {
  readonly values: Values;
  readonly records = new Map<number, Buffer>();
  readonly begun: {
    readonly slot: Slot;
    readonly what: string;
    readonly key: number;
    readonly ms: number;
  }[] = [];
  delayMs: () => number = () => 0;
  /** What a read gives instead of what is there. */
  lie: (key: number, value: Buffer | null) => Buffer | null = (_, value) => value;
  refuse: (what: string) => number | null = () => null;
  inFlight = 0;
  inFlightMost = 0;
  slots: readonly Slot[] = [];
  #sink: AnswerSink | null = null;

  constructor(values: Values) {
    this.values = values;
  }
  open(slots: readonly Slot[], sink: AnswerSink): Promise<void> {
    this.#sink = sink;
    this.slots = slots;
    for (const slot of slots) sink.idle(slot);
    return Promise.resolve();
  }
  read(slot: Slot): void {
    this.#later(slot, 'read', () => {
      const value = this.lie(slot.key, this.records.get(slot.key) ?? null);
      this.#answer(slot, value === null ? Answer.ABSENT : Answer.OK, value);
    });
  }
  write(slot: Slot): void {
    this.#later(slot, 'write', () => {
      const value = Buffer.alloc(slot.valueBytes);
      this.values.write(value, 0, slot.valueBytes, slot.key, WRITER, slot.serial);
      this.records.set(slot.key, value);
      this.#answer(slot, Answer.OK, null);
    });
  }
  delete(slot: Slot): void {
    this.#later(slot, 'delete', () => {
      this.records.delete(slot.key);
      this.#answer(slot, Answer.OK, null);
    });
  }
  scan(slot: Slot): void {
    this.#later(slot, 'scan', () => {
      for (let key = slot.key; key < slot.key + slot.scanLength; key++) {
        const value = this.lie(key, this.records.get(key) ?? null);
        if (value !== null) this.#sink?.scanned(slot, Buffer.from(keyText(key)), value);
      }
      this.#answer(slot, Answer.OK, null);
    });
  }
  /** As where a slot's connection ends, and is there again. */
  gone(slot: Slot): void {
    this.#sink?.gone(slot);
  }
  back(slot: Slot): void {
    this.#sink?.idle(slot);
  }
  flush(): void {
    // Nothing is held back.
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
  #later(slot: Slot, what: string, act: () => void): void {
    this.begun.push({ slot, what, key: slot.key, ms: performance.now() });
    this.inFlightMost = Math.max(this.inFlightMost, ++this.inFlight);
    setTimeout(() => {
      const refused = this.refuse(what);
      if (refused === null) act();
      else this.#answer(slot, refused, null, 'no');
    }, this.delayMs());
  }
  #answer(slot: Slot, answer: number, value: Buffer | null, failure = ''): void {
    this.inFlight--;
    this.#sink?.answered(slot, answer, value, failure);
    this.#sink?.idle(slot);
  }
}

export interface Bench {
  readonly generator: Generator;
  readonly store: FakeStore;
  readonly intervals: IntervalPart[];
  run(phase: Phase): Promise<PhaseResult>;
}
export async function bench(
  more: Partial<Workload> = {},
  options: Partial<GeneratorOptions> = {},
): Promise<Bench> {
  const made: FakeStore[] = [];
  const intervals: IntervalPart[] = [];
  const generator = new Generator(
    {
      workload: { ...workload, ...more },
      seed: 7,
      writer: WRITER,
      writers: 1,
      slots: 4,
      intervalMs: 1000,
      keysMax: 1000,
      filledBefore: false,
      ...options,
    },
    (values) => {
      made.push(new FakeStore(values));
      return made[0] as FakeStore;
    },
    (part) => intervals.push(part),
  );
  await generator.open();
  const run = async (phase: Phase): Promise<PhaseResult> => {
    const running = generator.run(phase, performance.timeOrigin + performance.now());
    let over = false;
    const watched = running.finally(() => {
      over = true;
    });
    watched.catch(() => undefined);
    while (!over) await vi.advanceTimersByTimeAsync(10);
    return await watched;
  };
  return { generator, store: made[0] as FakeStore, intervals, run };
}
export const open = (rate: number, seconds: number, warmUp = 0, giveUpMs = 10_000): Phase => ({
  kind: 'open',
  rate,
  seconds,
  warmUp,
  giveUpMs,
});
export const responseOf = (result: PhaseResult): Summary =>
  summaryOf(new Latencies(result.latencies).response);
export const serviceOf = (result: PhaseResult): Summary => summaryOf(new Latencies(result.latencies).service);
