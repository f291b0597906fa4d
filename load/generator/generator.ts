/**
 * One thread of the load: takes requests as a phase says, sends them by a transport, checks what comes back, and counts.
 * At most `slots` requests are on their way; what is due beyond that waits, and its latency with it.
 */
import { Random } from '../../src/base/random.ts';
import { ABSENT, ANY, KeyStates } from '../key-states.ts';
import { type IntervalPart, IntervalRecorder, Latencies } from '../latencies.ts';
import { loadLimits } from '../limits.ts';
import {
  Answer,
  type AnswerSink,
  freshSlot,
  keyNumber,
  type Slot,
  type Transport,
} from '../transports/transport.ts';
import { Values } from '../values.ts';
import { Operation, type Phase, type Workload } from '../workload.ts';
import { IdleSlots } from './idle-slots.ts';
import { type PhaseRun, phaseRunOf } from './phases.ts';
import { countFailure, noCounts, type PhaseCounts, type PhaseResult } from './tally.ts';

const LATE_US = 1000;
const MS_PER_S = 1000;

export interface GeneratorOptions {
  readonly workload: Workload;
  readonly seed: number;
  /** This thread and how many there are: a key belongs to the thread that its number modulo `writers` names. */
  readonly writer: number;
  readonly writers: number;
  /** Requests on their way at a time. */
  readonly slots: number;
  readonly intervalMs: number;
  /** Keys that may come to be, for what is kept of each. */
  readonly keysMax: number;
  /** Nobody knows what the store holds: it was filled by an earlier run. */
  readonly filledBefore: boolean;
}

export class Generator implements AnswerSink {
  readonly options: GeneratorOptions;
  readonly values: Values;
  readonly states: KeyStates;
  readonly #idleSlots: IdleSlots;
  readonly #transport: Transport;
  readonly #random: Random;
  #phase: PhaseRun | null = null;
  #serial = 0;
  #counts: PhaseCounts = noCounts();
  #failures: Record<string, number> = {};
  #latencies = new Latencies();
  readonly #interval = new IntervalRecorder();
  readonly #onInterval: (part: IntervalPart) => void;
  /** Records that are there: inserts come on top. */
  records: number;

  constructor(
    options: GeneratorOptions,
    transportOf: (values: Values) => Transport,
    onInterval: (part: IntervalPart) => void,
  ) {
    const { workload, seed, writer, keysMax, filledBefore } = options;
    this.options = options;
    this.#idleSlots = new IdleSlots(options.slots);
    const { min, max } = workload.valueBytes;
    this.values = new Values({ seed, min, max });
    this.states = new KeyStates(keysMax, filledBefore ? ANY : ABSENT, workload.ttlSeconds.max > 0);
    this.records = workload.records;
    this.#random = new Random(seed + writer + 1);
    this.#transport = transportOf(this.values);
    this.#onInterval = onInterval;
  }

