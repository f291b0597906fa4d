import { Random } from '../../src/base/random.ts';
import { isDeadAt, versionAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { newDisk } from './disk.ts';
import { EngineHarness, fieldsOf, ownKeys, SHAPE, type Shape, scanAll } from './engine-harness.ts';

/** A short run through all that an engine does to its disk, small enough to crash at each of its calls. */
export const CRASH_SHAPE: Shape = { ...SHAPE, dial: 0, gcGraceMs: 0, tableTargetBytes: 48 * 1024 };

interface Write {
  readonly key: string;
  readonly version: number;
  readonly deleted: boolean;
}
type State = Map<string, Write>;

/** What was acknowledged, and what was appended after it, in groups that survive as a whole. */
export class Ledger {
  readonly acknowledged: State = new Map();
  pending: { seq: number; writes: Write[] }[] = [];
  version = 0;

  note(seq: number, writes: Write[]): void {
    this.pending.push({ seq, writes });
  }
  onDurable(seq: number): void {
    while (this.pending[0] !== undefined && this.pending[0].seq <= seq)
      this.#apply(this.pending.shift()?.writes ?? []);
  }
  #apply(writes: readonly Write[]): void {
    for (const write of writes) this.acknowledged.set(write.key, write);
  }
  /** The same writes, to be settled one way for one power cut and another way for the next. */
  copy(): Ledger {
    const copy = new Ledger();
    for (const write of this.acknowledged.values()) copy.acknowledged.set(write.key, write);
    copy.pending = [...this.pending];
    copy.version = this.version;
    return copy;
  }
  /** Takes the first `groups` of what was in doubt for written, and forgets the rest. */
  settle(groups: number): void {
    for (const { writes } of this.pending.slice(0, groups)) this.#apply(writes);
    this.pending = [];
  }
}

export class CrashRun {
  readonly ledger: Ledger;
  readonly harness: EngineHarness;
  readonly #keys: Uint8Array[];
  readonly #random: Random;

  constructor(disk: SimulatedFileSystem, seed: number, ledger = new Ledger(), shape = CRASH_SHAPE) {
    this.ledger = ledger;
    this.#random = new Random(seed);
    // Odd seeds commit on the shard's thread, even ones through asynchronous calls.
    this.harness = new EngineHarness(disk, { ...shape, inlineUsMax: seed % 2 === 0 ? 0 : 1000 });
    this.harness.onDurableHook = (seq) => ledger.onDurable(seq);
    this.harness.onFailureHook = (status) => {
      // With a full disk they are no more; otherwise they stay in doubt until the next start.
      if (status === Status.DISK_FULL) ledger.pending = [];
    };
    this.#keys = ownKeys(24, shape);
  }

  /** Writes, deletes, flushes and compacts; whether it came to its end before the crash. */
  async run(writes: number): Promise<boolean> {
    try {
      await this.harness.open();
      // Seqs of this life must not settle writes of the one before.
      if (this.ledger.pending.length > 0) await this.resolveDoubts();
      await this.work(writes);
      await this.harness.close();
      return true;
    } catch (error) {
      if (!this.harness.disk.crashed) throw error;
      return false;
    }
  }

  async work(writes: number): Promise<void> {
    const { engine } = this.harness;
    for (let i = 1; i <= writes; i++) {
      await this.#write(i % 9 === 0);
      if (i % 3 === 0) engine.commit();
      if (i % 7 === 0) await this.harness.settle();
      if (i === 90) await this.harness.wait(engine.snapshot());
      if (i === 120) await this.harness.wait(engine.compactAll());
      if (i % 20 === 0) this.harness.advance(1000);
    }
    engine.commit();
    await this.harness.settle();
  }

  async #write(pair: boolean): Promise<void> {
    const { engine, clock } = this.harness;
    const put = (): { write: Write; fields: ReturnType<typeof fieldsOf> } => {
      const key = this.#random.pick(this.#keys);
      const deleted = this.#random.chance(0.25);
      this.ledger.version = Math.max(this.ledger.version + 1, clock.nowUs());
      const { version } = this.ledger;
      const value = Buffer.alloc(deleted ? 0 : this.#random.between(500, 3500), `${version}`);
      return {
        write: { key: key.toString(), version, deleted },
        fields: fieldsOf({ key, value, version, deleted }),
      };
    };
    const one = put();
    const two = pair ? put() : null;
    for (let attempt = 0; attempt < 50; attempt++) {
      const seq = engine.append(one.fields, two?.fields ?? null);
      if (seq > 0) {
        this.ledger.note(seq, two === null ? [one.write] : [one.write, two.write]);
        return;
      }
      engine.commit();
      await this.harness.settle();
      this.harness.advance(500);
    }
    throw new Error('append refused for ever');
  }

