import { expect } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import type { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token, vnodeOf } from '../../src/base/token.ts';
import type { NodeNumber, Replica, ReplicaWrite, WriteAnswer } from '../../src/cluster/contract.ts';
import type { Coordinator } from '../../src/cluster/coordinator.ts';
import type { CoordinatorOptions } from '../../src/cluster/coordinator-core.ts';
import { HintReplay } from '../../src/cluster/hint-replay.ts';
import { writeGroups } from '../../src/cluster/ring-lookup.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import type { Operation } from '../../src/vfs/simulated-faults.ts';
import { testRing } from '../cluster/coordinator-world.ts';
import { ManualTimers } from '../cluster/manual-timers.ts';
import { Hints, nameOf, newDisk, START_MS } from './hint-harness.ts';

const SELF = 1;
const GONE = 9;
const TARGETS = [2, 3, GONE] as const;
const VNODES = 64;
const RING = {
  ...testRing([SELF, 2, 3]),
  vnodes: VNODES,
  owners: Uint16Array.from({ length: VNODES }, (_, vnode) => vnode % 3),
};
const FAULTS: readonly Operation[] = ['write', 'sync', 'sync-directory', 'create', 'unlink'];
const FAULTS_OF_READS: readonly Operation[] = [...FAULTS, 'read', 'open'];
const END_MS = 6 * 3_600_000;

/** One life of a node: what a crash takes. */
interface Life {
  readonly hints: Hints;
  readonly replay: HintReplay;
  readonly marks: Set<number>;
  isOver: boolean;
}

/**
 * Hints from their disk to their targets: HintReplay over a HintLog, with targets that come, go and refuse, a disk that fails,
 * bits that flip and crashes. Marks for repair are kept a while after they are made. Without damage there is nothing that marks all
 * vnodes of a target, and so nothing that would hide a loss: a crash is then that of the process alone.
 */
export class HandoffModel {
  readonly random: Random;
  readonly timers = new ManualTimers();
  /** Marks that are on the disk, and what each node has taken. */
  readonly kept = new Set<number>();
  readonly taken = new Map<NodeNumber, Set<string>>([SELF, 2, 3].map((node) => [node, new Set()]));
  readonly down = new Set<NodeNumber>();
  readonly added: { readonly name: string; readonly target: NodeNumber; readonly life: Life }[] = [];
  refusals = 0;
  disk: SimulatedFileSystem;
  #life: Life;
  readonly done = { crashes: 0, marked: 0, delivered: 0, refused: 0 };

  readonly #hasDamage: boolean;

  constructor(random: Random, hasDamage: boolean) {
    this.random = random;
    this.#hasDamage = hasDamage;
    this.timers.clock.advanceMs(START_MS);
    this.disk = newDisk(random.uint32());
    this.#life = this.#start();
  }

