/**
 * Coordinates the requests of clients over the replicas of their keys: plain writes and reads at ONE, QUORUM and ALL,
 * everything at SERIAL, scans. Any node coordinates any key. Owned by one thread, the peer worker's.
 *
 * 1. `done` is called once for each request, by its deadline and one tick at the latest, and never before the call has
 *    returned.
 * 2. Encoded records that are sent to several replicas share their bytes: a replica must not change them.
 */
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import { Condition } from '../shard/contract.ts';
import type { BehindAnswers } from './behind-answers.ts';
import {
  type ClientRead,
  type ClientReadAnswer,
  type ClientScan,
  type ClientScanAnswer,
  type ClientWrite,
  type ClientWriteAnswer,
  Consistency,
} from './contract.ts';
import { CoordinatorCore, type CoordinatorOptions, type OnSettled } from './coordinator-core.ts';
import type { CoordinatorMetrics } from './coordinator-metrics.ts';
import { PlainRead } from './coordinator-read.ts';
import { LaterRepairs } from './coordinator-repair.ts';
import { ClusterScan } from './coordinator-scan.ts';
import { PlainWrite } from './coordinator-write.ts';
import { SerialRead, SerialSettle, SerialWrite } from './serial.ts';

const TOO_MANY = `${limits.coordinatorOperationsMax} operations are in flight, which is the limit`;

export class Coordinator {
  readonly #core: CoordinatorCore;

  constructor(options: CoordinatorOptions) {
    this.#core = new CoordinatorCore(options);
    this.#core.readSerial = (request, done) => new SerialRead(this.#core, request, done).start();
    this.#core.settleSerial = (request, done) => new SerialSettle(this.#core, request, done).start();
    const later = new LaterRepairs(this.#core);
    this.#core.repairLater = (source, target, record) => later.add(source, target, record);
  }

  get metrics(): Readonly<CoordinatorMetrics> {
    return this.#core.metrics;
  }
  get inFlight(): number {
    return this.#core.inFlight;
  }
  get behind(): BehindAnswers {
    return this.#core.behind;
  }

  write(request: ClientWrite, done: (answer: ClientWriteAnswer) => void): void {
    const { metrics } = this.#core;
    if (this.#isFull()) {
      const message = `${TOO_MANY}; nothing was written`;
      this.#later(() => done({ status: Status.OVERLOADED, version: 0, sloppy: false, message }));
      return;
    }
    const serial =
      request.consistency === Consistency.SERIAL ||
      request.condition !== Condition.NONE ||
      request.idempotencyKey.length > 0;
    if (serial) {
      metrics.serialWrites++;
      new SerialWrite(this.#core, request, done).start();
    } else {
      metrics.writes++;
      new PlainWrite(this.#core, request, done).start();
    }
  }

  read(request: ClientRead, done: (answer: ClientReadAnswer) => void): void {
    const { metrics } = this.#core;
    if (this.#isFull()) {
      this.#later(() => done({ status: Status.OVERLOADED, record: null, message: TOO_MANY }));
      return;
    }
    if (request.consistency === Consistency.SERIAL) {
      metrics.serialReads++;
      new SerialRead(this.#core, request, done).start();
    } else {
      metrics.reads++;
      new PlainRead(this.#core, request, done).start();
    }
  }

  scan(request: ClientScan, done: (answer: ClientScanAnswer) => void): void {
    if (this.#isFull()) {
      const records = new Uint8Array(0);
      this.#later(() => done({ status: Status.OVERLOADED, records, next: null, message: TOO_MANY }));
      return;
    }
    this.#core.metrics.scans++;
    new ClusterScan(this.#core, request, done).start();
  }

  /**
   * Settles a key by SERIAL: afterwards its replicas that are up hold the same, and no unfinished write can surface. For
   * repairs and hints of which a copy was barred. `ok` is false where that could not be done now.
   */
  settle(tokenHi: number, tokenLo: number, key: Uint8Array, done: OnSettled): void {
    this.#core.settle(tokenHi, tokenLo, key, done);
  }

  /** CoordinatorCore.askWritten. */
  askWritten(version: number, done: (version: number) => void): void {
    this.#core.askWritten(version, done);
  }

  #isFull(): boolean {
    return this.#core.inFlight >= limits.coordinatorOperationsMax;
  }
  #later(run: () => void): void {
    this.#core.world.timers.after(0, run);
  }
}
