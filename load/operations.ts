/**
 * The requests of an open loop in the order in which they are due. Every generator thread draws the same sequence from the same
 * seed and sends what is for its own keys: so each key has one writer, and the load does not depend on the number of threads.
 */
import { Random } from '../src/base/random.ts';
import { type Arrivals, arrivalsOf } from './arrivals.ts';
import { chooserOf, type KeyChooser } from './keys/choosers.ts';
import { uniform } from './keys/zipfian.ts';
import { loadLimits } from './limits.ts';
import { OPERATIONS, Operation, type Workload } from './workload.ts';

const SEED_OF_ARRIVALS = 0x517cc1b7;

export interface SourceOptions {
  readonly workload: Workload;
  readonly seed: number;
  /** Records that are there already: those of the workload and what earlier phases inserted. */
  readonly records: number;
  /** Of the whole phase. */
  readonly insertsExpected: number;
  /** Keys there may be at most: beyond them inserts are updates. */
  readonly keysMax: number;
  /** A second; Infinity for a closed loop, whose requests are due when they are asked for. */
  readonly rate: number;
}

export class OperationSource {
  /** Of the request that is next. */
  dueUs = 0;
  operation = 0;
  key = 0;
  scanLength = 0;

  readonly #random: Random;
  readonly #arrivals: Arrivals | null;
  readonly #chooser: KeyChooser;
  readonly #bounds: readonly number[];
  readonly #scanLengthMax: number;
  #records: number;
  #settled: number;
  readonly #keysMax: number;
  /** When the inserts that may not be chosen yet were due: a ring. */
  readonly #insertsUs = new Float64Array(loadLimits.insertsUnsettledMax);

  constructor({ workload, seed, records, insertsExpected, keysMax, rate }: SourceOptions) {
    this.#random = new Random(seed);
    this.#arrivals = Number.isFinite(rate)
      ? arrivalsOf(workload.arrivals, rate, new Random(seed ^ SEED_OF_ARRIVALS))
      : null;
    this.#records = records;
    this.#settled = records;
    this.#keysMax = keysMax;
    this.#chooser = chooserOf(workload.keys, records, Math.min(2 * insertsExpected, keysMax - records));
    this.#scanLengthMax = workload.scanLengthMax;
    let sum = 0;
    this.#bounds = OPERATIONS.map((name) => {
      sum += workload.mix[name] ?? 0;
      return sum;
    });
  }

  /** Records and inserts so far. */
  get records(): number {
    return this.#records;
  }

  /** Draws the next request. `nowUs`: when it is due in a closed loop. */
  advance(nowUs: number): void {
    this.dueUs = this.#arrivals === null ? nowUs : this.#arrivals.nextUs();
    const at = uniform(this.#random);
    let operation = 0;
    while (operation < this.#bounds.length - 1 && at >= (this.#bounds[operation] as number)) operation++;
    if (operation === Operation.INSERT && this.#records >= this.#keysMax) operation = Operation.UPDATE;
    this.operation = operation;
    if (operation === Operation.INSERT) {
      this.#insertsUs[this.#records % loadLimits.insertsUnsettledMax] = this.dueUs;
      this.key = this.#records++;
      return;
    }
    this.#settle();
    this.key = this.#chooser.next(this.#random, this.#settled);
    this.scanLength =
      operation === Operation.SCAN ? 1 + Math.floor(uniform(this.#random) * this.#scanLengthMax) : 0;
  }

  /** Inserts that were due a while ago may be chosen: by then they are acknowledged, unless the server is behind. */
  #settle(): void {
    const ring = loadLimits.insertsUnsettledMax;
    while (
      this.#settled < this.#records &&
      (this.#records - this.#settled >= ring ||
        (this.#insertsUs[this.#settled % ring] as number) < this.dueUs - loadLimits.insertSettleUs)
    )
      this.#settled++;
  }
}