  async open(): Promise<void> {
    const slots = Array.from({ length: this.options.slots }, (_, index) => freshSlot(index));
    await this.#transport.open(slots, this);
  }
  async close(): Promise<void> {
    this.#phase?.stop();
    this.#phase = null;
    await this.#transport.close();
  }
  async counters(): Promise<Readonly<Record<string, number>>> {
    return (await this.#transport.counters?.()) ?? {};
  }

  /** `startMs` since 1970: the same for all threads. */
  async run(phase: Phase, startMs: number): Promise<PhaseResult> {
    this.#counts = noCounts();
    this.#failures = {};
    this.#latencies = new Latencies();
    const run = phaseRunOf(this, phase, (startMs - performance.timeOrigin) * MS_PER_S);
    this.#phase = run;
    try {
      const seconds = await run.result;
      this.records = run.records;
      const { doubtfulKeys } = this.states;
      const counts = { ...this.#counts, doubtfulKeys, ownLateMs: run.ownLateMs, seconds };
      return { ...counts, failures: this.#failures, latencies: this.#latencies.encode() };
    } finally {
      this.#phase = null;
    }
  }
  /** A slot that can take a request; undefined where all are busy or without a connection. */
  takeIdle(): Slot | undefined {
    for (;;) {
      const slot = this.#idleSlots.take();
      if (slot === undefined || (slot.ready && !slot.busy)) return slot;
    }
  }
  isMine(key: number): boolean {
    return key % this.options.writers === this.options.writer;
  }

  /** A request of the phase; `dueUs` and times are on this thread's clock. */
  begin(slot: Slot, operation: number, key: number, scanLength: number, dueUs: number, nowUs: number): void {
    slot.busy = true;
    slot.operation = operation;
    slot.writing = false;
    slot.key = key;
    slot.scanLength = scanLength;
    slot.dueUs = dueUs;
    slot.sentUs = nowUs;
    if (this.#isCounted(slot)) {
      this.#counts.due++;
      if (nowUs - dueUs > LATE_US) this.#counts.late++;
    }
    if (operation === Operation.READ || operation === Operation.READ_MODIFY_WRITE) {
      slot.readGeneration = this.states.beginRead(key);
      this.#transport.read(slot);
    } else if (operation === Operation.SCAN) this.#transport.scan(slot);
    else if (operation === Operation.DELETE) {
      slot.writing = true;
      slot.serial = ABSENT;
      slot.ttlMs = 0;
      this.states.begin(key, slot);
      this.#transport.delete(slot);
    } else this.#write(slot);
  }
  /** A request that waited too long; not sent. */
  giveUp(operation: number, dueUs: number, nowUs: number): void {
    if (dueUs < (this.#phase?.countFromUs ?? 0)) return;
    this.#counts.due++;
    this.#counts.givenUp++;
    this.#latencies.recordGivenUp(operation, nowUs - dueUs);
    this.#interval.addGivenUp(nowUs - dueUs);
  }
  flush(): void {
    this.#transport.flush();
  }
  endInterval(interval: number): void {
    this.#onInterval(this.#interval.take(interval));
  }

  answered(slot: Slot, answer: number, value: Buffer | null, failure: string): void {
    const nowUs = performance.now() * MS_PER_S;
    let wrong = failure;
    if (slot.writing) this.#endWrite(slot, answer, nowUs);
    else if (answer <= Answer.ABSENT && slot.operation !== Operation.SCAN) {
      wrong = this.#faultOf(slot, answer, value, nowUs);
      if (wrong === '' && slot.operation === Operation.READ_MODIFY_WRITE) {
        this.#write(slot);
        return;
      }
    }
    this.#finish(slot, answer, wrong, nowUs);
  }
  scanned(_slot: Slot, key: Buffer, value: Buffer): void {
    this.#counts.scannedRecords++;
    const number = keyNumber(key);
    // Keys of any thread, under way or not: only that somebody wrote these bytes for this key.
    if (number < 0 || this.values.serialOf(value, number, this.options.writer) === -1) {
      this.#counts.wrong++;
      countFailure(this.#failures, 'scan: wrong value');
    }
  }
  idle(slot: Slot): void {
    slot.ready = true;
    if (slot.busy) return;
    this.#idleSlots.add(slot);
    this.#phase?.pump();
  }
  gone(slot: Slot): void {
    slot.ready = false;
  }
  broken(error: Error): void {
    this.#phase?.fail(error);
  }

  #write(slot: Slot): void {
    if (this.#serial >= loadLimits.writesMax) {
      this.broken(new Error(`more than ${loadLimits.writesMax} writes of one generator thread`));
      return;
    }
    slot.writing = true;
    slot.serial = this.#serial++;
    slot.valueBytes = this.values.bytesOf(this.options.writer, slot.serial);
    const { min, max } = this.options.workload.ttlSeconds;
    slot.ttlMs = max > 0 ? this.#random.between(min * MS_PER_S, max * MS_PER_S) : 0;
    this.states.begin(slot.key, slot);
    this.#transport.write(slot);
  }
  #endWrite(slot: Slot, answer: number, nowUs: number): void {
    if (answer === Answer.OK)
      this.states.acknowledged(
        slot.key,
        slot,
        slot.serial,
        slot.sentUs / MS_PER_S,
        nowUs / MS_PER_S,
        slot.ttlMs,
      );
    else if (answer === Answer.UNKNOWN) this.states.unknown(slot.key);
    else this.states.refused(slot.key, slot);
  }
  /** What is wrong with a read's answer; '' where nothing is. */
  #faultOf(slot: Slot, answer: number, value: Buffer | null, nowUs: number): string {
    const { key } = slot;
    const expected = this.states.expected(key, slot.readGeneration, slot.sentUs / MS_PER_S, nowUs / MS_PER_S);
    if (expected !== ANY) this.#counts.exactReads++;
    let fault = '';
    if (answer === Answer.ABSENT) fault = expected >= 0 ? 'lost' : '';
    else {
      const found = value === null ? -1 : this.values.serialOf(value, key, this.options.writer);
      if (found === -1) fault = 'wrong value';
      else if (expected === ABSENT) fault = 'deleted, expired or never written, and back';
      else if (expected >= 0 && found !== expected) fault = 'stale';
    }
    if (fault !== '') {
      this.#counts.wrong++;
      // What is wrong is told also where it is not counted as a request.
      if (!this.#isCounted(slot)) countFailure(this.#failures, fault);
    }
    return fault;
  }
  #fail(failure: string): void {
    this.#counts.failed++;
    countFailure(this.#failures, failure);
  }
  #finish(slot: Slot, answer: number, failure: string, nowUs: number): void {
    slot.busy = false;
    const responseUs = nowUs - slot.dueUs;
    this.#interval.add(responseUs, failure !== '');
    const isCounted = this.#isCounted(slot);
    if (this.#phase?.ended(slot, answer) === true) return;
    if (isCounted) {
      if (failure === '') this.#counts.ok++;
      else this.#fail(failure);
      if (answer === Answer.ABSENT) this.#counts.absent++;
      // How soon something was refused says nothing about how soon others are answered; as failed it counts above.
      if (answer !== Answer.REFUSED) this.#latencies.record(slot.operation, responseUs, nowUs - slot.sentUs);
    }
  }
  #isCounted(slot: Slot): boolean {
    return this.#phase !== null && slot.dueUs >= this.#phase.countFromUs;
  }
}
