/**
 * Machines on a simulated network of TCP, and the links between them. A link has one direction: it is cut, slowed or lossy by itself. Loss
 * is never seen as such above TCP: what was lost is sent again, later.
 */
import type { Random } from '../../src/base/random.ts';
import type { ProcessLife } from './process-life.ts';
import type { Scheduler } from './scheduler.ts';
import type { NetworkProfile } from './sim-network.ts';
import type { TcpEnd } from './tcp-end.ts';

/** A connection was made to a port: the process takes its end. */
export type Accept = (end: TcpEnd) => void;
export interface PortListener {
  readonly life: ProcessLife;
  readonly accept: Accept;
}

export class TcpHost {
  readonly name: string;
  /** Without power nothing answers, not even by a refusal. */
  isOn = false;
  readonly ports = new Map<number, PortListener>();
  /** Ends of connections that its kernel knows. */
  readonly ends = new Set<TcpEnd>();

  constructor(name: string) {
    this.name = name;
  }

  /** A process has ended and the machine goes on: its kernel closes what that left open. */
  processEnded(life: ProcessLife): void {
    this.#unlisten(life);
    for (const end of [...this.ends]) if (end.life === life) end.close();
  }
  /** Its kernel forgets everything, and nobody is told. */
  powerOff(): void {
    this.isOn = false;
    this.ports.clear();
    for (const end of [...this.ends]) end.forget();
  }
  #unlisten(life: ProcessLife): void {
    for (const [port, listener] of this.ports) if (listener.life === life) this.ports.delete(port);
  }
}

interface Link {
  isCut: boolean;
  /** Packets that begin a connection vanish, others pass. */
  dropsDials: boolean;
  slowness: number;
  lossChance: number;
}
const GOOD: Readonly<Link> = { isCut: false, dropsDials: false, slowness: 1, lossChance: 0 };

const LOCAL_DELAY_US = 20;
/** The first wait of TCP before it sends again, and the longest here: a kernel's is longer than any patience of the transport. */
export const RESEND_US_MIN = 200_000;
export const RESEND_US_MAX = 2_000_000;
/** Losses of one segment in a row. */
const LOSSES_MAX = 6;

export class TcpLinks {
  readonly scheduler: Scheduler;
  readonly random: Random;
  profile: NetworkProfile;
  readonly #links = new Map<string, Link>();

  constructor(scheduler: Scheduler, random: Random, profile: NetworkProfile) {
    this.scheduler = scheduler;
    this.random = random;
    this.profile = profile;
  }

  /** Between hosts, by name. */
  cut(from: string, to: string): void {
    this.#link(from, to).isCut = true;
  }
  isCut(from: string, to: string): boolean {
    return this.#links.get(`${from} ${to}`)?.isCut ?? false;
  }
  mend(from: string, to: string): void {
    this.#link(from, to).isCut = false;
  }
  impair(from: string, to: string, slowness: number, lossChance: number): void {
    Object.assign(this.#link(from, to), { slowness, lossChance });
  }
  dropDials(from: string, to: string, drops: boolean): void {
    this.#link(from, to).dropsDials = drops;
  }
  mendAll(calm: NetworkProfile): void {
    this.#links.clear();
    this.profile = calm;
  }

  /** Whether a packet that is sent now arrives. */
  passes(from: TcpHost, to: TcpHost, isDial = false): boolean {
    if (!from.isOn || !to.isOn) return false;
    if (from === to) return true;
    const link = this.#links.get(`${from.name} ${to.name}`);
    return link === undefined || !(link.isCut || (isDial && link.dropsDials));
  }

  delayUs(from: TcpHost, to: TcpHost): number {
    if (from === to) return LOCAL_DELAY_US;
    const { slowness, lossChance } = this.#links.get(`${from.name} ${to.name}`) ?? GOOD;
    const { delayUsMin, delayUsMean, stragglerChance, stragglerUsMax } = this.profile;
    const { random } = this;
    let us = delayUsMin - Math.log(1 - random.below(1_000_000) / 1_000_000) * delayUsMean;
    if (random.chance(stragglerChance)) us += random.below(stragglerUsMax);
    const loss = Math.max(lossChance, this.profile.lossChance);
    let resendUs = RESEND_US_MIN;
    for (let losses = 0; losses < LOSSES_MAX && random.chance(loss); losses++) {
      us += resendUs;
      resendUs = Math.min(2 * resendUs, RESEND_US_MAX);
    }
    return Math.round(us * slowness);
  }

  #link(from: string, to: string): Link {
    const name = `${from} ${to}`;
    let link = this.#links.get(name);
    if (link === undefined) {
      link = { ...GOOD };
      this.#links.set(name, link);
    }
    return link;
  }
}
