/**
 * A simulation whose machines have connections and addresses (connection-network.ts): what is done to those, strangers, and calls from
 * node to node all the time. Checked of it:
 *
 * (k) messages, limits and strangers: connection-network.ts, strangers.ts;
 * (l) a call ends by its deadline; one with a long deadline soon after what held it up has ended, by an answer or a lost connection;
 * (m) when faults have ended, all members soon see and have each other, at whatever address, and answer each other; connections over which
 *     nothing comes any more are given up by then.
 */
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type { Violation } from './check-quorum.ts';
import type { Cluster } from './cluster.ts';
import { type ConnectionDefect, FAULTS_FOR_CONNECTION_DEFECT } from './connection-defects.ts';
import { CONNECTION_FAULTS, type ConnectionFault, ConnectionFaults } from './connection-faults.ts';
import { ConnectionNetwork } from './connection-network.ts';
import type { Machine } from './machine.ts';
import type { Scheduler } from './scheduler.ts';
import { type SeedList, seedListOf, seedsBy, turnName } from './seed-lists.ts';
import type { NetworkProfile } from './sim-network.ts';
import { Strangers } from './strangers.ts';

const SECOND_US = 1_000_000;
const ASK_MEAN_US = 300_000;
/** A deadline that no fault outlasts. */
const LONG_MS = 1_800_000;
/** Beyond a deadline: the look for calls whose time is up. */
const LATE_MS = limits.peerCallScanMs + 100;
/** When faults have ended, connections that are dead are found within peerIdleMs, and all is silent but what goes on by itself. */
const QUIET_US = 4 * limits.peerIdleMs * 1000;
const REACH_US = 60 * SECOND_US;
/** Longer than anything takes on a calm network. */
const HELD_UP_US = 50_000;

/** Runs for so long at most; true where it holds. */
type Until = (holds: () => boolean, us: number) => Promise<boolean>;
/** Of a machine, what its connections are judged by. */
interface Member extends Pick<Machine, 'name' | 'number'> {
  readonly program: Pick<NonNullable<Machine['program']>, 'reaches'> | null;
}
interface Asked {
  readonly from: Machine;
  readonly program: Machine['program'];
  readonly to: string;
  readonly atUs: number;
}

export class Connections {
  readonly network: ConnectionNetwork;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #faultNames: readonly ConnectionFault[];
  readonly #seedList: SeedList;
  readonly #meanUs: number;
  #faults: ConnectionFaults | null = null;
  #strangers: Strangers | null = null;
  #isEnded = false;
  readonly #longCalls = new Set<Asked>();
  calls = 0;

  constructor(
    scheduler: Scheduler,
    random: Random,
    profile: NetworkProfile,
    defect: ConnectionDefect | null,
  ) {
    this.#scheduler = scheduler;
    this.#random = random;
    turnLimits(random, defect);
    this.network = new ConnectionNetwork(scheduler, new Random(random.uint32()), profile, defect);
    const wanted = defect === null ? [] : FAULTS_FOR_CONNECTION_DEFECT[defect];
    this.#faultNames = CONNECTION_FAULTS.filter((fault) => random.chance(0.5) || wanted.includes(fault));
    this.#meanUs = random.pick([0.3, 1, 3]) * SECOND_US;
    this.#seedList = seedListOf(random, defect);
  }

  /** Nodes must find their cluster by seeds, as on their first day. */
  get needsSeeds(): boolean {
    return this.#seedList !== 'addresses';
  }
  /** What nodes are told that are to find those at these addresses. */
  seedsOf(addresses: readonly string[]): readonly string[] {
    return seedsBy(this.#seedList, addresses);
  }
  /** All machines are there, and none runs yet. */
  found(cluster: Cluster): void {
    if (this.#seedList === 'one-name') turnName(this.network.tcp, cluster);
  }

  get setting(): string {
    return `; connections: ${this.#faultNames.join(' ')}, seeds: ${this.#seedList}`;
  }

  start(cluster: Cluster): void {
    const random = this.#random;
    this.#strangers = new Strangers(cluster, this.network, new Random(random.uint32()));
    this.#strangers.start();
    this.#faults = new ConnectionFaults(
      cluster,
      this.network,
      new Random(random.uint32()),
      this.#faultNames,
      this.#meanUs,
    );
    this.#faults.start();
    this.#ask(cluster);
  }
  end(): void {
    this.#faults?.end();
  }

  // --------------------------------------------------------------------------------------------------- calls

  #ask(cluster: Cluster): void {
    if (this.#isEnded) return;
    const random = this.#random;
    const { serving, present } = cluster;
    if (serving.length > 0 && present.length > 1) {
      const from = random.pick(serving);
      const to = random.pick(present.filter((machine) => machine !== from));
      this.#call(from, to, random.chance(0.3) ? LONG_MS : random.between(50, 3000));
    }
    this.#scheduler.after(random.below(2 * ASK_MEAN_US), () => this.#ask(cluster));
  }

  #call(from: Machine, to: Machine, timeoutMs: number): void {
    const asked: Asked = { from, program: from.program, to: to.name, atUs: this.#scheduler.nowUs };
    let ends = 0;
    const isAsked = from.program?.ask(to.number, timeoutMs, () => {
      this.#longCalls.delete(asked);
      if (++ends > 1) this.#breach('a call ends once', asked);
    });
    if (isAsked !== true) return;
    this.calls++;
    if (timeoutMs === LONG_MS) {
      if (ends === 0) this.#longCalls.add(asked);
    } else
      from.after(timeoutMs + LATE_MS, () => {
        if (ends === 0) this.#breach(`a call of ${timeoutMs} ms ends by its deadline`, asked);
      });
  }
  #breach(what: string, { from, to, atUs }: Asked): void {
    this.network.violations.push({
      promise: `l: ${what}`,
      key: '',
      what: `from ${from.name} to ${to}, at ${(atUs / 1000).toFixed(0)} ms`,
    });
  }

