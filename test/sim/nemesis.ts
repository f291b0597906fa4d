/**
 * What is done to a simulated cluster while clients use it. Each seed uses some of the faults and not others, at a rate of
 * its own: a simulation in which everything fails all the time shows less than many in which some things do.
 */
import type { Random } from '../../src/base/random.ts';
import { quorumOf } from '../../src/cluster/ring-lookup.ts';
import type { TopologyOperation } from '../../src/cluster/ring-messages.ts';
import type { Cluster } from './cluster.ts';
import type { Machine } from './machine.ts';
import { Strikes } from './strikes.ts';

export const FAULTS = [
  'crash',
  'restart',
  'pause',
  'partition',
  'one-way',
  'slow-link',
  'lossy-link',
  'clock',
  'slow-disk',
  'blackout',
  'compact',
  'repair',
  'topology',
  'wipe',
] as const;
export type FaultName = (typeof FAULTS)[number];

export interface NemesisOptions {
  readonly faults: readonly FaultName[];
  readonly meanUs: number;
  readonly skewMsMax: number;
  readonly machinesMax: number;
  readonly replicas: number;
}

export class Nemesis extends Strikes<FaultName> {
  readonly #options: NemesisOptions;
  #hasWiped = false;

  constructor(cluster: Cluster, random: Random, options: NemesisOptions) {
    super(cluster, random, options.faults, options.meanUs);
    this.#options = options;
  }

  protected override strike(fault: FaultName): void {
    const present = this.cluster.present;
    const up = present.filter(({ state }) => state === 'running');
    if (up.length === 0) return;
    const victim = this.random.pick(up);
    switch (fault) {
      case 'crash':
        this.#note(`${victim.name} loses power`);
        victim.crash();
        this.#later(this.random.pick([1, 4, 15]), victim, () => victim.start());
        return;
      case 'restart':
        this.#note(`${victim.name} is shut down`);
        victim.shutDown(() => this.#later(1, victim, () => victim.start()));
        return;
      case 'pause':
        this.#note(`${victim.name} stops`);
        victim.pause();
        this.#later(this.random.pick([0.3, 3, 12]), victim, () => victim.resume());
        return;
      case 'blackout':
        this.#note('all machines lose power');
        for (const machine of up) {
          machine.crash();
          this.#later(3, machine, () => machine.start());
        }
        return;
      case 'clock':
        this.#turnClock(victim);
        return;
      case 'slow-disk':
        this.#note(`the disk of ${victim.name} is slow`);
        victim.disk.slowness = this.random.pick([10, 100, 1000]);
        this.after(this.seconds(0.5, 5), () => {
          victim.disk.slowness = 1;
        });
        return;
      case 'compact':
        this.#note(`${victim.name} compacts its tables`);
        // A crash, or a stop, in the middle of it ends it.
        victim.program?.compact().catch(() => undefined);
        return;
      case 'repair':
        this.#note(`${victim.name} repairs all that it holds`);
        victim.program?.repair();
        return;
      case 'topology':
        this.#changeTopology();
        return;
      case 'wipe':
        this.#wipe(victim);
        return;
      default:
        this.#impair(fault, present);
    }
  }

  #later(secondsMax: number, machine: Machine, run: () => void): void {
    this.after(this.seconds(0.05, secondsMax), () => {
      if (machine.state === 'retired') return;
      this.#note(`${machine.name} goes on`);
      run();
    });
  }

  // ---------------------------------------------------------------------------------------- network, clocks

