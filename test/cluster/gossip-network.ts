import { MANUAL_MONOTONIC_MS } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import type {
  ClusterWorld,
  Documents,
  Liveness,
  MembershipListener,
  NodeNumber,
  RemovableDocuments,
} from '../../src/cluster/contract.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { Membership } from '../../src/cluster/membership.ts';
import type { Contact } from '../../src/cluster/membership-contacts.ts';
import { clockOf } from '../base/clocks.ts';
import { EventQueue } from './event-queue.ts';

/** Small documents on a disk that survives restarts. */
export class MemoryDocuments implements RemovableDocuments {
  readonly #saved = new Map<string, Uint8Array>();
  load(name: string): Uint8Array | null {
    return this.#saved.get(name) ?? null;
  }
  save(name: string, bytes: Uint8Array, done: (error: Error | null) => void): void {
    this.#saved.set(name, bytes.slice());
    queueMicrotask(() => done(null));
  }
  remove(name: string): void {
    this.#saved.delete(name);
  }
}

export interface LivenessEvent {
  readonly ms: number;
  readonly at: NodeNumber;
  readonly node: NodeNumber;
  readonly liveness: Liveness;
}

export interface NetworkOptions {
  readonly seed: number;
  readonly lossChance?: number;
  readonly latencyMsMin?: number;
  readonly latencyMsMax?: number;
  /** Called for each change of liveness that a node sees; all are kept where it is not given. */
  readonly onEvent?: (event: LivenessEvent) => void;
}

/** One process of a node: lost with a crash. */
export class GossipNode implements MembershipListener {
  readonly membership: Membership;
  readonly number: NodeNumber;
  readonly address: string;
  readonly addresses = new Map<NodeNumber, string>();
  /** Processes with which there is a connection: messages pass in both directions, whoever dialled. */
  readonly connections = new Map<NodeNumber, GossipNode>();
  readonly facts: NodeNumber[] = [];
  readonly #network: GossipNetwork;
  isRunning = true;
  isPaused = false;
  /** Timers and messages that wait for the end of a pause. */
  heldTimers: (() => void)[] = [];
  heldMessages: (() => void)[] = [];
  /** Of its wall clock, milliseconds. */
  skewMs: number;

  constructor(network: GossipNetwork, start: NodeStart, documents: Documents) {
    this.#network = network;
    this.number = start.number;
    this.address = start.address;
    this.skewMs = start.skewMs ?? 0;
    const facts = start.facts ?? new Map<string, string | number>();
    this.membership = new Membership(
      this.#world(documents),
      { address: start.address, seeds: start.seeds, facts },
      this,
    );
  }

  onLiveness(node: NodeNumber, liveness: Liveness): void {
    this.#network.onLiveness({ ms: this.#network.nowMs, at: this.number, node, liveness });
  }
  onFacts(node: NodeNumber): void {
    if (this.facts.length < 10_000) this.facts.push(node);
  }

  /** Runs at once, after a pause, or never. */
  run(kind: 'timer' | 'message', what: () => void): void {
    if (!this.isRunning) return;
    if (!this.isPaused) what();
    else if (kind === 'timer') this.heldTimers.push(what);
    else this.heldMessages.push(what);
  }

  #world(documents: Documents): ClusterWorld {
    const network = this.#network;
    const clock = clockOf(
      () => network.nowMs + this.skewMs,
      () => network.nowMs + this.number * MANUAL_MONOTONIC_MS,
    );
    return {
      self: this.number,
      clock,
      random: new Random(network.random.uint32()),
      documents,
      log: () => undefined,
      timers: {
        after: (ms, run) => {
          let isCancelled = false;
          network.queue.add(network.nowMs + ms, () => this.run('timer', () => !isCancelled && run()));
          return () => {
            isCancelled = true;
          };
        },
      },
      network: {
        send: (to, message) => {
          const connected = this.connections.get(to);
          const address = connected?.isRunning === true ? connected.address : this.addresses.get(to);
          return address !== undefined && network.send(this, address, message, to);
        },
        sendTo: (address, message) => network.send(this, address, message, 0),
        features: () => FEATURES,
        setAddress: (node, address) => this.addresses.set(node, address),
        forget: (node) => this.addresses.delete(node),
      },
    };
  }
}

export interface NodeStart {
  readonly number: NodeNumber;
  readonly address: string;
  readonly seeds: readonly string[];
  readonly skewMs?: number;
  readonly facts?: ReadonlyMap<string, string | number>;
  /** Members of the ring on its disk. */
  readonly ring?: readonly Contact[];
  /** A disk of an earlier life; a new one by default. */
  readonly documents?: Documents;
}

