/**
 * A cluster from which a node goes that keeps hints for another, and is stopped for good at the moment at which the others say that it has
 * left.
 */

import { expect } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token, vnodeOf } from '../../src/base/token.ts';
import { replicasOf } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { testSeed } from '../seed.ts';
import { Cluster } from './cluster.ts';
import { History } from './history.ts';
import type { Machine } from './machine.ts';
import { NodeProgram } from './node-program.ts';
import { plainPut } from './plain-put.ts';
import { Scheduler } from './scheduler.ts';
import { CALM, SimNetwork } from './sim-network.ts';

/** SIM_SEED=7 SIM_SEEDS=1 runs one seed again. */
export const firstSeed = Number(process.env.SIM_SEED ?? testSeed() % 1_000_000_000);
const count = Number(process.env.SIM_SEEDS ?? 4);
export const SECOND_US = 1_000_000;
const SETTLED_US = 120 * SECOND_US;
const TICK_US = 10_000;
export const MACHINES = 5;
const VNODES = 16;
const KEYS = 60;

/** Who leaves, and for whom it has hints. */
export interface Parting {
  readonly left: Machine;
  readonly target: Machine;
}

export class Scenario {
  readonly scheduler = new Scheduler();
  readonly random: Random;
  readonly history = new History();
  readonly cluster: Cluster;
  readonly acknowledged: string[] = [];

  /** By default whoever lacks something gets it by a hint or not at all. */
  constructor(seed: number, machines = MACHINES, repairIntervalMs = 0) {
    this.random = new Random(seed);
    const { random, scheduler } = this;
    this.cluster = new Cluster(
      {
        scheduler,
        network: new SimNetwork(scheduler, new Random(random.uint32()), CALM),
        history: this.history,
        tuning: { vnodes: VNODES, replicas: 3, gcGraceMs: 864_000_000, repairIntervalMs },
        defect: null,
        startProgram: (host) => new NodeProgram(host),
        verbose: true,
      },
      new Random(random.uint32()),
      1,
    );
    for (let i = 0; i < machines; i++) {
      const seeds = i === 0 ? [] : [(this.cluster.machines[0] as Machine).address];
      this.cluster.add({ seeds, replaces: 0 }, 0, 1);
    }
  }

  /**
   * One machine keeps hints for another, which it cannot reach, and every other machine can: those that they kept it has. With
   * `writtenMsAgo` all is written by one machine whose clock is so far behind.
   */
  async hinted(writtenMsAgo = 0): Promise<Parting> {
    const { machines } = this.cluster;
    await this.founded();
    const target = this.random.pick(machines.slice(1));
    const others = machines.filter((machine) => machine !== target);
    target.crash();
    const writers = writtenMsAgo === 0 ? others : others.slice(0, 1);
    for (const { clock } of writers) clock.jump(-writtenMsAgo);
    for (let i = 0; i < KEYS; i++) this.write(this.random.pick(writers), `key-${i}`);
    await this.until('all writes are answered', () => this.#answered === KEYS);
    expect(this.acknowledged.length).toBeGreaterThan(KEYS / 2);
    // Hints of those whose home replicas were asked a while.
    await this.until('hints are kept', () => others.filter(({ program }) => hintsOf(program) > 0).length > 1);
    await this.pass(6 * SECOND_US);
    const left = others
      .slice(1)
      .reduce((most, one) => (hintsOf(one.program) > hintsOf(most.program) ? one : most));
    expect(hintsOf(left.program)).toBeGreaterThan(0);
    this.setReach(left, target, false);
    target.start();
    await this.until('the target is back', () => target.isServing);
    return { left, target };
  }
  /** Whether messages pass between two machines. */
  setReach(a: Machine, b: Machine, reaches: boolean): void {
    const { network } = this.cluster.site;
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const)
      if (reaches) network.mend(from.name, to.name);
      else network.cut(from.name, to.name);
  }
  /** The one that leaves is stopped for good as soon as it has left; then everything heals. */
  async parted({ left, target }: Parting): Promise<void> {
    const { machines } = this.cluster;
    const stays = machines[0] as Machine;
    await this.until('it has left', () => isSettled(stays.program?.ring, MACHINES - 1));
    this.cluster.note(`${left.name} is stopped for good`);
    left.retire();
    this.cluster.site.network.mendAll();
    target.start();
    const staying = machines.filter((machine) => machine !== left);
    await this.until('no hint is left, and nothing to be repaired', () =>
      staying.every(
        ({ program }) =>
          isSettled(program?.ring, MACHINES - 1) && hintsOf(program) === 0 && program?.repairsWaiting === 0,
      ),
    );
  }

