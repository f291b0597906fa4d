/**
 * The seeds of gossip: addresses of peer listeners that are asked while this node is alone, and, less often, where no member is up. Pure; owned
 * by the peer worker.
 *
 * No seed is always the first. The transport has room for so many addresses at a time (src/peer/seeds.ts), and where it has less than there
 * are seeds, those that are asked first keep out those behind them: were that the same ones each time, dead ones would for ever.
 */
import { limits } from '../base/limits.ts';
import { rotated } from '../base/rotated.ts';
import type { ClusterWorld } from './contract.ts';
import type { Peers } from './membership-peers.ts';
import type { GossipSender } from './membership-sender.ts';

export class GossipSeeds {
  readonly #world: Pick<ClusterWorld, 'clock' | 'random'>;
  readonly #seeds: readonly string[];
  readonly #peers: Peers;
  readonly #sender: GossipSender;
  #askedMs = Number.NEGATIVE_INFINITY;

  /** `address`: this node's own, which may be among the seeds. */
  constructor(
    world: Pick<ClusterWorld, 'clock' | 'random'>,
    { seeds, address }: { readonly seeds: readonly string[]; readonly address: string },
    peers: Peers,
    sender: GossipSender,
  ) {
    this.#world = world;
    this.#seeds = seeds.filter((seed) => seed !== address);
    this.#peers = peers;
    this.#sender = sender;
  }

  /** Called each round. */
  ask(): void {
    const { clock, random } = this.#world;
    const nowMs = clock.monotonicMs();
    const isAlone = this.#peers.others.length === 0;
    const everyMs = isAlone ? limits.seedAloneMs : limits.seedIntervalMs;
    if (this.#seeds.length === 0 || nowMs - this.#askedMs < everyMs) return;
    this.#askedMs = nowMs;
    // By chance: what hangs keeps its place for some seconds, and a regular turn could always begin with the same ones when that is free.
    for (const seed of rotated(this.#seeds, random.below(this.#seeds.length)))
      if (isAlone || !this.#peers.isUpAt(seed)) this.#sender.syncWithAddress(seed);
  }
}
