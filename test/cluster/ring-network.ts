/**
 * A small cluster in memory for tests of agreement and topology: one queue of events in simulated time, messages that are
 * delayed, lost and doubled, nodes that crash and lose what was not saved. All from one seed.
 */
import { Random } from '../../src/base/random.ts';
import type { RingShape } from '../../src/cluster/ring-change.ts';
import { decodeRing } from '../../src/cluster/ring-codec.ts';
import { comingReplicasOf, confirmedEverywhere, replicasOf } from '../../src/cluster/ring-lookup.ts';
import type { RingMap, RingMember } from '../../src/cluster/ring-map.ts';
import { checkRingMessage } from '../../src/cluster/ring-message-check.ts';
import type { RingMessage } from '../../src/cluster/ring-messages.ts';
import { Topology, type TopologyPorts, type TopologyWorld } from '../../src/cluster/topology.ts';
import type { PullResult } from '../../src/cluster/topology-pulls.ts';
import { EventQueue, VolatileDisk } from './ring-event-queue.ts';

export interface Faults {
  loss: number;
  duplicate: number;
  delayMsMax: number;
  pullFailure: number;
  saveFailure: number;
  saveMsMax: number;
}
export const CALM: Faults = {
  loss: 0,
  duplicate: 0,
  delayMsMax: 20,
  pullFailure: 0,
  saveFailure: 0,
  saveMsMax: 5,
};
export const ROUGH: Faults = {
  loss: 0.1,
  duplicate: 0.1,
  delayMsMax: 400,
  pullFailure: 0.2,
  saveFailure: 0.02,
  saveMsMax: 30,
};

/** Defects that tests plant to see that they are noticed. */
export interface Defects {
  /** Facts tell of every node that it holds the newest ring. */
  readonly liesAboutRings?: boolean;
  /** Facts tell of every node that it has pulled. */
  readonly liesAboutPulls?: boolean;
}

interface Facts {
  generation: number;
  version: number;
  values: Map<string, string | number>;
}

export class RingNode {
  readonly member: RingMember;
  readonly disk: VolatileDisk;
  readonly seen = new Map<number, Facts>();
  readonly seeds: readonly string[];
  readonly replaces: number;
  life = 0;
  topology: Topology | null = null;
  facts: Facts = { generation: 0, version: 0, values: new Map() };
  readonly logged: string[] = [];
  /** Of hints that it keeps. */
  hintBytes = 0;
  marksLeft = 0;
  constructor(network: RingNetwork, member: RingMember, seeds: readonly string[], replaces: number) {
    this.member = member;
    this.seeds = seeds;
    this.replaces = replaces;
    this.disk = new VolatileDisk(
      network.events,
      () => this.life,
      () => network.faults,
      (name, bytes) => network.onSaved(name, bytes),
    );
  }
}

export class RingNetwork {
  readonly random: Random;
  readonly events: EventQueue;
  readonly nodes = new Map<number, RingNode>();
  readonly shape: RingShape;
  /** Every ring that any node kept, by number: encoded. */
  readonly rings = new Map<number, Uint8Array>();
  readonly violations: string[] = [];
  /** Members that have told other addresses than those of the ring. */
  readonly moved = new Map<number, string>();
  faults: Faults = { ...CALM };
  /** Nodes that are cut off: nothing reaches or leaves them. */
  /** Up, but their facts reach nobody. */
  readonly mute = new Set<number>();
  readonly cut = new Set<number>();
  /** Vnodes pulled durably: `node:ring:vnode`. */
  readonly pulled = new Set<string>();
  /** Called with each message; what it returns is how much longer than others it takes. */
  onSend: (from: number, to: number, message: RingMessage) => number = () => 0;
  /** Pulls that ended well. */
  pulls = 0;
  readonly #defects: Defects;

