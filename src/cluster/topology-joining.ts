/**
 * How a node that is no member gets the ring from its seeds and then asks a member to be joined (or to replace another
 * node). Peer worker. It asks again and again with random pauses; every request may be lost or done twice: whoever is in
 * the ring already is refused, and stops asking as soon as it sees that ring.
 */
import { limits } from '../base/limits.ts';
import { rotated } from '../base/rotated.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import type { RingMap, RingMember } from './ring-map.ts';
import type { RingMessage, TopologyOperation } from './ring-messages.ts';

export interface JoiningPorts {
  send(to: NodeNumber, message: RingMessage): void;
  /** To whoever listens there. */
  sendTo(address: string, message: RingMessage, anew: boolean): void;
  isUp(node: NodeNumber): boolean;
}

export class TopologyJoining {
  readonly #world: Pick<ClusterWorld, 'clock' | 'random' | 'timers' | 'log'>;
  readonly #ports: JoiningPorts;
  readonly #member: RingMember;
  readonly #seeds: readonly string[];
  readonly #replaces: NodeNumber;
  #ring: RingMap | null = null;
  #asks = 0;
  /** When the seeds were dialled anew, or the search began. */
  #dialledMs = 0;
  #id = 0;
  #refusal = '';
  #cancelTimer: (() => void) | null = null;

  /** `replaces` is the node whose place is wanted, 0 for a place of its own. */
  constructor(
    world: Pick<ClusterWorld, 'clock' | 'random' | 'timers' | 'log'>,
    ports: JoiningPorts,
    member: RingMember,
    seeds: readonly string[],
    replaces: NodeNumber,
  ) {
    this.#world = world;
    this.#ports = ports;
    this.#member = member;
    this.#seeds = seeds;
    this.#replaces = replaces;
  }

  /** Why the last request was refused; '' where it was not. */
  get refusal(): string {
    return this.#refusal;
  }

  start(ring: RingMap | null): void {
    this.#ring = ring;
    if (this.#cancelTimer !== null) return;
    this.#dialledMs = this.#world.clock.monotonicMs();
    this.#ask();
  }
  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }
  /**
   * A node that looked for the ring asks as soon as it has it. What was refused because of another change is asked for again soon after
   * that has ended, not only after the pause: nodes that are started together join one after another. The random wait spreads them.
   */
  onRing(ring: RingMap): void {
    const before = this.#ring;
    this.#ring = ring;
    if (this.#cancelTimer === null) return;
    if (before !== null && (ring.change !== null || ring.number <= before.number)) return;
    this.#asks = 0;
    if (before === null) this.#ask();
    else this.#askAfter(this.#world.random.below(limits.joinRetryMsMin));
  }

  onAnswer(message: Extract<RingMessage, { kind: 'topology-answer' }>): void {
    if (message.id !== this.#id || message.error === this.#refusal) return;
    this.#refusal = message.error;
    if (message.error !== '') this.#world.log('warn', `this node is not joined yet: ${message.error}`);
  }

  #ask(): void {
    const { random } = this.#world;
    const ring = this.#ring;
    this.#asks++;
    if (ring === null) this.#askSeeds();
    else {
      this.#id = random.below(0x4000_0000) + 1;
      const operation: TopologyOperation =
        this.#replaces === 0
          ? { op: 'join', member: this.#member }
          : { op: 'replace', node: this.#replaces, member: this.#member };
      const members = ring.members.map(({ number }) => number);
      const up = members.filter((node) => this.#ports.isUp(node));
      const to = random.pick(up.length > 0 ? up : members);
      this.#ports.send(to, { kind: 'topology-request', id: this.#id, operation });
      // Whoever answers may be behind: a newer ring may have this node in it, or other members.
      this.#ports.send(random.pick(members), { kind: 'ring-fetch', have: ring.number });
    }
    const most = Math.min(limits.joinRetryMsMax, limits.joinRetryMsMin * 2 ** Math.min(this.#asks, 8));
    this.#askAfter(random.between(Math.ceil(most / 2), most));
  }

  /**
   * Who answers at an address may wait for a ring as well. Where one name leads to all nodes, two that wait could have found each other and
   * nobody else, and would ask each other for ever: the seeds are dialled anew from time to time.
   */
  #askSeeds(): void {
    const nowMs = this.#world.clock.monotonicMs();
    const anew = nowMs - this.#dialledMs >= limits.seedIntervalMs;
    if (anew) this.#dialledMs = nowMs;
    // Another one first each time: where there is no room for all of them, dead ones would keep out those behind them.
    const first = this.#asks % Math.max(1, this.#seeds.length);
    for (const seed of rotated(this.#seeds, first))
      this.#ports.sendTo(seed, { kind: 'ring-fetch', have: 0 }, anew);
  }

  #askAfter(ms: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#world.timers.after(ms, () => this.#ask());
  }
}
