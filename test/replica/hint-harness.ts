import { deadlineIn, ManualClock } from '../../src/base/clock.ts';
import { keyAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { type HintBatch, type HintLoss, WriteMode } from '../../src/cluster/contract.ts';
import { type HintBounds, HintLog } from '../../src/replica/hint-log.ts';
import { SimulatedFileSystem, type SimulatedOptions } from '../../src/vfs/simulated.ts';
import { recordOf, viewOf } from '../cluster/records.ts';

export const DIRECTORY = '/data';
export const TARGET = 0xab;
export const TARGET_DIRECTORY = `${DIRECTORY}/hints/000000ab`;
export const START_MS = 1_700_000_000_000;
const REQUEST_MS = 5000;
const LOOKS_MAX = 1000;

export function newDisk(seed = 1, options: SimulatedOptions = {}): SimulatedFileSystem {
  const disk = new SimulatedFileSystem({ ...options, seed });
  disk.mkdir(DIRECTORY);
  disk.syncDirectory('/');
  disk.resetCounts();
  return disk;
}

export const nameOf = (record: Uint8Array): string =>
  Buffer.from(keyAt(viewOf(record), record, 0)).toString();
export const namesOf = (batch: HintBatch): string[] => batch.writes.map(({ record }) => nameOf(record));

/** A hint log, hints that are named by their keys, and what was said to each. */
export class Hints {
  readonly log: HintLog;
  readonly reports: string[] = [];
  readonly answers = new Map<string, number>();
  readonly messages = new Map<string, string>();
  readonly disk: SimulatedFileSystem;
  readonly clock: ManualClock;

  constructor(disk: SimulatedFileSystem, clock = new ManualClock(START_MS), bounds?: HintBounds) {
    this.disk = disk;
    this.clock = clock;
    this.log = new HintLog(disk, DIRECTORY, clock, (_, message) => this.reports.push(message), bounds);
  }
  add(name: string, target = TARGET, valueBytes = 1): void {
    const record = recordOf({ key: name, version: 1, value: new Uint8Array(valueBytes) });
    const write = {
      record,
      also: null,
      mode: WriteMode.MERGE,
      deadlineMs: deadlineIn(this.clock, REQUEST_MS),
    };
    this.log.add(target, write, ({ status, message }) => {
      this.answers.set(name, status);
      this.messages.set(name, message);
    });
  }
  /** Runs what is asynchronous until nothing is left. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) {
      await Promise.resolve();
      await this.disk.settle();
    }
  }
  /** One after another: each in a group of its own. */
  async addAll(...names: string[]): Promise<void> {
    for (const name of names) {
      this.add(name);
      await this.settle();
    }
  }
  get acknowledged(): string[] {
    return [...this.answers].filter(([, status]) => status === Status.OK).map(([name]) => name);
  }
  next(target = TARGET): Promise<HintBatch | null> {
    return new Promise((resolve, reject) => {
      this.log.next(target, (batch, error) => (error === null ? resolve(batch) : reject(error)));
    });
  }
  /** All hints of a target, oldest first, discarding them on the way. */
  async drain(target = TARGET): Promise<string[]> {
    const names: string[] = [];
    for (let batch = await this.next(target); batch !== null; batch = await this.next(target)) {
      names.push(...namesOf(batch));
      this.log.discard(batch);
    }
    return names;
  }
  /** What expires now, told and settled. */
  expire(): HintLoss[] {
    const losses: HintLoss[] = [];
    for (let looks = 0; ; looks++) {
      if (looks > LOOKS_MAX) throw new Error(`losses are told without end: ${losses.length} until now`);
      const some = this.log.expire(this.clock.nowMs());
      if (some.length === 0) break;
      losses.push(...some);
    }
    for (const loss of losses) this.log.discard(loss);
    return losses;
  }
  filesOf(directory = TARGET_DIRECTORY): string[] {
    return this.disk.exists(directory)
      ? this.disk.readdir(directory).map((name) => `${directory}/${name}`)
      : [];
  }
  bytes(target = TARGET): number {
    return this.log.targets().get(target) ?? 0;
  }
}
