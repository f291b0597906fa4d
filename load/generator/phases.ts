/** The phases of a load: which request is next, and when. Times are microseconds on the thread's own clock. */
import { loadLimits } from '../limits.ts';
import { OperationSource } from '../operations.ts';
import { Answer, type Slot } from '../transports/transport.ts';
import { Operation, type Phase, type Workload } from '../workload.ts';
import type { Generator } from './generator.ts';

const US = 1e6;
const US_PER_MS = 1000;
/**
 * By a timer, so that what is due comes in bursts of a millisecond: to look all the time would take one of the processors from
 * the server.
 */
const TICK_MS = 1;

export abstract class PhaseRun {
  /** What was due before does not count. */
  readonly countFromUs: number;
  /** Resolves with the seconds that counted. */
  readonly result: Promise<number>;
  ownLateMs = 0;
  protected readonly generator: Generator;
  protected readonly startUs: number;
  /** Nothing more will be sent. */
  protected over = false;
  protected inFlight = 0;
  #resolve: (seconds: number) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;
  #timer: NodeJS.Timeout | null = null;
  #tickedMs = performance.now();
  #interval: number;
  #done = false;
  readonly #intervalUs: number;

  constructor(generator: Generator, startUs: number, warmUpSeconds: number) {
    this.generator = generator;
    this.startUs = startUs;
    this.countFromUs = startUs + warmUpSeconds * US;
    this.#intervalUs = generator.options.intervalMs * US_PER_MS;
    this.#interval = this.#intervalAt(startUs);
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, startUs / US_PER_MS - performance.now()));
  }

  /** Records after the phase. */
  get records(): number {
    return this.generator.records;
  }
  protected abstract sendDue(nowUs: number): void;
  /** What a phase makes of an answer: true where the same request comes again. */
  protected heard(_slot: Slot, _answer: number): boolean {
    return false;
  }
  protected abstract countedSeconds(nowUs: number): number;

  /** Sends what is due, as long as slots are idle. */
  pump(): void {
    const nowUs = performance.now() * US_PER_MS;
    if (this.over || this.#done || nowUs < this.startUs) return;
    this.sendDue(nowUs);
    this.#settle();
  }
  /** A request has its answer. True where it does not count, for it comes again. */
  ended(slot: Slot, answer: number): boolean {
    this.inFlight--;
    const again = this.heard(slot, answer);
    this.#settle();
    return again;
  }
  fail(error: Error): void {
    this.stop();
    this.#reject(error);
  }
  stop(): void {
    this.#done = true;
    this.over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #tick(): void {
    const nowMs = performance.now();
    const nowUs = nowMs * US_PER_MS;
    if (nowUs >= this.countFromUs)
      this.ownLateMs = Math.max(this.ownLateMs, nowMs - this.#tickedMs - TICK_MS);
    this.#tickedMs = nowMs;
    const interval = this.#intervalAt(nowUs);
    if (interval !== this.#interval) {
      this.generator.endInterval(this.#interval);
      this.#interval = interval;
    }
    this.pump();
    this.generator.flush();
    this.#settle();
    if (!this.#done) this.#timer = setTimeout(() => this.#tick(), TICK_MS);
  }
  #intervalAt(us: number): number {
    return Math.floor((us - this.countFromUs) / this.#intervalUs);
  }
  /** Ends when nothing more is sent and all answers are there. */
  #settle(): void {
    if (!this.over || this.inFlight > 0 || this.#done) return;
    this.stop();
    this.generator.endInterval(this.#interval);
    this.#resolve(this.countedSeconds(performance.now() * US_PER_MS));
  }
}

/** Every `step`-th key from `first` on, once: written, or read. */
class Sweep extends PhaseRun {
  #key: number;
  readonly #operation: number;
  readonly #endUs: number;
  /** Keys that were refused, for there was no room, or not answered in time: they come again a little later. */
  readonly #again: number[] = [];
  #pausedUntilUs = 0;
  #acceptedUs = 0;
  constructor(generator: Generator, startUs: number, operation: number, seconds: number, from = 0) {
    super(generator, startUs, 0);
    const { writer, writers } = generator.options;
    // The first of this thread's keys that is not below.
    this.#key = writer + Math.max(0, Math.ceil((from - writer) / writers)) * writers;
    this.#operation = operation;
    this.#endUs = startUs + seconds * US;
  }
  protected override sendDue(nowUs: number): void {
    const { records, options } = this.generator;
    if (nowUs < this.#pausedUntilUs) return;
    for (;;) {
      if ((this.#key >= records && this.#again.length === 0) || nowUs >= this.#endUs) {
        // What is on its way may come again yet.
        this.over = this.inFlight === 0 || nowUs >= this.#endUs;
        return;
      }
      const slot = this.generator.takeIdle();
      if (slot === undefined) return;
      this.inFlight++;
      let key = this.#again.pop();
      if (key === undefined) {
        key = this.#key;
        this.#key += options.writers;
      }
      this.generator.begin(slot, this.#operation, key, 0, nowUs, nowUs);
    }
  }
  protected override heard({ key, sentUs }: Slot, answer: number): boolean {
    // A write without a known outcome is written again, whatever became of it; a read that failed is told as failed.
    const again =
      answer === Answer.REFUSED || (answer === Answer.UNKNOWN && this.#operation === Operation.INSERT);
    if (!again) this.#acceptedUs = sentUs;
    else if (sentUs - Math.max(this.#acceptedUs, this.startUs) < REFUSED_MS_MAX * US_PER_MS) {
      this.#again.push(key);
      this.#pausedUntilUs = performance.now() * US_PER_MS + REFUSED_PAUSE_MS * US_PER_MS;
      return true;
    }
    return false;
  }
  protected override countedSeconds(nowUs: number): number {
    return (nowUs - this.startUs) / US;
  }
}

type ClosedPhase = Extract<Phase, { readonly kind: 'closed' }>;

class Closed extends PhaseRun {
  readonly #source: OperationSource;
  readonly #endUs: number;
  #left: number;
  constructor(generator: Generator, startUs: number, phase: ClosedPhase) {
    super(generator, startUs, 0);
    const { seconds, round = 0, requests = Number.POSITIVE_INFINITY } = phase;
    this.#left = requests;
    this.#endUs = startUs + seconds * US;
    this.#source = new OperationSource({
      workload: generator.options.workload,
      seed: generator.options.seed ^ Math.imul(SEED_OF_CLOSED, 2 * round + 1),
      records: generator.records,
      insertsExpected: 0,
      // Half of the room is for the phases behind this one.
      keysMax: generator.records + Math.floor((generator.options.keysMax - generator.records) / 2),
      rate: Number.POSITIVE_INFINITY,
    });
  }
  override get records(): number {
    return this.#source.records;
  }
  protected override sendDue(nowUs: number): void {
    const source = this.#source;
    for (;;) {
      if (nowUs >= this.#endUs || this.#left <= 0) {
        this.over = true;
        return;
      }
      const slot = this.generator.takeIdle();
      if (slot === undefined) return;
      this.#left--;
      do source.advance(nowUs);
      while (!this.generator.isMine(source.key));
      this.inFlight++;
      this.generator.begin(slot, source.operation, source.key, source.scanLength, nowUs, nowUs);
    }
  }
  protected override countedSeconds(nowUs: number): number {
    const endUs = this.#left > 0 ? Math.max(nowUs, this.#endUs) : nowUs;
    return (endUs - this.startUs) / US;
  }
}

type OpenPhase = Extract<Phase, { readonly kind: 'open' }>;

class Open extends PhaseRun {
  readonly #source: OperationSource;
  readonly #endUs: number;
  readonly #giveUpUs: number;
  readonly #seconds: number;
  constructor(generator: Generator, startUs: number, phase: OpenPhase) {
    super(generator, startUs, phase.warmUp);
    const { options, records } = generator;
    this.#seconds = phase.seconds;
    this.#endUs = this.countFromUs + phase.seconds * US;
    this.#giveUpUs = phase.giveUpMs * US_PER_MS;
    this.#source = new OperationSource({
      workload: options.workload,
      seed: options.seed,
      records,
      insertsExpected: insertsOf(options.workload, phase.rate * (phase.warmUp + phase.seconds)),
      keysMax: options.keysMax,
      rate: phase.rate,
    });
    this.#next();
  }
  override get records(): number {
    return this.#source.records;
  }
  protected override sendDue(nowUs: number): void {
    const source = this.#source;
    const givenUpFrom = nowUs > this.#endUs + loadLimits.drainMs * US_PER_MS ? 0 : this.#giveUpUs;
    while (!this.over) {
      const dueUs = this.startUs + source.dueUs;
      if (dueUs > nowUs) return;
      if (nowUs - dueUs > givenUpFrom) this.generator.giveUp(source.operation, dueUs, nowUs);
      else {
        const slot = this.generator.takeIdle();
        if (slot === undefined) return;
        this.inFlight++;
        this.generator.begin(slot, source.operation, source.key, source.scanLength, dueUs, nowUs);
      }
      this.#next();
    }
  }
  protected override countedSeconds(): number {
    return this.#seconds;
  }
  /** The next request that is this thread's. */
  #next(): void {
    do this.#source.advance(0);
    while (!this.generator.isMine(this.#source.key) && this.startUs + this.#source.dueUs < this.#endUs);
    if (this.startUs + this.#source.dueUs >= this.#endUs) this.over = true;
  }
}

/** After a refusal nothing is sent for so long; where nothing else comes for REFUSED_MS_MAX, it is left. */
const REFUSED_PAUSE_MS = 20;
const REFUSED_MS_MAX = 30_000;
const SEED_OF_CLOSED = 0x2545f491;

/** Inserts among so many requests. */
export const insertsOf = (workload: Workload, requests: number): number =>
  Math.ceil(requests * (workload.mix.insert ?? 0));

export function phaseRunOf(generator: Generator, phase: Phase, startUs: number): PhaseRun {
  switch (phase.kind) {
    case 'preload':
      return new Sweep(generator, startUs, Operation.INSERT, Number.POSITIVE_INFINITY, phase.from);
    case 'verify':
      return new Sweep(generator, startUs, Operation.READ, phase.seconds);
    case 'closed':
      return new Closed(generator, startUs, phase);
    case 'open':
      return new Open(generator, startUs, phase);
  }
}