  constructor(seed: number, shape: RingShape, defects: Defects = {}) {
    this.random = new Random(seed);
    this.events = new EventQueue(this.random);
    this.shape = shape;
    this.#defects = defects;
  }

  get nowMs(): number {
    return this.events.clock.monotonicMs();
  }
  after(ms: number, run: () => void): void {
    this.events.after(ms, run);
  }
  run(ms: number, until?: () => boolean): Promise<boolean> {
    return this.events.run(ms, until);
  }

  add(member: RingMember, seeds: readonly string[] = [], replaces = 0): RingNode {
    const node = new RingNode(this, member, seeds, replaces);
    this.nodes.set(member.number, node);
    this.start(node);
    return node;
  }

  node(number: number): RingNode {
    const found = this.nodes.get(number);
    if (found === undefined) throw new Error(`there is no node ${number}`);
    return found;
  }

  start(node: RingNode): void {
    node.life++;
    node.seen.clear();
    node.facts = { generation: node.life, version: 0, values: new Map() };
    const topology = new Topology(this.#worldOf(node), this.shape.vnodes, this.#portsOf(node));
    node.topology = topology;
    topology.start({ member: node.member, seeds: node.seeds, shape: this.shape, replaces: node.replaces });
    this.#gossip(node, node.life);
  }

  crash(number: number): void {
    const node = this.node(number);
    node.life++;
    node.topology?.stop();
    node.topology = null;
  }
  restart(number: number): void {
    this.start(this.node(number));
  }

  onSaved(name: string, bytes: Uint8Array): void {
    if (name !== 'ring') return;
    const ring = decodeRing(bytes);
    const known = this.rings.get(ring.number);
    if (known !== undefined) {
      if (Buffer.compare(known, bytes) !== 0) this.violations.push(`two rings under number ${ring.number}`);
      return;
    }
    this.rings.set(ring.number, bytes);
    const before = this.rings.get(ring.number - 1);
    if (before !== undefined) this.#checkStep(decodeRing(before), ring);
  }

  /** The conditions of decision 9, on what is really on the disks. */
  #checkStep(before: RingMap, ring: RingMap): void {
    const isUndo = before.change !== null && ring.change === null && before.change.phase === 'copying';
    const confirmed = (number: number): boolean => {
      const saved = this.nodes.get(number)?.disk.load('ring');
      return saved !== null && saved !== undefined && decodeRing(saved).number >= before.number;
    };
    if (!confirmedEverywhere(before, isUndo, confirmed))
      this.violations.push(`ring ${ring.number} came before ring ${before.number} was confirmed`);
    if (ring.change?.phase !== 'switching') return;
    for (let vnode = 0; vnode < before.vnodes; vnode++)
      for (const node of comingReplicasOf(before, vnode))
        if (
          !replicasOf(before, vnode).includes(node) &&
          !this.pulled.has(`${node}:${before.number}:${vnode}`)
        )
          this.violations.push(`ring ${ring.number} reads vnode ${vnode} from node ${node}, which lacks it`);
  }

