/**
 * What is done to connections and addresses of a simulated cluster, beside what the nemesis does to machines and links. Each seed has some
 * of it. An operator who moves several nodes at once tells each where others are now: nobody else could.
 */
import type { Random } from '../../src/base/random.ts';
import type { Cluster } from './cluster.ts';
import type { ConnectionNetwork } from './connection-network.ts';
import type { Machine } from './machine.ts';
import { Strikes } from './strikes.ts';
import type { TcpEnd } from './tcp-end.ts';

export const CONNECTION_FAULTS = [
  /** One of the connections between two machines is reset, at both ends or at one. */
  'reset',
  /** Nothing passes over one connection any more, in one direction or both; others are made and serve. */
  'stall',
  /** Connections cannot be made from one machine; those that are there serve. */
  'no-dials',
  /** A process is killed and started again on a machine that goes on. */
  'kill',
  /** A node starts again at another address; the old one leads nowhere, to nobody, to another node, or out of the cluster. */
  'move',
  /** Two nodes start again, each at the address of the other. */
  'swap',
] as const;
export type ConnectionFault = (typeof CONNECTION_FAULTS)[number];

const SECOND_US = 1_000_000;
/** By then all know a new address, and have it on their disks. */
const SETTLED_US = 10 * SECOND_US;
/** Hosts outside of the cluster that addresses may come to lead to. */
export const STRANGERS = ['x1', 'x2'] as const;
const PORT = 7000;

export class ConnectionFaults extends Strikes<ConnectionFault> {
  readonly #network: ConnectionNetwork;
  #moves = 0;
  /** Of the last change of addresses, and until when there is none because of one who was told nothing. */
  #movedUs = Number.NEGATIVE_INFINITY;
  #restUntilUs = 0;

  constructor(
    cluster: Cluster,
    network: ConnectionNetwork,
    random: Random,
    faults: readonly ConnectionFault[],
    meanUs: number,
  ) {
    super(cluster, random, faults, meanUs);
    this.#network = network;
  }

  protected override strike(fault: ConnectionFault): void {
    const up = this.cluster.present.filter(({ state, isStopped }) => state === 'running' && !isStopped);
    if (up.length === 0) return;
    const victim = this.random.pick(up);
    switch (fault) {
      case 'reset':
      case 'stall':
        this.#hit(fault, victim);
        return;
      case 'no-dials':
        this.#dropDials(victim);
        return;
      case 'kill':
        this.cluster.note(`${victim.name} is killed`);
        victim.kill();
        this.#later(this.random.pick([0.2, 4]), victim, () => this.#startSlowly(victim));
        return;
      case 'move':
        if (this.#mayMove) this.#move(victim);
        return;
      case 'swap':
        if (this.#mayMove) this.#swap(victim, this.random.pick(up));
    }
  }

  #later(secondsMax: number, machine: Machine, run: () => void): void {
    this.after(this.seconds(0.02, secondsMax), () => {
      if (machine.state !== 'down') return;
      this.cluster.note(`${machine.name} starts at ${machine.address}`);
      run();
    });
  }

  /** While its shards recover it listens, and serves nobody: long enough for others to find it there, and to ask it. */
  #startSlowly(machine: Machine): void {
    if (this.random.chance(0.5)) machine.recoveryMs = this.seconds(0.5, 5) / 1000;
    machine.start();
  }

  // ---------------------------------------------------------------------------------------------- connections

