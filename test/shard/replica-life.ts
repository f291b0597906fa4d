/** The rule of a replica over the real engine on a simulated disk, beside the reference in memory, through crashes. */

import type { MonotonicMs } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import {
  FLAG_TOMBSTONE,
  flagsAt,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  keyAt,
  keyspaceAt,
  originAt,
  valueAt,
  versionAt,
} from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';
import {
  type PrepareAnswer,
  type ReadAnswer,
  type WriteAnswer,
  WriteMode,
} from '../../src/cluster/contract.ts';
import type { EngineLookup } from '../../src/engine/contract.ts';
import { ReplicaStore } from '../../src/shard/replica-store.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';
import { FAR_MS } from '../base/clocks.ts';
import { MemoryReplica } from '../cluster/memory-replica.ts';
import { recordOf, viewOf } from '../cluster/records.ts';
import { EngineHarness, SHAPE, type Shape, turn } from '../engine/engine-harness.ts';

const FIRST_TICKET = 1_000_000;
const TURNS_MAX = 20_000;
export const GRACE_MS = 3_600_000;
/** Nothing is purged, so that the reference holds the same records. */
export const LIFE_SHAPE: Shape = { ...SHAPE, vnodes: 4, gcGraceMs: GRACE_MS, purgeBefore: 0 };

export type Asked = Pick<ReplicaStore, 'write' | 'read' | 'prepare'>;
export type Answer = WriteAnswer | PrepareAnswer | ReadAnswer;
/** One request, to whomever. */
export interface Request {
  readonly key: string;
  readonly label: string;
  readonly isRead: boolean;
  readonly isWrite: boolean;
  /** Whether only the status of the answer is the same by contract. */
  readonly statusOnly: boolean;
  readonly ask: (to: Asked, done: (answer: Answer) => void) => void;
}

const placeOf = (
  key: string,
): { tokenHi: number; tokenLo: number; key: Uint8Array; deadlineMs: MonotonicMs } => {
  hashToken(Buffer.from(key));
  return { tokenHi: token.hi, tokenLo: token.lo, key: Buffer.from(key), deadlineMs: FAR_MS };
};

export const prepareOf = (key: string, version: number, origin: number): Request => ({
  key,
  label: `prepare ${key} ${version}.${origin}`,
  isRead: false,
  isWrite: false,
  statusOnly: false,
  ask: (to, done) => to.prepare({ ...placeOf(key), ballot: { version, origin } }, done),
});
export const readOf = (key: string, keyspace: number, headOnly: boolean): Request => ({
  key,
  label: `read ${key} of ${keyspace}`,
  isRead: true,
  isWrite: false,
  // What is kept of a promise is the store's own affair.
  statusOnly: keyspace === KEYSPACE_PROMISES,
  ask: (to, done) => to.read({ ...placeOf(key), keyspace, headOnly }, done),
});
export function writeOf(
  isFresh: boolean,
  written: {
    readonly key: string;
    readonly version: number;
    readonly origin: number;
    readonly value: string;
    readonly tombstone: boolean;
    readonly outcomes: boolean;
  },
): Request {
  const { key, version, origin, outcomes } = written;
  const record = recordOf(written);
  const also = outcomes
    ? recordOf({ key, version, origin, value: `outcomes of ${version}`, keyspace: KEYSPACE_OUTCOMES })
    : null;
  const mode = isFresh ? WriteMode.FRESH : WriteMode.MERGE;
  return {
    key,
    label: `${isFresh ? 'fresh' : 'merge'} ${key} ${version}.${origin}${outcomes ? ' with outcomes' : ''}`,
    isRead: false,
    isWrite: true,
    statusOnly: outcomes,
    ask: (to, done) =>
      to.write({ record: record.slice(), also: also?.slice() ?? null, mode, deadlineMs: FAR_MS }, done),
  };
}

export function randomRequest(random: Random, keys: readonly string[], base: number): Request {
  const key = random.pick(keys);
  const version = base + random.between(1, 30);
  const origin = random.between(1, 3);
  const kind = random.below(10);
  if (kind < 3) return prepareOf(key, version, origin);
  if (kind < 5)
    return readOf(
      key,
      random.pick([KEYSPACE_USER, KEYSPACE_USER, KEYSPACE_OUTCOMES, KEYSPACE_PROMISES]),
      random.chance(0.3),
    );
  const tombstone = random.chance(0.2);
  return writeOf(random.chance(0.6), {
    key,
    version,
    origin,
    value: tombstone ? '' : random.pick(['x', 'yy', 'z'.repeat(random.between(1, 2000))]),
    tombstone,
    // By the version, so that a record that comes again is the same in all.
    outcomes: version % 3 === 0,
  });
}