  /** One machine is drained, and another leaves then. */
  async drainBeforeLeave(): Promise<readonly [drained: Machine, left: Machine]> {
    const { machines } = this.cluster;
    const [stays, drained, left] = machines as [Machine, Machine, Machine];
    await this.founded();
    expect(machines.map(({ program }) => program?.notReady)).toEqual(machines.map(() => ''));
    void drained.program?.drain(0);
    await this.begun({ op: 'leave', node: left.number }, stays);
    await this.until('it has left, and all know', () =>
      machines.every(({ program }) => isSettled(program?.ring, MACHINES - 1)),
    );
    return [drained, left];
  }
  async founded(): Promise<void> {
    const { machines } = this.cluster;
    this.#tick();
    for (const machine of machines) machine.start();
    await this.until('all are members', () =>
      machines.every(({ program }) => isSettled(program?.ring, machines.length)),
    );
  }

  /** Acknowledged keys that a machine holds a replica of, by the ring of now, and has not got. */
  missingAt(machine: Machine): string[] {
    const { program } = machine;
    const ring = program?.ring;
    if (program === null || ring === null || ring === undefined)
      throw new Error(`${machine.name} does not run`);
    const held = new Set(program.dump().map(({ key }) => key));
    return this.acknowledged.filter((key) => {
      hashToken(Buffer.from(key));
      return replicasOf(ring, vnodeOf(token.hi, VNODES)).includes(machine.number) && !held.has(key);
    });
  }

  #answered = 0;
  get answered(): number {
    return this.#answered;
  }
  write(machine: Machine, key: string, deadlineMs = 5000): void {
    const { program } = machine;
    if (program === null) throw new Error(`${machine.name} does not run`);
    program.write(plainPut(key, true, deadlineIn(machine.processClock, deadlineMs)), ({ status }) => {
      this.#answered++;
      if (status === Status.OK) this.acknowledged.push(key);
    });
  }
  async begun(operation: { readonly op: 'leave'; readonly node: number }, at: Machine): Promise<void> {
    let isBegun = false;
    let isAsked = false;
    await this.until('the leave has begun', () => {
      if (!isBegun && !isAsked) {
        isAsked = true;
        const asked = at.program?.change(operation) ?? Promise.reject(new Error('it does not run'));
        asked.then(
          () => {
            isBegun = true;
          },
          (error: Error) => {
            this.cluster.note(`the leave is refused: ${error.message}`);
            this.scheduler.after(SECOND_US, () => {
              isAsked = false;
            });
          },
        );
      }
      return isBegun;
    });
  }

  /** Without events time stands still, and so do promises. */
  #tick(): void {
    this.scheduler.after(TICK_US, () => this.#tick());
  }
  async pass(us: number): Promise<void> {
    await this.scheduler.run(this.scheduler.nowUs + us);
  }
  async until(what: string, isDone: () => boolean): Promise<void> {
    await this.scheduler.run(this.scheduler.nowUs + SETTLED_US, isDone);
    if (!isDone()) throw new Error(`not within ${SETTLED_US / SECOND_US} s: ${what}`);
  }
}

export const hintsOf = (program: Machine['program']): number => program?.hintBytes ?? 0;
export const isSettled = (ring: RingMap | null | undefined, members: number): boolean =>
  ring?.change === null && ring.members.length === members;

/** Runs a scenario for each seed; what fails names it, and how it came to that. */
export async function forEachSeed(
  run: (scenario: Scenario) => Promise<void>,
  newScenario = (seed: number): Scenario => new Scenario(seed),
): Promise<void> {
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    const scenario = newScenario(seed);
    try {
      await run(scenario);
    } catch (error) {
      const { message } = error as Error;
      throw new Error(`seed ${seed}: ${message}\n${scenario.history.lines().slice(-60).join('\n')}`, {
        cause: error,
      });
    }
  }
}