  // ------------------------------------------------------------------------------------------------- the end

  /**
   * Faults of connections outlast their end: one that passes nothing is used until a node has heard nothing over it for peerIdleMs, and
   * TCP waits before it sends again what it could not deliver. Runs until none of that is left between members, and all have each
   * other. False where there was nothing to wait for: no event has happened.
   */
  async outlast(members: () => readonly Member[], until: Until): Promise<boolean> {
    const heldUp = (): string[] => {
      const names = new Set(members().map(({ name }) => name));
      return [...names].flatMap((name) =>
        [...this.network.tcp.host(name).ends]
          .filter((end) => names.has(end.other?.host.name ?? '') && end.isHeldUp(HELD_UP_US))
          .map((end) => `${name} ${end.other?.host.name}`),
      );
    };
    if (heldUp().length === 0) return false;
    if (!(await until(() => heldUp().length === 0, QUIET_US)))
      this.#late(`m: no connection is held up ${QUIET_US / SECOND_US} s later`, heldUp().join('; '));
    await this.#reach(members, until);
    return true;
  }

  /** All faults have ended, and `members` are one cluster again, though a change that somebody waits for may begin. */
  async check(members: () => readonly Machine[], until: Until): Promise<readonly Violation[]> {
    this.#isEnded = true;
    await this.#reach(members, until);
    await until(() => false, QUIET_US);
    for (const asked of this.#longCalls)
      if (asked.from.program === asked.program && asked.program !== null)
        this.#breach('a call ends when its connection is lost', asked);
    this.network.checkUnderWay(QUIET_US / 2);
    await this.#callAll(members(), until);
    this.#strangers?.end();
    return this.network.violations;
  }

  async #reach(members: () => readonly Member[], until: Until): Promise<void> {
    const apart = (): string[] =>
      members().flatMap((from) =>
        members()
          .filter((to) => to !== from && from.program?.reaches(to.number) !== true)
          .map((to) => `${from.name} ${to.name}`),
      );
    if (!(await until(() => apart().length === 0, REACH_US)))
      this.#late(`m: all members have each other within ${REACH_US / SECOND_US} s`, apart().join('; '));
  }

  async #callAll(members: readonly Machine[], until: Until): Promise<void> {
    const missing = new Set<string>();
    for (const from of members)
      for (const to of members) {
        if (from === to) continue;
        const pair = `${from.name} ${to.name}`;
        missing.add(pair);
        from.program?.ask(to.number, 2000, (status) => {
          if (status === Status.OK) missing.delete(pair);
        });
      }
    if (!(await until(() => missing.size === 0, 3 * SECOND_US)))
      this.#late('m: all members answer each other', [...missing].join('; '));
  }
  #late(promise: string, what: string): void {
    this.network.violations.push({ promise, key: '', what });
  }
}

/** Few seeds and small queues, so that their bounds are met. They keep what src/base/limits.ts demands of the order of such limits. */
function turnLimits(random: Random, defect: ConnectionDefect | null): void {
  const settable: { -readonly [Name in keyof typeof limits]: number } = limits;
  settable.peerSeedsMax = defect === 'dead-seeds-fill' ? 2 : random.pick([2, 4, limits.peerSeedsMax]);
  settable.peerBatchBytes = random.pick([2048, 16 * 1024, limits.peerBatchBytes]);
}
