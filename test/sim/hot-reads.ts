/**
 * (l) A read at QUORUM of a key that plain writes change all the time ends, while nothing fails and the ring stands still
 * (docs/decisions/0021-reads-of-keys-that-change.md). Writers write the key as fast as they are answered, readers read it meanwhile. To be
 * started when nothing is held up any more by a fault that has ended (Connections.outlast).
 */
import { Status } from '../../src/base/status.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import type { Violation } from './check-quorum.ts';
import type { Machine } from './machine.ts';
import type { Scheduler } from './scheduler.ts';
import type { Workload } from './workload.ts';

/** Never written at SERIAL. */
const KEY = 'hot-0';
const WRITERS = 8;
const READERS = 4;
const READS = 40;
/** Ten times what the slowest takes: with the rule left out reads go on for as long as the writes do. */
const READ_US_MAX = 100_000;

export class HotReads {
  readonly #scheduler: Scheduler;
  readonly #workload: Workload;
  readonly #machines: readonly Machine[];
  readonly #begunUs = new Map<number, number>();
  #reads = 0;
  #writes = 0;
  #active = 0;
  #isOver = false;
  slowestUs = 0;
  readonly violations: Violation[] = [];

  constructor(scheduler: Scheduler, workload: Workload, machines: readonly Machine[]) {
    this.#scheduler = scheduler;
    this.#workload = workload;
    this.#machines = machines;
  }

  start(): void {
    for (let reader = 1; reader <= READERS; reader++) this.#read(reader);
    for (let writer = READERS + 1; writer <= READERS + WRITERS; writer++) this.#write(writer);
  }
  /** All was answered. To be asked after each event, or often: the first read that takes too long ends the writes as well. */
  isDone(): boolean {
    for (const begunUs of this.#begunUs.values())
      if (this.#scheduler.nowUs - begunUs > READ_US_MAX) this.#isOver = true;
    return this.#active === 0;
  }

  #machineOf(client: number): Machine {
    return this.#machines[client % this.#machines.length] as Machine;
  }

  #read(reader: number): void {
    if (this.#isOver || this.#reads >= READS) {
      this.#isOver = true;
      return;
    }
    this.#reads++;
    this.#active++;
    this.#begunUs.set(reader, this.#scheduler.nowUs);
    const plan = { kind: 'get', key: KEY, consistency: Consistency.QUORUM } as const;
    this.#workload.ask(reader, this.#machineOf(reader), plan, (operation) => {
      const { invokedUs, endedUs, status, id, message } = operation;
      this.#active--;
      this.#begunUs.delete(reader);
      const tookUs = endedUs - invokedUs;
      this.slowestUs = Math.max(this.slowestUs, tookUs);
      if (status !== Status.OK || tookUs > READ_US_MAX)
        this.violations.push({
          promise: 'l: a QUORUM read of a key that plain writes change ends while nothing fails',
          key: KEY,
          what: `#${id} took ${tookUs / 1000} ms, more than ${READ_US_MAX / 1000}, or failed: status ${status} ${message}`,
        });
      this.#read(reader);
    });
  }

  #write(writer: number): void {
    if (this.#isOver) return;
    this.#active++;
    const value = `hot${++this.#writes}`;
    const plan = { kind: 'put', key: KEY, consistency: Consistency.QUORUM, value } as const;
    this.#workload.ask(writer, this.#machineOf(writer), plan, () => {
      this.#active--;
      this.#write(writer);
    });
  }
}
