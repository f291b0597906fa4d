import { expect } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { HintLoss } from '../../src/cluster/contract.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import type { Operation } from '../../src/vfs/simulated-faults.ts';
import { Hints, namesOf, newDisk, START_MS } from './hint-harness.ts';

const STEPS = 120;
const TARGETS = [0xab, 0xcd] as const;
const FAULTS: readonly Operation[] = [
  'write',
  'sync',
  'sync-directory',
  'create',
  'unlink',
  'mkdir',
  'truncate',
  'read',
  'open',
];

interface Known {
  readonly name: string;
  readonly target: number;
  readonly tokenHi: number;
  readonly addedMs: number;
  /** In which life it was added: its answer is there. */
  readonly life: Hints;
  /** Delivered, or told as lost: nobody owes it any more. */
  isSettled: boolean;
}

/** A hint log on a disk with faults, crashes and power cuts, beside what it owes. */
export class HintModel {
  readonly random: Random;
  readonly hasDamage: boolean;
  readonly clock = new ManualClock(START_MS);
  readonly known = new Map<string, Known>();
  disk: SimulatedFileSystem;
  hints: Hints;
  flips = 0;
  readonly damagedTargets = new Set<number>();
  readonly done: Record<string, number> = {};

  constructor(random: Random, hasDamage: boolean) {
    this.random = random;
    this.hasDamage = hasDamage;
    this.disk = newDisk(random.uint32());
    this.hints = new Hints(this.disk, this.clock);
  }

  async step(): Promise<void> {
    const { random } = this;
    const way = random.below(100);
    if (way < 40) this.add();
    else if (way < 65) for (let i = random.below(6); i > 0; i--) await this.#oneCall();
    else if (way < 72) this.clock.advanceMs(random.below(limits.hintSegmentAgeMs));
    else if (way < 74) this.clock.advanceMs(random.below(limits.hintAgeMsMax));
    else if (way < 82) await this.handOut();
    else if (way < 87) this.expire();
    else if (way < 92) this.#fail();
    else if (way < 94) this.disk.clearFaults();
    else if (way < 96) await this.restart();
    else if (way < 98) await this.cutPower();
    else this.#damage();
  }

  add(): void {
    const { random, clock, hints } = this;
    const target = random.pick(TARGETS);
    const name = `hint ${this.known.size}`;
    hashToken(Buffer.from(name));
    const bytes = random.chance(0.05) ? limits.hintSegmentBytes : random.below(3000);
    this.known.set(name, {
      name,
      target,
      tokenHi: token.hi,
      addedMs: clock.nowMs(),
      life: hints,
      isSettled: false,
    });
    hints.add(name, target, bytes);
  }

  async handOut(): Promise<void> {
    const target = this.random.pick(TARGETS);
    let batch: Awaited<ReturnType<Hints['next']>>;
    try {
      batch = await this.hints.next(target);
    } catch {
      this.#count('unreadable');
      return;
    }
    if (batch === null) return;
    if (batch.bytesDamaged > 0) this.damagedTargets.add(target);
    for (const name of namesOf(batch)) expect(this.known.get(name)?.target, name).toBe(target);
    if (this.random.chance(0.3)) {
      this.hints.log.postpone(batch);
      return;
    }
    this.#count('delivered');
    for (const name of namesOf(batch)) this.#settle(name);
    this.hints.log.discard(batch);
  }

