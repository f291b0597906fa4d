/**
 * The network between simulated machines: each message takes its own time, may be lost or come twice, and overtakes
 * others. Links are cut in one direction or both, slowed, and made to lose more, one ordered pair of machines at a time.
 *
 * It looks as connections do: a message is lost with the connection that it was sent over, and both ends hear of that, but
 * not at once. Until then messages over a cut link vanish, and only after a while are refused. One that takes longer than a connection
 * may be silent breaks it; it comes all the same, as what lay in the buffers of an end that was held up.
 */
import { limits } from '../../src/base/limits.ts';
import type { Random } from '../../src/base/random.ts';
import { ANY_CONNECTION, type NodeNumber } from '../../src/cluster/contract.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import type { ProcessLife } from './process-life.ts';
import type { Scheduler } from './scheduler.ts';
import type { Attached, NetworkListener, ProcessNetwork, SiteNetwork } from './site-network.ts';

export interface NetworkProfile {
  readonly delayUsMin: number;
  /** Mean of the exponential part above the least delay. */
  readonly delayUsMean: number;
  readonly lossChance: number;
  readonly duplicateChance: number;
  /** A message that is late by far more than others. */
  readonly stragglerChance: number;
  readonly stragglerUsMax: number;
}

export const CALM: NetworkProfile = {
  delayUsMin: 100,
  delayUsMean: 300,
  lossChance: 0,
  duplicateChance: 0,
  stragglerChance: 0,
  stragglerUsMax: 0,
};

/** After a loss the ends take so long at most to find that a connection is dead. */
const DEAD_CONNECTION_US = 2_000_000;
/** A connection over which nothing comes for so long is closed by its ends (src/peer/connection.ts). */
const SILENT_CONNECTION_US = limits.peerIdleMs * 1000;
/** Within one machine. */
const LOCAL_DELAY_US = 20;

interface Link {
  /** Infinity: not cut. Otherwise since when. */
  cutSinceUs: number;
  slowness: number;
  lossChance: number;
}

/** Of a process that listens, what this network looks at. */
type Heard = Pick<Attached, 'self' | 'machine' | 'address' | 'clusterId' | 'life' | 'hears'>;
/** What listens at an address. */
interface Listener {
  readonly self: NodeNumber;
  readonly machine: string;
  readonly address: string;
  readonly life: ProcessLife;
  readonly hears: NetworkListener;
  /** Who has connected with it, from where: it need not know their addresses to answer. */
  readonly connected: Map<NodeNumber, string>;
  /** '' while it knows none: connections are made between ends of one cluster only. */
  clusterId: string;
}
export interface NetworkStats {
  sent: number;
  bytes: number;
  delivered: number;
  lost: number;
  duplicated: number;
  refused: number;
}

export class SimNetwork implements SiteNetwork {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #listeners = new Map<string, Listener>();
  readonly #links = new Map<string, Link>();
  profile: NetworkProfile;
  readonly stats: NetworkStats = { sent: 0, bytes: 0, delivered: 0, lost: 0, duplicated: 0, refused: 0 };