  #hit(fault: 'reset' | 'stall', { name }: Machine): void {
    const ends = [...this.#network.tcp.host(name).ends].filter(
      ({ isClosed, other }) => !isClosed && other !== null,
    );
    if (ends.length === 0) return;
    const end = this.random.pick(ends);
    const other = end.other as TcpEnd;
    const sides = this.random.below(3);
    this.cluster.note(`${fault} of a connection between ${name} and ${other.host.name} (${sides})`);
    if (fault === 'stall') {
      end.stall(sides !== 1, sides !== 2);
      return;
    }
    if (sides !== 1) end.wasReset('read ECONNRESET');
    if (sides !== 2) other.wasReset('read ECONNRESET');
  }

  #dropDials({ name }: Machine): void {
    const others = this.cluster.present.filter((machine) => machine.name !== name && this.random.chance(0.6));
    const { links } = this.#network.tcp;
    this.cluster.note(`no dials from ${name} to ${others.map((other) => other.name).join()}`);
    for (const other of others) links.dropDials(name, other.name, true);
    this.after(this.seconds(0.1, this.random.pick([1, 5, 15])), () => {
      this.cluster.note(`dials from ${name} pass again`);
      for (const other of others) links.dropDials(name, other.name, false);
    });
  }

  // ------------------------------------------------------------------------------------------------ addresses

  /** Its process ends somehow. */
  #halt(machine: Machine, then: () => void): void {
    if (this.random.chance(0.4)) {
      machine.shutDown(then);
      return;
    }
    if (this.random.chance(0.5)) machine.crash();
    else machine.kill();
    then();
  }

  get #nowUs(): number {
    return this.cluster.site.scheduler.nowUs;
  }
  get #mayMove(): boolean {
    return this.#nowUs >= this.#restUntilUs;
  }

  /** One that comes back alone, while all others are where it knows them, needs nobody to tell it where they are. */
  #findsOthers(machine: Machine): boolean {
    const isQuiet = this.#nowUs - this.#movedUs > SETTLED_US;
    const areThere = this.cluster.present.every(
      ({ state, program }) => state === 'running' && program?.isOpen === true,
    );
    return isQuiet && areThere && machine.program?.standing === 'member' && this.random.chance(0.5);
  }

  #move(machine: Machine): void {
    const findsOthers = this.#findsOthers(machine);
    if (findsOthers) this.#restUntilUs = this.#nowUs + 2 * SETTLED_US;
    this.#movedUs = this.#nowUs;
    this.#halt(machine, () => {
      const was = machine.address;
      const [oldName = ''] = was.split(':');
      if (this.random.chance(0.3)) machine.address = `${oldName}:${PORT + ++this.#moves}`;
      else {
        machine.address = `${machine.name}-${++this.#moves}:${PORT}`;
        this.#giveAway(oldName, machine);
      }
      this.cluster.note(`${machine.name} moves from ${was} to ${machine.address}`);
      if (!findsOthers) this.#tellSeeds(machine);
      this.#later(2, machine, () => machine.start());
    });
  }

  #giveAway(name: string, from: Machine): void {
    const { tcp } = this.#network;
    const others = this.cluster.present.filter((machine) => machine !== from);
    const heir = this.random.pick([
      null,
      from.name,
      this.random.pick(STRANGERS),
      ...others.map((other) => other.name),
    ]);
    tcp.assign(name, heir === null ? null : tcp.host(heir));
    this.cluster.note(`the name ${name} leads to ${heir ?? 'nobody'}`);
  }

  #swap(one: Machine, other: Machine): void {
    if (one === other) return;
    this.#movedUs = this.#nowUs;
    this.#halt(one, () => {
      // It may have ended meanwhile.
      if (other.state !== 'running' || other.isStopped || one.state !== 'down') {
        this.#later(1, one, () => one.start());
        return;
      }
      this.#halt(other, () => {
        if (one.state === 'down' && other.state === 'down') this.#exchange(one, other);
        for (const machine of [one, other]) this.#later(2, machine, () => machine.start());
      });
    });
  }
  #exchange(one: Machine, other: Machine): void {
    const { address } = one;
    one.address = other.address;
    other.address = address;
    this.cluster.note(`${one.name} and ${other.name} swap addresses: ${one.address}, ${other.address}`);
    for (const machine of [one, other]) {
      const [name = ''] = machine.address.split(':');
      this.#network.tcp.assign(name, this.#network.tcp.host(machine.name));
      this.#tellSeeds(machine);
    }
  }

  #tellSeeds(machine: Machine): void {
    const seeds = this.cluster.present.filter((other) => other !== machine).map(({ address }) => address);
    machine.role = { ...machine.role, seeds };
  }
}