/** Any number of nodes that gossip, in one thread: loss, delay and order of all messages follow from the seed. */
export class GossipNetwork {
  readonly random: Random;
  readonly queue = new EventQueue();
  /** Processes that run, by number. */
  readonly nodes = new Map<NodeNumber, GossipNode>();
  readonly #listening = new Map<string, GossipNode>();
  readonly events: LivenessEvent[] = [];
  readonly #options: NetworkOptions;
  /** Whether a message may pass. */
  passes: (from: NodeNumber, to: NodeNumber) => boolean = () => true;
  nowMs = 1_700_000_000_000;
  messages = 0;
  bytes = 0;

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.random = new Random(options.seed);
  }

  onLiveness(event: LivenessEvent): void {
    if (this.#options.onEvent === undefined) this.events.push(event);
    else this.#options.onEvent(event);
  }

  start(start: NodeStart): GossipNode {
    const node = new GossipNode(this, start, start.documents ?? new MemoryDocuments());
    this.nodes.set(node.number, node);
    this.#listening.set(node.address, node);
    node.membership.start((error) => {
      if (error !== null) throw error;
      node.membership.expect(start.ring ?? []);
    });
    return node;
  }
  kill(node: GossipNode): void {
    node.isRunning = false;
    if (this.nodes.get(node.number) === node) this.nodes.delete(node.number);
    if (this.#listening.get(node.address) === node) this.#listening.delete(node.address);
  }
  pause(node: GossipNode): void {
    node.isPaused = true;
  }
  /** All that came due during the pause runs at once, timers before messages: so does the event loop of Node. */
  resume(node: GossipNode): void {
    node.isPaused = false;
    const held = [...node.heldTimers, ...node.heldMessages];
    node.heldTimers = [];
    node.heldMessages = [];
    for (const what of held) what();
  }

  send(from: GossipNode, address: string, message: Uint8Array, to: NodeNumber): boolean {
    this.messages++;
    this.bytes += message.length;
    const min = this.#options.latencyMsMin ?? 1;
    const max = this.#options.latencyMsMax ?? 50;
    const isLost = this.random.chance(this.#options.lossChance ?? 0);
    const delayMs = min + (this.random.below(1000) / 1000) * (max - min);
    if (isLost) return true;
    const sender = from.number;
    this.queue.add(this.nowMs + delayMs, () => {
      const receiver = this.#listening.get(address);
      // The handshake of a connection tells whose it is.
      if (receiver === undefined || (to !== 0 && receiver.number !== to)) return;
      if (!this.passes(sender, receiver.number)) return;
      this.#connect(from, receiver);
      receiver.run('message', () => receiver.membership.receive(sender, message));
    });
    return true;
  }

  /** Both ends hear of it, as from the transport. */
  #connect(from: GossipNode, to: GossipNode): void {
    if (!from.isRunning || from.connections.get(to.number) === to) return;
    from.connections.set(to.number, to);
    to.connections.set(from.number, from);
    from.run('message', () => from.membership.onConnected(to.number));
    to.run('message', () => to.membership.onConnected(from.number));
  }

  /** Lets time pass; promises settle between events. */
  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    // What was started just now saves its generation first.
    await Promise.resolve();
    for (let dueMs = this.queue.nextMs; dueMs <= endMs; dueMs = this.queue.nextMs) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      this.queue.runNext();
      if (this.queue.settles) await Promise.resolve();
    }
    this.nowMs = endMs;
  }
  /** Advances until it holds; the milliseconds that took, or -1 beyond the limit. */
  async until(holds: () => boolean, msMax: number, stepMs = 50): Promise<number> {
    const startMs = this.nowMs;
    while (!holds()) {
      if (this.nowMs - startMs >= msMax) return -1;
      await this.advance(stepMs);
    }
    return this.nowMs - startMs;
  }
  /** Whether all running nodes see `node` so. */
  allSee(node: NodeNumber, liveness: Liveness): boolean {
    for (const { number, membership } of this.nodes.values())
      if (number !== node && membership.member(node)?.liveness !== liveness) return false;
    return true;
  }
  /** Whether all running nodes see all running nodes up, and nothing else of them. */
  get isWhole(): boolean {
    for (const number of this.nodes.keys()) if (!this.allSee(number, 'up')) return false;
    return true;
  }
}
