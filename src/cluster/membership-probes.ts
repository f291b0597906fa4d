/**
 * Failure detection by SWIM (Das, Gupta, Motivala 2002): each interval probesPerRound members are pinged, in an order that is shuffled anew
 * after each pass, and in which a member that comes takes some place at once (section 4.3); without an answer
 * probeHelpersMax others are asked to ping it; without an answer through any of them it is accused. Pure; one per node.
 *
 * 1. Whatever comes from the probed node while a probe of it runs answers the probe: it lives.
 * 2. A timer that fires late accuses nobody: this process stood still, and answers may lie unread.
 */
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import type { LocalHealth } from './membership-health.ts';

export interface ProbeCalls {
  ping(to: NodeNumber, seq: number, target: NodeNumber): void;
  askToProbe(helper: NodeNumber, seq: number, target: NodeNumber): void;
  ack(to: NodeNumber, seq: number): void;
  nack(to: NodeNumber, seq: number): void;
  /** Nobody got an answer from it. */
  accuse(target: NodeNumber): void;
  /** A timer came so late that this process must have stood still. */
  stalled(): void;
  /** Members that may be probed, or help: up or suspected, not this node. */
  targets(): readonly NodeNumber[];
  helpers(count: number, except: NodeNumber): readonly NodeNumber[];
}

interface Probe {
  readonly seq: number;
  readonly target: NodeNumber;
  helpers: number;
  nacks: number;
  cancel: () => void;
}
/** A probe for another node. */
interface Relay {
  readonly asker: NodeNumber;
  readonly seq: number;
  readonly target: NodeNumber;
  readonly cancel: () => void;
}

type ProbeWorld = Pick<ClusterWorld, 'clock' | 'random' | 'timers'>;

export class Probes {
  readonly #world: ProbeWorld;
  readonly #health: LocalHealth;
  readonly #calls: ProbeCalls;
  readonly #probes = new Map<number, Probe>();
  readonly #relays = new Map<number, Relay>();
  #order: NodeNumber[] = [];
  #seq: number;

  constructor(world: ProbeWorld, health: LocalHealth, calls: ProbeCalls) {
    this.#world = world;
    this.#health = health;
    this.#calls = calls;
    // Answers to an earlier life's probes must not match.
    this.#seq = world.random.uint32();
  }

  /** Probes the next member; returns whether there is one. */
  probeNext(): boolean {
    for (let passes = 0; passes < 2; ) {
      const target = this.#order.pop();
      if (target === undefined) {
        this.#order = shuffled(this.#calls.targets(), this.#world);
        passes++;
      } else if (this.#calls.targets().includes(target)) {
        this.probe(target);
        return true;
      }
    }
    return false;
  }

  /**
   * A member came, or came back: some place in this pass is its own. In the next one it would be probed late: a pass of
   * 1,000 members takes eight minutes, and nodes that started together are in the same part of it.
   */
  welcome(target: NodeNumber): void {
    if (this.#order.includes(target)) return;
    this.#order.splice(this.#world.random.below(this.#order.length + 1), 0, target);
  }

  probe(target: NodeNumber): void {
    if (this.#probes.size >= limits.probesInFlightMax) return;
    for (const probe of this.#probes.values()) if (probe.target === target) return;
    const seq = this.#nextSeq();
    const probe: Probe = { seq, target, helpers: 0, nacks: 0, cancel: nothing };
    this.#probes.set(seq, probe);
    this.#calls.ping(target, seq, target);
    this.#wait(probe, limits.probeTimeoutMs * this.#health.multiplier, () => this.#askHelpers(probe));
  }

  #askHelpers(probe: Probe): void {
    const helpers = this.#calls.helpers(limits.probeHelpersMax, probe.target);
    probe.helpers = helpers.length;
    for (const helper of helpers) this.#calls.askToProbe(helper, probe.seq, probe.target);
    const ms = (limits.gossipIntervalMs - limits.probeTimeoutMs) * this.#health.multiplier;
    this.#wait(probe, ms, () => this.#fail(probe));
  }

  #fail(probe: Probe): void {
    this.#probes.delete(probe.seq);
    // Helpers that say nothing at all speak against this node's own connection.
    if (probe.nacks < probe.helpers) this.#health.worse(probe.helpers - probe.nacks > 1 ? 2 : 1);
    else if (probe.helpers === 0) this.#health.worse(1);
    this.#calls.accuse(probe.target);
  }

  #wait(probe: Probe, ms: number, then: () => void): void {
    const dueMs = this.#world.clock.monotonicMs() + ms;
    probe.cancel = this.#world.timers.after(ms, () => {
      if (!this.#probes.has(probe.seq)) return;
      if (this.#world.clock.monotonicMs() - dueMs > limits.stallMs) this.#calls.stalled();
      else then();
    });
  }

  /** Another node asks to be told whether `target` answers. */
  relay(asker: NodeNumber, seq: number, target: NodeNumber): void {
    if (this.#relays.size >= limits.probesInFlightMax) return;
    const own = this.#nextSeq();
    const cancel = this.#world.timers.after(limits.probeTimeoutMs, () => {
      if (this.#relays.delete(own)) this.#calls.nack(asker, seq);
    });
    this.#relays.set(own, { asker, seq, target, cancel });
    this.#calls.ping(target, own, target);
  }

  onAck(seq: number): void {
    const probe = this.#probes.get(seq);
    if (probe !== undefined) this.#succeed(probe);
  }
  onNack(seq: number): void {
    const probe = this.#probes.get(seq);
    if (probe !== undefined) probe.nacks++;
  }
  /** Something came from `node` itself. */
  onLife(node: NodeNumber): void {
    for (const probe of this.#probes.values()) if (probe.target === node) this.#succeed(probe);
    for (const [own, relay] of this.#relays)
      if (relay.target === node) {
        relay.cancel();
        this.#relays.delete(own);
        this.#calls.ack(relay.asker, relay.seq);
      }
  }

  #succeed(probe: Probe): void {
    probe.cancel();
    this.#probes.delete(probe.seq);
    this.#health.better();
  }

  /** Forgets what is under way. */
  cancel(): void {
    for (const probe of this.#probes.values()) probe.cancel();
    for (const relay of this.#relays.values()) relay.cancel();
    this.#probes.clear();
    this.#relays.clear();
  }

  #nextSeq(): number {
    this.#seq = (this.#seq + 1) >>> 0;
    return this.#seq;
  }
}

function nothing(): void {
  // Replaced as soon as the timer runs.
}

function shuffled(numbers: readonly NodeNumber[], { random }: ProbeWorld): NodeNumber[] {
  const order = [...numbers];
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const swapped = order[i] as NodeNumber;
    order[i] = order[j] as NodeNumber;
    order[j] = swapped;
  }
  return order;
}