/** What is held of a key, in all keyspaces: as text, to be compared. */
export function statesOf(records: readonly Uint8Array[]): Map<string, string> {
  const states = new Map<string, string>();
  for (const record of records) {
    const view = viewOf(record);
    const key = Buffer.from(keyAt(view, record, 0)).toString();
    const value = Buffer.from(valueAt(view, record, 0)).toString();
    const dead = (flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0 ? ' dead' : '';
    const one = `${keyspaceAt(view, 0)}: ${versionAt(view, 0)}.${originAt(view, 0)}${dead} ${value}`;
    states.set(key, `${states.get(key) ?? ''}${one}\n`);
  }
  return states;
}

export class ReplicaLife extends EngineHarness {
  store: ReplicaStore | null = null;
  reference: MemoryReplica;

  constructor(disk: SimulatedFileSystem, shape: Shape = LIFE_SHAPE, random: Random | null = null) {
    super(disk, shape, random);
    this.reference = this.#newReference();
  }
  #newReference(): MemoryReplica {
    const { vnodes } = this.shape;
    return new MemoryReplica({ clock: this.clock, vnodes, gcGraceMs: GRACE_MS, later: (run) => run() });
  }

  async start(): Promise<void> {
    await this.open();
    const { engine, clock, shape } = this;
    this.store = new ReplicaStore({
      engine,
      clock,
      vnodes: shape.vnodes,
      gcGraceMs: GRACE_MS,
      appended: () => undefined,
      firstTicket: FIRST_TICKET,
      isRestart: false,
    });
  }
  /** The power is cut; the next life starts from what the disk then has. */
  cut(random: Random): void {
    this.store = null;
    this.abandon(this.disk.powerCut(random));
  }
  override onDurable(seq: number): void {
    this.store?.waits.onDurable(seq);
  }
  override onWriteFailure(status: number, error: Error): void {
    super.onWriteFailure(status, error);
    this.store?.waits.onWriteFailure(status, error);
  }
  override onLookup(ticket: number, outcome: EngineLookup, error: Error | null): void {
    if (this.store?.waits.isMine(ticket) === true) this.store.waits.onLookup(ticket, outcome, error);
    else super.onLookup(ticket, outcome, error);
  }

  /** Asks all in one turn; what was answered until the last answer came, or the crash. */
  async ask(requests: readonly Request[]): Promise<(Answer | null)[]> {
    const answers: (Answer | null)[] = requests.map(() => null);
    const { store } = this;
    if (store === null) throw new Error('the replica is not open');
    try {
      for (const [i, request] of requests.entries())
        request.ask(store, (answer) => {
          if (answers[i] !== null) throw new Error(`${request.label}: answered twice`);
          answers[i] = answer;
        });
      for (let turns = 0; answers.includes(null); turns++) {
        if (turns > TURNS_MAX) throw new Error(`no answer after ${turns} turns`);
        this.engine.commit();
        await turn();
        if (this.disk.crashed) break;
        if (this.disk.waiting > 0) this.stepDisk();
        else if (turns % 64 === 63) this.advance(50);
      }
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
    return answers;
  }
  answerOfReference(request: Request): Answer {
    let answer: Answer | null = null;
    request.ask(this.reference, (one) => {
      answer = one;
    });
    if (answer === null) throw new Error('the reference did not answer');
    return answer;
  }

  /** As `statesOf` gives it for the key. */
  stateOfReference(key: string): string {
    const { tokenHi, tokenLo, key: bytes } = placeOf(key);
    const records = [KEYSPACE_USER, KEYSPACE_PROMISES, KEYSPACE_OUTCOMES].map((keyspace) =>
      this.reference.held(keyspace, bytes, tokenHi, tokenLo),
    );
    return statesOf(records.filter((record) => record !== null)).get(key) ?? '';
  }

  /** Every record that the engine holds. */
  records(): Uint8Array[] {
    const records: Uint8Array[] = [];
    const isDone = this.engine.rawPage(
      {
        from: { tokenHi: 0, tokenLo: 0, keyspace: 0, key: new Uint8Array(0) },
        exclusive: false,
        lastHi: 0xffff_ffff,
        lastLo: 0xffff_ffff,
        recordsMax: 1e6,
        bytesMax: 1e9,
      },
      (view, bytes, offset) => {
        const key = keyAt(view, bytes, offset);
        const value = valueAt(view, bytes, offset);
        const size = (40 + key.length + value.length + 7) & ~7;
        records.push(bytes.slice(offset, offset + size));
        return true;
      },
    );
    if (!isDone) throw new Error('a page without bounds ended');
    return records;
  }
  /** The reference goes on from what the engine holds. */
  takeUp(): void {
    this.reference = this.#newReference();
    this.reference.load(this.records());
  }
}
