/**
 * One simulation from one seed: a cluster, clients, faults; then everything heals, and what clients were told and what
 * replicas hold is judged. The same seed and defect give the same history, byte for byte.
 */
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import { firstRing } from '../../src/cluster/ring-change.ts';
import { encodeRing } from '../../src/cluster/ring-codec.ts';
import { imageOf } from '../../src/node/cluster-documents.ts';
import { checkDeadlines } from './check-deadlines.ts';
import { checkQuorum, type Violation } from './check-quorum.ts';
import { compareReplicas, RingWatch } from './check-replicas.ts';
import { checkSerial } from './check-serial.ts';
import { Cluster } from './cluster.ts';
import { plantConnectionDefect } from './connection-defects.ts';
import { type ConnectionPlan, planConnections } from './connection-plan.ts';
import { Connections } from './connections.ts';
import { FAULTS_FOR, LASTING_GAPS, OF_HOT_KEYS } from './defect-settings.ts';
import type { Defect } from './defects.ts';
import { History } from './history.ts';
import { HotReads } from './hot-reads.ts';
import { type Knobs, resetKnobs, turnKnobs } from './knobs.ts';
import type { Machine } from './machine.ts';
import { FAULTS, type FaultName, Nemesis } from './nemesis.ts';
import { NodeProgram } from './node-program.ts';
import { Scheduler } from './scheduler.ts';
import { clientsOf, HOT_CHANCE, hotClientsOf, networkOf } from './settings.ts';
import { EPOCH_MS } from './sim-clock.ts';
import { SimNetwork } from './sim-network.ts';
import type { SimulationOptions, SimulationResult } from './simulation-result.ts';
import type { SiteNetwork } from './site-network.ts';
import { Workload } from './workload.ts';

const SECOND_US = 1_000_000;
/** By then a cluster that is left alone has started, and one whose faults have ended agrees about everything. */
const STARTED_US = 600 * SECOND_US;
const CONVERGED_US = 900 * SECOND_US;
const PATIENCE_US = 60 * SECOND_US;
const RING_LOOK_US = 20_000;
const PROBE_TRIES_MAX = 20;
const MACHINES_MAX = 6;
const RING_PATH = '/data/cluster/ring';

export async function simulate({
  seed,
  defect = null,
  hot = false,
  verbose = false,
  network = null,
}: SimulationOptions): Promise<SimulationResult> {
  const plan = planConnections(seed, defect, network);
  const takeOut = plantConnectionDefect(plan.defect);
  try {
    const simulation = new Simulation(seed, hot, verbose, plan);
    return await simulation.run();
  } finally {
    takeOut();
    resetKnobs();
  }
}

class Simulation {
  readonly #seed: number;
  readonly #random: Random;
  readonly #defect: Defect | null;
  readonly #scheduler = new Scheduler();
  readonly #history = new History();
  readonly #network: SiteNetwork;
  /** null where machines exchange messages alone. */
  readonly #connections: Connections | null;
  readonly #cluster: Cluster;
  readonly #workload: Workload;
  readonly #nemesis: Nemesis;
  readonly #rings = new RingWatch();
  readonly #knobs: Knobs;
  readonly #machines: number;
  readonly #faults: readonly FaultName[];
  readonly #isFounded: boolean;
  /** Clients that meet on a key or two all the time: settings.ts. */
  readonly #isHot: boolean;
  readonly #replicas: number;
  readonly #vnodes: number;
  #convergedMs = 0;
  #undecided = 0;
  #slowestHotReadMs = 0;
  #restartedUs = 0;
  #changing = { ring: 0, sinceUs: 0 };