  expire(): void {
    for (const loss of this.hints.log.expire(this.clock.nowMs())) this.#lose(loss);
  }
  #lose(loss: HintLoss): void {
    const { target, tokens, hints, isDamaged } = loss;
    this.#count('expired');
    // All that it has for the target is repaired: a hint of which nothing is left may be younger than those of its file.
    if (isDamaged) this.damagedTargets.add(target);
    expect(tokens).toHaveLength(hints);
    const oldMs = this.clock.nowMs() - limits.hintAgeMsMax;
    for (const one of this.known.values()) {
      if (one.target !== target) continue;
      if (tokens.includes(one.tokenHi)) {
        expect(one.addedMs, `${one.name} expired before its time`).toBeLessThan(oldMs);
        this.#settle(one.name);
      } else if (isDamaged && one.addedMs < oldMs) this.#settle(one.name);
    }
    // Otherwise the node dies before its marks are kept: it must hear of it again.
    if (this.random.chance(0.8)) this.hints.log.discard(loss);
  }

  /** The process dies, the machine goes on. */
  async restart(): Promise<void> {
    this.disk.clearFaults();
    await this.hints.settle();
    if (this.random.chance(0.5)) this.hints.log.close();
    this.hints = new Hints(this.disk, this.clock);
    this.#count('restarts');
  }
  /** At once, or in the middle of what comes next. */
  async cutPower(): Promise<void> {
    const { random } = this;
    if (random.chance(0.7)) {
      this.disk.crashAtChange(this.disk.changes + random.below(6));
      for (let i = 0; i < 20 && !this.disk.crashed; i++)
        try {
          if (random.chance(0.4)) this.add();
          else if (random.chance(0.8)) await this.#oneCall();
          else await this.handOut();
        } catch (error) {
          if (!this.disk.crashed) throw error;
        }
    }
    this.disk = this.disk.powerCut(random);
    this.hints = new Hints(this.disk, this.clock);
    this.#count('cuts');
  }

  /** All that is owed is there, and no byte is left behind. */
  async check(label: string): Promise<void> {
    this.disk.clearFaults();
    await this.hints.settle();
    await this.cutPower();
    for (const loss of this.hints.expire()) this.#lose(loss);
    const found = new Set<string>();
    for (const target of TARGETS)
      for (let batch = await this.hints.next(target); batch !== null; batch = await this.hints.next(target)) {
        if (batch.bytesDamaged > 0) this.damagedTargets.add(target);
        for (const name of namesOf(batch)) found.add(name);
        this.hints.log.discard(batch);
      }
    // Those whose first frame could not be read when the log was opened proved too old only now.
    for (const loss of this.hints.expire()) this.#lose(loss);
    const missing = [...this.known.values()].filter(
      ({ name, life, isSettled }) => !isSettled && life.answers.get(name) === Status.OK && !found.has(name),
    );
    // One bit hits one hint.
    expect(missing.length, label).toBeLessThanOrEqual(this.flips);
    if (!this.hasDamage) expect(missing, label).toEqual([]);
    for (const { target } of missing) expect(this.damagedTargets.has(target), label).toBe(true);
    for (const name of found) expect(this.known.has(name), label).toBe(true);
    expect(this.hints.log.bytesHeld, label).toBe(0);
    for (const target of TARGETS) {
      const directory = `/data/hints/${target.toString(16).padStart(8, '0')}`;
      expect(this.hints.filesOf(directory), label).toEqual([]);
    }
    this.hints.log.close();
    expect(this.disk.openPaths, label).toEqual([]);
  }

  async #oneCall(): Promise<void> {
    await Promise.resolve();
    if (this.disk.waiting > 0) this.disk.step(this.random.below(this.disk.waiting));
    await Promise.resolve();
  }
  #fail(): void {
    const { random } = this;
    this.disk.inject({
      operation: random.pick(FAULTS),
      errno: random.pick(['EIO', 'ENOSPC']),
      after: random.below(3),
      times: random.between(1, 3),
      bytes: random.below(200),
    });
  }
  #damage(): void {
    if (!this.hasDamage) return;
    const files = TARGETS.flatMap((target) =>
      this.hints.filesOf(`/data/hints/${target.toString(16).padStart(8, '0')}`),
    ).filter((path) => this.disk.bytesOf(path).length > 0);
    if (files.length === 0) return;
    this.disk.flipBit(this.random.pick(files), undefined, this.random.below(8));
    this.flips++;
  }
  #settle(name: string): void {
    const one = this.known.get(name);
    if (one !== undefined) one.isSettled = true;
  }
  #count(what: string): void {
    this.done[what] = (this.done[what] ?? 0) + 1;
  }
}

/** Rounds from a seed; what was done in all of them, and how often. Throws where a hint is lost in silence. */
export async function runHintModel(
  seed: number,
  rounds: number,
  hasDamage: boolean,
): Promise<Readonly<Record<string, number>>> {
  const done: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    const model = new HintModel(new Random(seed + round), hasDamage);
    const label = `seed ${seed}, round ${round}`;
    for (let step = 0; step < STEPS; step++)
      try {
        await model.step();
      } catch (error) {
        throw new Error(`${label}, step ${step}: ${(error as Error).message}`, { cause: error });
      }
    await model.check(label);
    for (const [what, count] of Object.entries(model.done)) done[what] = (done[what] ?? 0) + count;
  }
  return done;
}