  #deliver(from: RingNode, to: RingNode | undefined, message: RingMessage): void {
    if (to === undefined || this.cut.has(from.member.number) || this.cut.has(to.member.number)) return;
    const copies = this.random.chance(this.faults.loss)
      ? 0
      : this.random.chance(this.faults.duplicate)
        ? 2
        : 1;
    const longerMs = this.onSend(from.member.number, to.member.number, message);
    for (let i = 0; i < copies; i++)
      this.after(longerMs + this.random.between(1, this.faults.delayMsMax), () => {
        if (to.topology === null || this.cut.has(to.member.number)) return;
        to.topology.onMessage(from.member.number, checkRingMessage(structuredClone(message)) as RingMessage);
      });
  }

  #gossip(node: RingNode, life: number): void {
    if (node.life !== life) return;
    this.after(this.random.between(300, 500), () => this.#gossip(node, life));
    const { generation, version } = node.facts;
    const values = new Map(node.facts.values);
    for (const other of this.nodes.values()) {
      const isCut = this.cut.has(other.member.number) || this.cut.has(node.member.number);
      if (other === node || isCut || this.mute.has(node.member.number)) continue;
      if (this.random.chance(this.faults.loss)) continue;
      this.after(this.random.between(1, this.faults.delayMsMax), () => {
        const known = other.seen.get(node.member.number);
        const isNew =
          known === undefined ||
          generation > known.generation ||
          (generation === known.generation && version > known.version);
        if (!isNew || other.topology === null) return;
        other.seen.set(node.member.number, { generation, version, values });
        other.topology.onFacts(node.member.number);
      });
    }
  }

  #worldOf(node: RingNode): TopologyWorld {
    const { life } = node;
    return {
      self: node.member.number,
      clock: this.events.clock,
      random: new Random(this.random.uint32()),
      documents: node.disk,
      log: (level, message) => node.logged.push(`${level} ${message}`),
      timers: this.events.timers(() => node.life === life),
    };
  }

  #portsOf(node: RingNode): TopologyPorts {
    const { life } = node;
    return {
      send: (to, message) => {
        if (node.life === life) this.#deliver(node, this.nodes.get(to), message);
      },
      sendTo: (address, message) => {
        const to = [...this.nodes.values()].find(({ member }) => member.address === address);
        if (node.life === life) this.#deliver(node, to, message);
      },
      // Failure detection as good as it gets, and sometimes wrong: nothing may depend on it.
      isUp: (number) => {
        if (number === node.member.number) return true;
        if (this.faults.loss > 0 && this.random.chance(0.05)) return this.random.chance(0.5);
        return this.nodes.get(number)?.topology !== null && this.nodes.has(number) && !this.cut.has(number);
      },
      addressOf: (number) => this.moved.get(number),
      fact: (number, name) => {
        if (this.#defects.liesAboutRings === true && name === 'ring') return Math.max(...this.rings.keys());
        if (this.#defects.liesAboutPulls === true && name === 'pulled') return Math.max(...this.rings.keys());
        if (number === node.member.number) return node.facts.values.get(name);
        return node.seen.get(number)?.values.get(name);
      },
      setFact: (name, value) => {
        if (node.facts.values.get(name) === value) return;
        node.facts.version++;
        node.facts.values.set(name, value);
      },
      pull: (vnode, sources) => this.#pull(node, vnode, sources),
      hintBytes: () => node.hintBytes,
      marksLeft: () => node.marksLeft,
      hintBlock: () => null,
      onRing: () => undefined,
    };
  }

  #pull(node: RingNode, vnode: number, sources: readonly number[]): Promise<PullResult> {
    const ring = node.topology?.ring;
    const { life } = node;
    return new Promise((resolve, reject) => {
      this.after(this.random.between(5, 200), () => {
        if (node.life !== life || ring === null || ring === undefined) return;
        if (this.random.chance(this.faults.pullFailure)) {
          if (this.random.chance(0.5)) reject(new Error('the connection broke'));
          else resolve({ complete: false, records: 1, bytes: 10 });
          return;
        }
        const old = replicasOf(ring, vnode);
        for (const source of sources) {
          const saved = this.nodes.get(source)?.disk.load('ring') ?? null;
          if (!old.includes(source) || saved === null || decodeRing(saved).number < ring.number)
            this.violations.push(
              `vnode ${vnode} is pulled from node ${source}, which lacks ring ${ring.number}`,
            );
        }
        // Fewer than every quorum of the old replicas meets.
        if (sources.length < old.length - Math.floor(old.length / 2))
          this.violations.push(`vnode ${vnode} is pulled from ${sources.length}`);
        this.pulls++;
        this.pulled.add(`${node.member.number}:${ring.number}:${vnode}`);
        resolve({ complete: true, records: 10, bytes: 1000 });
      });
    });
  }
}
