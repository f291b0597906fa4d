/** The machines of one simulation, and who of them is where. */
import { Random } from '../../src/base/random.ts';
import { Machine, type Site } from './machine.ts';
import type { Role } from './program.ts';
import { SimClock } from './sim-clock.ts';

export class Cluster {
  readonly site: Site;
  readonly machines: Machine[] = [];
  readonly #random: Random;
  readonly #racks: number;

  constructor(site: Site, random: Random, racks: number) {
    this.site = site;
    this.#random = random;
    this.#racks = racks;
  }

  /** Puts a machine in; it is not started yet. */
  add(role: Role, skewMs: number, rate: number): Machine {
    const index = this.machines.length;
    const clock = new SimClock(this.site.scheduler, skewMs, rate);
    const random = new Random(this.#random.uint32());
    const machine = new Machine(
      this.site,
      `n${index + 1}`,
      `rack-${index % this.#racks}`,
      random,
      clock,
      role,
    );
    this.machines.push(machine);
    return machine;
  }
  get serving(): Machine[] {
    return this.machines.filter(({ isServing }) => isServing);
  }
  /** Those that are not gone for good. */
  get present(): Machine[] {
    return this.machines.filter(({ state }) => state !== 'retired');
  }
  /** Of those that are not gone for good. */
  get addresses(): string[] {
    return this.present.map(({ address }) => address);
  }
  note(text: string): void {
    this.site.history.note(this.site.scheduler.nowUs, text);
  }
  /** Heals the network, the disks and the clocks; wakes and starts everybody who is not gone for good. */
  heal(): void {
    this.site.network.mendAll();
    for (const machine of this.present) {
      machine.disk.slowness = 1;
      machine.clock.synchronize();
      machine.resume();
      machine.start();
    }
  }
}