  constructor(seed: number, hot: boolean, verbose: boolean, plan: ConnectionPlan) {
    const defect = plan.otherDefect;
    const random = new Random(seed);
    this.#seed = seed;
    this.#random = random;
    this.#defect = defect;
    this.#knobs = turnKnobs(random, defect === 'purge-early', defect !== null && LASTING_GAPS.has(defect));
    const ofNetwork = new Random(random.uint32());
    const profile = networkOf(random);
    this.#connections = plan.hasConnections
      ? new Connections(this.#scheduler, ofNetwork, profile, plan.defect)
      : null;
    this.#network = this.#connections?.network ?? new SimNetwork(this.#scheduler, ofNetwork, profile);
    this.#replicas = random.pick([3, 3, 3, 2, 5]);
    this.#machines = Math.max(this.#replicas, random.pick([3, 3, 4, 5]));
    // Enough for each machine to own some, or keys would have fewer replicas.
    this.#vnodes = random.pick([8, 16, 32]);
    this.#isFounded = random.chance(0.8) && this.#connections?.needsSeeds !== true;
    const tuning = {
      vnodes: this.#vnodes,
      replicas: this.#replicas,
      gcGraceMs: this.#knobs.gcGraceMs,
      // Each repair gives tombstones to all replicas in time.
      repairIntervalMs: defect !== null && LASTING_GAPS.has(defect) ? 30_000 : random.pick([10_000, 30_000]),
    };
    this.#cluster = new Cluster(
      {
        scheduler: this.#scheduler,
        network: this.#network,
        history: this.#history,
        tuning,
        defect,
        startProgram: (host) => new NodeProgram(host),
        verbose,
      },
      new Random(random.uint32()),
      random.between(1, 3),
    );
    this.#isHot = (defect === null ? random.chance(HOT_CHANCE) : OF_HOT_KEYS.has(defect)) || hot;
    const clientRandom = new Random(random.uint32());
    this.#workload = new Workload(
      this.#cluster,
      clientRandom,
      this.#isHot ? hotClientsOf(random) : clientsOf(random, defect),
    );
    const wanted = defect === null ? [] : FAULTS_FOR[defect];
    this.#faults = FAULTS.filter(
      (fault) => random.chance(fault === 'wipe' ? 0.2 : 0.4) || wanted.includes(fault),
    );
    this.#nemesis = new Nemesis(this.#cluster, new Random(random.uint32()), {
      faults: this.#faults,
      meanUs: random.pick([0.3, 1, 4]) * SECOND_US,
      skewMsMax: this.#knobs.skewMsMax,
      machinesMax: MACHINES_MAX,
      replicas: this.#replicas,
    });
  }

  async run(): Promise<SimulationResult> {
    this.#found();
    this.#watchRings();
    const violations: Violation[] = [];
    if (!(await this.#until(() => this.#isWhole(), STARTED_US)))
      return this.#result([this.#late('the cluster starts', STARTED_US)]);
    this.#history.note(this.#scheduler.nowUs, 'the cluster has started');
    const periodUs = (this.#defect === 'purge-early' ? 60 : this.#random.pick([10, 30, 60])) * SECOND_US;
    this.#nemesis.start();
    this.#connections?.start(this.#cluster);
    this.#workload.start();
    await this.#until(() => this.#workload.isDone, periodUs);
    this.#workload.end();
    this.#nemesis.end();
    this.#connections?.end();
    this.#history.note(this.#scheduler.nowUs, 'all faults end');
    this.#cluster.heal();
    const healedUs = this.#scheduler.nowUs;
    await this.#until(() => this.#workload.isDone, 60 * SECOND_US);
    if (await this.#converge()) {
      this.#convergedMs = (this.#scheduler.nowUs - healedUs) / 1000;
      await this.#probe();
      const members = this.#members();
      const ring = members[0]?.program?.ring;
      const nowMs = EPOCH_MS + this.#scheduler.nowUs / 1000;
      if (ring !== null && ring !== undefined)
        violations.push(...compareReplicas(members, ring, nowMs, nowMs - this.#knobs.forgottenMs));
      if (this.#isHot) violations.push(...(await this.#readHotKey()));
      // Last: it takes its time, in which a change of the ring that somebody still waits for may begin.
      if (this.#connections !== null)
        violations.push(...(await this.#connections.check(() => this.#members(), this.#until)));
    } else violations.push(this.#late('the cluster is whole again', CONVERGED_US));
    violations.push(...this.#rings.violations, ...checkQuorum(this.#history, this.#knobs.apartMsMax));
    violations.push(...checkDeadlines(this.#history));
    violations.push(
      ...checkSerial(
        this.#history,
        (key) => key.startsWith('serial-'),
        () => this.#undecided++,
      ),
    );
    return this.#result(violations);
  }

  // ------------------------------------------------------------------------------------------------- phases

  /** Machines with their first ring on their disks, or which join one by one. */
  #found(): void {
    const addresses = Array.from({ length: this.#machines }, (_, i) => `n${i + 1}:7000`);
    for (let i = 0; i < this.#machines; i++) {
      const seeds = this.#isFounded ? addresses : i === 0 ? [] : addresses.slice(0, i);
      const max = this.#knobs.skewMsMax;
      const told = this.#connections?.seedsOf(seeds) ?? seeds;
      this.#cluster.add({ seeds: told, replaces: 0 }, this.#random.between(-max, max), 1);
    }
    const { machines } = this.#cluster;
    if (this.#isFounded) {
      const shape = {
        clusterName: 'sim',
        clusterId: '5'.repeat(32),
        vnodes: this.#vnodes,
        replicas: this.#replicas,
      };
      const members = machines.map(({ number, nodeId, address, rack }) => ({
        number,
        nodeId,
        address,
        url: '',
        rack,
        zone: '',
        weight: 1,
      }));
      const ring = encodeRing(firstRing(shape, members));
      for (const { disk } of machines) disk.used.place(RING_PATH, imageOf(RING_PATH, ring));
    }
    this.#connections?.found(this.#cluster);
    for (const machine of machines) machine.start();
  }

  /** All that were there at first are members, and see each other. */
  #isWhole(): boolean {
    const { machines } = this.#cluster;
    return machines.every(({ program }) => {
      const ring = program?.ring;
      return (
        program?.isOpen === true &&
        ring !== null &&
        ring !== undefined &&
        ring.change === null &&
        ring.members.length === machines.length
      );
    });
  }

  #watchRings(): void {
    for (const machine of this.#cluster.machines) this.#rings.look(machine);
    this.#scheduler.after(RING_LOOK_US, () => this.#watchRings());
  }

  /** Until all members have one ring, repaired all that they hold, and keep no hints. */
  async #converge(): Promise<boolean> {
    const endUs = this.#scheduler.nowUs + CONVERGED_US;
    const left = (): number => endUs - this.#scheduler.nowUs;
    const isQuiet = (): boolean =>
      this.#isAgreed() &&
      this.#members().every(({ program }) => program?.hintBytes === 0 && program.repairsWaiting === 0);
    if (!(await this.#until(() => this.#isAgreed(), left()))) return false;
    // Hints first: a repair that starts before them would have to see them twice.
    if (!(await this.#until(isQuiet, left()))) return false;
    for (const { program } of this.#members()) program?.repair();
    return await this.#until(isQuiet, left());
  }

  /** All members have one ring that stands still, and none of them is being shut down. */
  #isAgreed(): boolean {
    this.#retireRemoved();
    // Who was being shut down when everybody else was started.
    for (const machine of this.#cluster.present) machine.start();
    this.#restartWaiting();
    const members = this.#members();
    const ring = members[0]?.program?.ring;
    if (ring === null || ring === undefined) return false;
    if (ring.change !== null) {
      this.#undoStuck(ring.number);
      return false;
    }
    return (
      ring.members.length === members.length &&
      members.every(
        ({ program, isStopping }) =>
          program?.isOpen === true && !isStopping && program.ring?.number === ring.number,
      )
    );
  }

  /** An operator takes back a change that waits for somebody who is gone. */
  #undoStuck(ring: number): void {
    const { nowUs } = this.#scheduler;
    if (this.#changing.ring !== ring) this.#changing = { ring, sinceUs: nowUs };
    if (nowUs - this.#changing.sinceUs < PATIENCE_US) return;
    this.#changing = { ring, sinceUs: nowUs };
    this.#history.note(nowUs, `ring ${ring} is undone`);
    // Where it is too late for that it goes on.
    this.#random
      .pick(this.#members())
      .program?.change({ op: 'undo' })
      .catch(() => undefined);
  }

  /** An operator restarts who was to take a lost node's place and was told that the change is undone. */
  #restartWaiting(): void {
    const { nowUs } = this.#scheduler;
    if (nowUs - this.#restartedUs < PATIENCE_US) return;
    this.#restartedUs = nowUs;
    for (const machine of this.#cluster.present)
      if (machine.role.replaces !== 0 && machine.program?.standing === 'waiting')
        machine.shutDown(() => machine.start());
  }

  #members(): Machine[] {
    return this.#cluster.present.filter(({ program }) => program?.standing === 'member');
  }
  #retireRemoved(): void {
    for (const machine of this.#cluster.present)
      if (machine.program?.standing === 'removed') machine.retire();
  }

  /** Reads every key once more, from any member. */
  async #probe(): Promise<void> {
    for (const key of this.#workload.keys) {
      const level = key.startsWith('serial-') ? Consistency.SERIAL : Consistency.QUORUM;
      for (let tries = 0, isAnswered = false; !isAnswered; tries++) {
        if (tries === PROBE_TRIES_MAX) throw new Error(`${key} cannot be read after all faults have ended`);
        let isOver = false;
        this.#workload.probe(this.#random.pick(this.#members()), key, level, ({ status }) => {
          isAnswered = status === Status.OK;
          isOver = true;
        });
        await this.#until(() => isOver, 60 * SECOND_US);
      }
    }
  }

  /** While nothing fails and the ring stands still. */
  async #readHotKey(): Promise<readonly Violation[]> {
    // A change that somebody waits for may have begun meanwhile.
    const hasWaited = await this.#connections?.outlast(() => this.#members(), this.#until);
    if (hasWaited === true && !(await this.#until(() => this.#isAgreed(), CONVERGED_US)))
      return [this.#late('the cluster is whole again', CONVERGED_US)];
    const reads = new HotReads(this.#scheduler, this.#workload, this.#members());
    reads.start();
    await this.#until(() => reads.isDone(), 60 * SECOND_US);
    this.#slowestHotReadMs = reads.slowestUs / 1000;
    return reads.violations;
  }

  readonly #until = async (isDone: () => boolean, us: number): Promise<boolean> => {
    await this.#scheduler.run(this.#scheduler.nowUs + us, isDone);
    return isDone();
  };

  // ------------------------------------------------------------------------------------------------- result

  #late(what: string, us: number): Violation {
    const state = this.#cluster.present
      .map(({ name, state: machineState, program }) => {
        const ring = program?.ring;
        return (
          `${name} ${machineState} ${program?.standing} ring ${ring?.number} ${ring?.change?.phase ?? ''} ` +
          `hints ${program?.hintBytes} repairs ${program?.repairsWaiting}`
        );
      })
      .join('; ');
    return { promise: `h: ${what} within ${us / SECOND_US} s`, key: '', what: state };
  }

  #result(violations: readonly Violation[]): SimulationResult {
    const { operations } = this.#history;
    const ring = this.#members()[0]?.program?.ring;
    return {
      seed: this.#seed,
      violations,
      history: this.#history,
      setting:
        `${this.#machines} machines${this.#isFounded ? '' : ' that join'}, ${this.#replicas} replicas, ${this.#vnodes} vnodes, ` +
        `${this.#isHot ? 'hot keys, ' : ''}clocks within ${this.#knobs.skewMsMax} ms, ${this.#knobs.purges ? `gc_grace ${this.#knobs.gcGraceMs} ms` : 'nothing purged'}` +
        `${this.#defect === null ? '' : `, defect ${this.#defect}`}; faults: ${this.#faults.join(' ')}${this.#connections?.setting ?? ''}`,
      stats: {
        events: this.#scheduler.events,
        virtualMs: this.#scheduler.nowUs / 1000,
        operations: operations.length,
        acknowledged: operations.filter(({ status }) => status === Status.OK).length,
        messages: this.#network.sent,
        rings: ring?.number ?? 0,
        convergedMs: this.#convergedMs,
        undecided: this.#undecided,
        slowestHotReadMs: this.#slowestHotReadMs,
        resurrections: this.#cluster.present.reduce(
          (sum, { program }) => sum + (program?.resurrections ?? 0),
          0,
        ),
      },
    };
  }
}