  #impair(fault: 'partition' | 'one-way' | 'slow-link' | 'lossy-link', present: readonly Machine[]): void {
    const { network } = this.cluster.site;
    const inside = present.filter(() => this.random.chance(0.4));
    const outside = present.filter((machine) => !inside.includes(machine));
    const links: [string, string][] = [];
    for (const a of inside)
      for (const b of outside) {
        links.push([a.name, b.name]);
        if (fault !== 'one-way') links.push([b.name, a.name]);
      }
    if (links.length === 0) return;
    const slowness = this.random.pick([10, 100, 1000]);
    const loss = this.random.pick([0.05, 0.3, 0.8]);
    this.#note(
      `${fault}: ${inside.map(({ name }) => name).join()} | ${outside.map(({ name }) => name).join()}`,
    );
    for (const [from, to] of links)
      if (fault === 'partition' || fault === 'one-way') network.cut(from, to);
      else network.impair(from, to, fault === 'slow-link' ? slowness : 1, fault === 'lossy-link' ? loss : 0);
    this.after(this.seconds(0.1, this.random.pick([1, 5, 20])), () => {
      this.#note(`${fault} ends`);
      for (const [from, to] of links)
        if (fault === 'partition' || fault === 'one-way') network.mend(from, to);
        else network.impair(from, to, 1, 0);
    });
  }

  #turnClock({ clock, name }: Machine): void {
    const max = this.#options.skewMsMax;
    if (max === 0) return;
    if (this.random.chance(0.3)) {
      const rate = this.random.pick([0.995, 1, 1.005]);
      clock.setRate(rate);
      this.#note(`the clock of ${name} runs at ${rate}`);
      return;
    }
    const skewMs = this.random.between(-max, max);
    clock.jump(skewMs - clock.skewMs);
    this.#note(`the clock of ${name} is set ${skewMs} ms off`);
  }

  // ----------------------------------------------------------------------------------------------- topology

  #changeTopology(): void {
    const members = this.cluster.serving.filter(({ program }) => program?.standing === 'member');
    const asked = members.length === 0 ? null : this.random.pick(members);
    const ring = asked?.program?.ring;
    if (asked === null || ring === null || ring === undefined) return;
    const dice = this.random.below(100);
    const chosen = this.random.pick(ring.members);
    if (dice < 35) this.#addMachine();
    else if (dice < 65 && ring.members.length > this.#options.replicas)
      this.#ask(asked, { op: 'leave', node: chosen.number });
    else if (dice < 80)
      this.#ask(asked, { op: 'reweigh', member: { ...chosen, weight: this.random.pick([0.5, 1, 2]) } });
    else this.#ask(asked, { op: 'undo' });
  }

  #addMachine(): void {
    if (this.cluster.present.length >= this.#options.machinesMax) return;
    const machine = this.cluster.add({ seeds: this.cluster.addresses, replaces: 0 }, 0, 1);
    this.#note(`${machine.name} is new`);
    machine.start();
  }

  /** One disk is lost, once: its node is replaced by a new one on the same machine. */
  #wipe(machine: Machine): void {
    const ring = machine.program?.ring;
    const isMember = machine.program?.standing === 'member';
    if (this.#hasWiped || !isMember || ring === null || ring === undefined || ring.change !== null) return;
    // A majority of the members must be left: without one no ring can replace it (docs/decisions/0011-lost-majority.md).
    const { length: members } = ring.members;
    if (members < this.#options.replicas || members - 1 < quorumOf(members)) return;
    this.#hasWiped = true;
    const { number } = machine;
    this.#note(`${machine.name} loses its disk`);
    machine.wipe({
      seeds: this.cluster.addresses.filter((address) => address !== machine.address),
      replaces: number,
    });
    this.#later(5, machine, () => machine.start());
  }

  #ask(machine: Machine, operation: TopologyOperation): void {
    const { name } = machine;
    const what = 'node' in operation ? `${operation.op} of ${this.#nameOf(operation.node)}` : operation.op;
    this.#note(`${name} is asked for a change: ${what}`);
    machine.program?.change(operation).then(
      () => this.#note(`${name} has begun it: ${what}`),
      (error: Error) => this.#note(`${name} refuses: ${error.message}`),
    );
  }
  #nameOf(node: number): string {
    return this.cluster.machines.find(({ number }) => number === node)?.name ?? String(node);
  }
  #note(text: string): void {
    this.cluster.note(text);
  }
}