  async step(): Promise<void> {
    const { random, disk, timers } = this;
    const way = random.below(100);
    if (way < 35) this.#add();
    else if (way < 75) await this.#pass(random.below(3000));
    else if (way < 80) timers.standStill(random.below(limits.hintSegmentAgeMs));
    else if (way < 82) timers.standStill(random.below(limits.hintAgeMsMax));
    else if (way < 88) this.#turn(random.pick([2, 3]));
    else if (way < 91) this.refusals = random.below(40);
    else if (way < 94)
      disk.inject({
        operation: random.pick(this.#hasDamage ? FAULTS_OF_READS : FAULTS),
        errno: random.pick(['EIO', 'ENOSPC']),
        after: random.below(3),
        times: random.between(1, 3),
        bytes: random.below(200),
      });
    else if (way < 96) disk.clearFaults();
    else if (way < 98) this.#flip();
    else await this.#crash();
  }

  /** All is well from now on: every hint reaches its target, or its vnode is marked, durably. */
  async check(label: string): Promise<void> {
    this.disk.clearFaults();
    await this.#pass(5000);
    await this.#crash();
    this.down.clear();
    this.refusals = 0;
    for (let ms = 0; ms < END_MS && this.#life.hints.log.targets().size > 0; ms += 10_000)
      await this.#pass(10_000);
    expect(this.#life.hints.log.targets().size, label).toBe(0);
    const lost = this.added.filter(
      ({ name, target, life }) =>
        life.hints.answers.get(name) === Status.OK &&
        !this.#isHeld(name, target) &&
        !this.kept.has(vnodeOfName(name)),
    );
    expect(
      lost.map(({ name, target }) => `${name} for ${target}`),
      label,
    ).toEqual([]);
    this.done.marked += this.kept.size;
    for (const names of this.taken.values()) this.done.delivered += names.size;
  }
  #isHeld(name: string, target: NodeNumber): boolean {
    if (target !== GONE) return this.taken.get(target)?.has(name) === true;
    const [group = []] = writeGroups(RING, vnodeOfName(name));
    return group.filter((node) => this.taken.get(node)?.has(name)).length >= 2;
  }

  #start(): Life {
    const { random, timers, kept } = this;
    const hints = new Hints(this.disk, timers.clock);
    const marks = new Set(kept);
    const after = (ms: number, run: () => void): (() => void) =>
      timers.after(ms, () => {
        if (!life.isOver) run();
      });
    const options = {
      world: { self: SELF, clock: timers.clock, random, timers: { after }, log: () => undefined },
      view: {
        self: SELF,
        ring: RING,
        isUp: (node: NodeNumber) => node !== GONE && !this.down.has(node),
        replica: (node: NodeNumber) => this.#replica(node, after),
      },
      markForRepair: (vnode: number) => void marks.add(vnode),
      whenMarksKept: (done: () => void) => {
        const now = [...marks];
        after(random.below(4000), () => {
          for (const vnode of now) kept.add(vnode);
          done();
        });
      },
    };
    const replay = new HintReplay(
      options as unknown as CoordinatorOptions,
      { settle: () => undefined } as unknown as Coordinator,
      hints.log,
    );
    const life: Life = { hints, replay, marks, isOver: false };
    replay.start();
    return life;
  }

  #replica(node: NodeNumber, after: (ms: number, run: () => void) => void): Replica {
    const write = ({ record }: ReplicaWrite, done: (answer: WriteAnswer) => void): void => {
      const end = (status: number): void =>
        after(this.random.below(50), () =>
          done({ status, beat: 0, barred: false, newer: null, message: '' }),
        );
      if (this.down.has(node)) end(Status.TIMEOUT);
      else if (this.refusals > 0) {
        this.refusals--;
        this.done.refused++;
        const statuses = [Status.OVERLOADED, Status.SHARD_DOWN, Status.UNAVAILABLE];
        end(this.random.pick(this.#hasDamage ? [...statuses, Status.BAD_REQUEST] : statuses));
      } else {
        this.taken.get(node)?.add(nameOf(record));
        end(Status.OK);
      }
    };
    return { write } as unknown as Replica;
  }

  #add(): void {
    const { random } = this;
    for (let i = random.between(1, 4); i > 0; i--) {
      const name = `hint ${this.added.length}`;
      const target = random.pick(TARGETS);
      this.added.push({ name, target, life: this.#life });
      this.#life.hints.add(name, target, random.chance(0.05) ? limits.hintSegmentBytes : random.below(3000));
    }
  }
  /** Time and the disk go on side by side. */
  async #pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 250) {
      this.timers.advance(250);
      for (let turn = 0; turn < 3; turn++) {
        await Promise.resolve();
        if (this.disk.waiting > 0) this.disk.step(this.random.below(this.disk.waiting));
      }
    }
  }
  #turn(node: NodeNumber): void {
    if (!this.down.delete(node)) this.down.add(node);
  }
  #flip(): void {
    if (!this.#hasDamage) return;
    const files = TARGETS.flatMap((target) =>
      this.#life.hints.filesOf(`/data/hints/${target.toString(16).padStart(8, '0')}`),
    ).filter((path) => this.disk.bytesOf(path).length > 0);
    if (files.length > 0) this.disk.flipBit(this.random.pick(files), undefined, this.random.below(8));
  }
  async #crash(): Promise<void> {
    await Promise.resolve();
    this.#life.isOver = true;
    if (this.#hasDamage) this.disk = this.disk.powerCut(this.random);
    else {
      // What the process had begun is done by the system.
      this.disk.clearFaults();
      await this.#life.hints.settle();
    }
    this.#life = this.#start();
    this.done.crashes++;
  }
}

function vnodeOfName(name: string): number {
  hashToken(Buffer.from(name));
  return vnodeOf(token.hi, VNODES);
}