  constructor(scheduler: Scheduler, random: Random, profile: NetworkProfile = CALM) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.profile = profile;
  }

  get sent(): number {
    return this.stats.sent;
  }

  /** Opens the listener of a process, in place of an earlier one's; the network as that process sees it. */
  attach({ self, machine, address, clusterId, life, hears }: Heard): ProcessNetwork {
    const listener: Listener = { self, machine, address, life, hears, connected: new Map(), clusterId };
    this.#listeners.set(address, listener);
    const addresses = new Map<NodeNumber, string>([[self, address]]);
    const sendTo = (target: string, message: Uint8Array): boolean =>
      life.isAlive && this.#send(listener, target, message);
    return {
      send: (to, message) => {
        const target = addresses.get(to) ?? listener.connected.get(to);
        // Nobody is taken for whom he is not: connections begin with who they are.
        const isOther = target !== undefined && (this.#listeners.get(target)?.self ?? to) !== to;
        return target !== undefined && !isOther && sendTo(target, message);
      },
      sendTo,
      features: () => FEATURES,
      setAddress: (node, target) => void addresses.set(node, target),
      forget: (node) => void addresses.delete(node),
      setClusterId: (clusterId) => {
        listener.clusterId = clusterId;
      },
      // Nobody greets here.
      listen: () => undefined,
      // It has no connections that could be missing.
      isConnected: () => true,
      close: () => Promise.resolve(),
    };
  }

  /** The process that listened there has ended, and its connections with it. */
  ended(_machine: string, address: string): void {
    const gone = this.#listeners.get(address);
    if (gone === undefined) return;
    for (const { life, hears } of this.#listeners.values())
      this.#scheduler.after(this.#random.below(DEAD_CONNECTION_US), () =>
        life.receive(() => hears.onDisconnected(gone.self, 0, ANY_CONNECTION)),
      );
  }

  /** Cuts one direction, between machines. */
  cut(from: string, to: string): void {
    const link = this.#link(from, to);
    link.cutSinceUs = Math.min(link.cutSinceUs, this.#scheduler.nowUs);
  }
  isCut(from: string, to: string): boolean {
    return Number.isFinite(this.#links.get(`${from} ${to}`)?.cutSinceUs ?? Number.POSITIVE_INFINITY);
  }
  mend(from: string, to: string): void {
    this.#link(from, to).cutSinceUs = Number.POSITIVE_INFINITY;
  }
  impair(from: string, to: string, slowness: number, lossChance: number): void {
    const link = this.#link(from, to);
    link.slowness = slowness;
    link.lossChance = lossChance;
  }
  /** All links as good as can be. */
  mendAll(): void {
    this.#links.clear();
    this.profile = CALM;
  }

  #send(sender: Listener, to: string, message: Uint8Array): boolean {
    const { profile, stats } = this;
    const random = this.#random;
    const listener = this.#listeners.get(to);
    const link = listener && this.#links.get(`${sender.machine} ${listener.machine}`);
    const nowUs = this.#scheduler.nowUs;
    const isGone = listener === undefined || !listener.life.isAlive;
    const cutForUs = link === undefined ? -1 : nowUs - link.cutSinceUs;
    if ((isGone || cutForUs > DEAD_CONNECTION_US) && random.chance(0.5)) {
      stats.refused++;
      this.#break(sender, listener);
      return false;
    }
    stats.sent++;
    stats.bytes += message.length;
    if (isGone || cutForUs >= 0 || random.chance(Math.max(profile.lossChance, link?.lossChance ?? 0))) {
      this.#lose(sender, listener);
      return true;
    }
    const slowness = link?.slowness ?? 1;
    const delayUs = this.#delayUs(sender === listener, slowness);
    this.#deliver(sender, listener, message, delayUs);
    if (delayUs > SILENT_CONNECTION_US)
      this.#scheduler.after(SILENT_CONNECTION_US, () => this.#break(sender, listener));
    if (random.chance(profile.duplicateChance)) {
      stats.duplicated++;
      this.#deliver(sender, listener, message.slice(), this.#delayUs(sender === listener, slowness));
    }
    return true;
  }

  #lose(sender: Listener, listener: Listener | undefined): void {
    this.stats.lost++;
    this.#break(sender, listener);
  }
  /** Both ends find that their connection is dead, each in its own time. */
  #break(sender: Listener, listener: Listener | undefined): void {
    if (listener === undefined) return;
    for (const [end, other] of [
      [sender, listener],
      [listener, sender],
    ] as const)
      this.#scheduler.after(this.#random.below(DEAD_CONNECTION_US), () =>
        end.life.receive(() => end.hears.onDisconnected(other.self, 0, ANY_CONNECTION)),
      );
  }

  #delayUs(isLocal: boolean, slowness: number): number {
    if (isLocal) return LOCAL_DELAY_US;
    const { delayUsMin, delayUsMean, stragglerChance, stragglerUsMax } = this.profile;
    const random = this.#random;
    let us = delayUsMin - Math.log(1 - random.below(1_000_000) / 1_000_000) * delayUsMean;
    if (random.chance(stragglerChance)) us += random.below(stragglerUsMax);
    return Math.round(us * slowness);
  }

  #deliver(from: Listener, to: Listener, message: Uint8Array, delayUs: number): void {
    this.#scheduler.after(delayUs, () => {
      // What was under way when the link was cut is lost with it.
      const areApart = from.clusterId !== '' && to.clusterId !== '' && from.clusterId !== to.clusterId;
      if (this.isCut(from.machine, to.machine) || !to.life.isAlive || areApart) {
        this.#lose(from, to);
        return;
      }
      to.life.receive(() => {
        this.stats.delivered++;
        to.connected.set(from.self, from.address);
        to.hears.onMessage(from.self, message, ANY_CONNECTION);
      });
    });
  }

  #link(from: string, to: string): Link {
    const name = `${from} ${to}`;
    let link = this.#links.get(name);
    if (link === undefined) {
      link = { cutSinceUs: Number.POSITIVE_INFINITY, slowness: 1, lossChance: 0 };
      this.#links.set(name, link);
    }
    return link;
  }
}