  /** Finds out what is there of writes in doubt; what every key holds. */
  async resolveDoubts(): Promise<Map<string, { version: number; dead: boolean }>> {
    const { engine } = this.harness;
    const held = new Map<string, { version: number; dead: boolean }>();
    for (const key of this.#keys)
      this.harness.lookup(key, false, ({ outcome, error }) => {
        if (error !== null) throw error;
        if (outcome !== 1) return;
        const { view, offset } = engine.found;
        held.set(key.toString(), {
          version: versionAt(view, offset),
          dead: isDeadAt(view, offset, this.harness.clock.nowMs()),
        });
      });
    await this.harness.settle();
    let survived = 0;
    this.ledger.pending.forEach(({ writes }, index) => {
      if (writes.some(({ key, version }) => held.get(key)?.version === version)) survived = index + 1;
    });
    this.ledger.settle(survived);
    return held;
  }

  /** Compares every key with the ledger, by lookups and by a scan, after finding out what of the doubtful is there. */
  async check(label: string): Promise<void> {
    const { engine } = this.harness;
    const held = await this.resolveDoubts();
    for (const key of this.#keys) {
      const name = key.toString();
      const expected = this.ledger.acknowledged.get(name);
      const found = held.get(name);
      const gone = expected === undefined || expected.deleted;
      // A tombstone may have been dropped for good; nothing else may be missing, older or back.
      if (
        found === undefined ? !gone : found.version !== expected?.version || found.dead !== expected.deleted
      )
        throw new Error(
          `${label}: ${name} is ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`,
        );
    }
    const live = [...this.ledger.acknowledged.values()]
      .filter(({ deleted }) => !deleted)
      .map(({ version }) => version);
    const seen = scanAll(engine, 0, { limit: 5, bytesMax: 1e6, examinedMax: 1e6 }).map(
      ({ version }) => version,
    );
    if (JSON.stringify(seen.sort()) !== JSON.stringify(live.sort()))
      throw new Error(`${label}: a scan gives ${seen.length} records, expected ${live.length}`);
  }
}

/** Calls of the run that change the disk: the ordinals to crash at. */
export async function countChanges(seed: number, writes: number): Promise<number> {
  const disk = newDisk();
  const run = new CrashRun(disk, seed);
  if (!(await run.run(writes))) throw new Error('the run without a crash did not end');
  return disk.changes;
}

/**
 * Crashes at one call, cuts the power, starts again (for odd cuts: crashes at some call of that start, cuts again
 * and starts a third time), compares, works on, closes, and compares once more after a last start.
 */
export async function crashAt(change: number, seed: number, writes: number, cuts: number): Promise<void> {
  const disk = newDisk();
  disk.crashAtChange(change);
  const run = new CrashRun(disk, seed);
  if (await run.run(writes)) throw new Error(`no crash at change ${change}`);
  const random = new Random(seed ^ change);
  for (let cut = 0; cut < cuts; cut++) {
    const label = `seed ${seed}, crash at change ${change}, cut ${cut}`;
    const ledger = run.ledger.copy();
    let after = disk.powerCut(random);
    if (cut % 2 === 1) {
      after.crashAtChange(random.below(12));
      const second = new CrashRun(after, seed + 1, ledger);
      // Where the start needs fewer calls than that, it goes on to write: its crash is as good as any.
      await second.run(6);
      after = after.powerCut(random);
    }
    const life = new CrashRun(after, seed + 2, ledger);
    try {
      await life.harness.open();
      const errors = life.harness.events.filter((event) => event.startsWith('error'));
      if (errors.length > 0) throw new Error(`${label}: ${errors.join('; ')}`);
      await life.check(label);
      await life.work(12);
      await life.harness.wait(life.harness.engine.compactAll());
      await life.harness.close();
      await life.harness.open();
      await life.check(`${label}, after a clean start`);
      await life.harness.close();
    } catch (error) {
      if (error instanceof Error && error.message.startsWith('seed')) throw error;
      throw new Error(`${label}: ${(error as Error).stack}`);
    }
  }
}
