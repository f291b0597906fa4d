/**
 * One simulated machine: disk, clock, address, and the process that runs on it or does not. A crash is a power cut: what
 * was not synced is lost by chance. Who comes back with an empty disk is another node, under another number.
 */
import type { Clock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import { onWallClock } from './deadline-defects.ts';
import type { Defect } from './defects.ts';
import type { History } from './history.ts';
import { ProcessLife } from './process-life.ts';
import type { Program, ProgramHost, Role, StartProgram, Tuning } from './program.ts';
import type { Scheduler } from './scheduler.ts';
import type { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import type { SiteNetwork } from './site-network.ts';

/** What all machines of a simulation share. */
export interface Site {
  readonly scheduler: Scheduler;
  readonly network: SiteNetwork;
  readonly history: History;
  readonly tuning: Tuning;
  readonly defect: Defect | null;
  readonly startProgram: StartProgram;
  readonly verbose: boolean;
}

export type MachineState = 'down' | 'running' | 'retired';

export class Machine {
  readonly name: string;
  /** Where it listens; of the next process, where this one runs. */
  address: string;
  readonly rack: string;
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly #site: Site;
  readonly #random: Random;
  role: Role;
  number: NodeNumber = 0;
  nodeId = '';
  state: MachineState = 'down';
  /** It is being shut down, and refuses what it is asked. */
  isStopping = false;
  program: Program | null = null;
  /** Of the next process: ProgramHost.recoveryMs. */
  recoveryMs = 0;
  /** How often its process has ended, stopped, or been told to end. */
  interruptions = 0;
  /** As its process reads the machine's. */
  processClock: Clock;
  #life: ProcessLife | null = null;

  constructor(site: Site, name: string, rack: string, random: Random, clock: SimClock, role: Role) {
    this.#site = site;
    this.name = name;
    this.address = `${name}:7000`;
    this.rack = rack;
    this.role = role;
    this.clock = clock;
    this.processClock = clock.ofProcess();
    this.#random = random;
    this.disk = new SimDisk(site.scheduler, new Random(random.uint32()));
    if (site.defect === 'skip-fsync') this.disk.unsynced = /wal-/;
    this.#becomeAnother();
  }

  get isStopped(): boolean {
    return this.#life?.isStopped ?? false;
  }
  /** It answers clients. */
  get isServing(): boolean {
    return this.program?.isOpen === true && this.program.standing !== 'removed' && !this.isStopped;
  }

  start(): void {
    if (this.state !== 'down') return;
    const { scheduler, network, history, tuning, defect, startProgram } = this.#site;
    const life = new ProcessLife(scheduler, this.clock);
    this.#life = life;
    this.state = 'running';
    const own = this.clock.ofProcess();
    const clock = defect === 'deadlines-by-wall-clock' ? onWallClock(own) : own;
    this.processClock = clock;
    const { name, address, rack, nodeId, number, role } = this;
    const log: ProgramHost['log'] = (level, message) => {
      if (life.isAlive && (level !== 'info' || this.#site.verbose))
        history.note(scheduler.nowUs, `${name} says (${level}): ${message}`);
    };
    const seed = this.#random.uint32();
    const host: ProgramHost = {
      name,
      self: number,
      nodeId,
      address,
      rack,
      clock,
      random: new Random(seed),
      life,
      fs: this.disk.open(life),
      recoveryMs: this.recoveryMs,
      role,
      tuning,
      defect,
      attach: (hears, generation, clusterId) =>
        network.attach({
          ...{ self: number, nodeId, generation, clusterId, machine: name, address, life, clock, hears, log },
          random: new Random(seed),
        }),
      log,
      fail: (error) => {
        if (life.isAlive) scheduler.fail(new Error(`${name} failed`, { cause: error }));
      },
    };
    this.recoveryMs = 0;
    this.program = startProgram(host);
  }

  /** The power fails. */
  crash(): void {
    this.#end(true);
    this.disk.powerCut();
  }
  /** The process is killed; the machine goes on, with what it has written. */
  kill(): void {
    this.#end(false);
    this.disk.processEnded();
  }
  /** The power fails, and the disk is lost: what starts there next is another node, in another role. */
  wipe(role: Role): void {
    this.#end(true);
    this.role = role;
    this.disk.wipe();
    this.#becomeAnother();
  }
  /** Ends in an orderly way; `done` where it was not interrupted by a crash. */
  shutDown(done: () => void): void {
    const { program } = this;
    const life = this.#life;
    if (program === null || life === null) return;
    this.interruptions++;
    this.isStopping = true;
    program.stop().then(
      () => {
        if (!life.isAlive) return;
        this.kill();
        done();
      },
      (error: unknown) => {
        if (life.isAlive) this.#site.scheduler.fail(error);
      },
    );
  }
  /** By its process's clock, as long as that lives. */
  after(ms: number, run: () => void): void {
    this.#life?.after(ms, run);
  }
  pause(): void {
    this.interruptions++;
    this.#life?.stop();
  }
  resume(): void {
    this.#life?.resume();
  }
  /** Never to start again. */
  retire(): void {
    this.#end(false);
    this.state = 'retired';
  }

  #end(byPowerCut: boolean): void {
    if (this.#life === null) return;
    this.interruptions++;
    this.#life.end();
    this.#life = null;
    this.#site.network.ended(this.name, this.address, byPowerCut);
    this.program = null;
    this.isStopping = false;
    this.state = 'down';
  }
  #becomeAnother(): void {
    this.number = (this.#random.uint32() | 1) >>> 0;
    const digits = (): string => this.#random.uint32().toString(16).padStart(8, '0');
    this.nodeId = this.number.toString(16).padStart(8, '0') + digits() + digits() + digits();
  }
}
