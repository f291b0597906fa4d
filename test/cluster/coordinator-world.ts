import { AssertionError, assert } from '../../src/base/assert.ts';
import {
  type Clock,
  HybridClock,
  MANUAL_MONOTONIC_MS,
  type MonotonicMs,
  msLeft,
} from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import type {
  ClusterView,
  ClusterWorld,
  NodeNumber,
  Replica,
  WriteAnswer,
} from '../../src/cluster/contract.ts';
import { Coordinator } from '../../src/cluster/coordinator.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { HintReplay } from '../../src/cluster/hint-replay.ts';
import type { RingMap, RingMember } from '../../src/cluster/ring-map.ts';
import { clockOf } from '../base/clocks.ts';
import { MemoryHints } from './memory-hints.ts';
import { MemoryReplica } from './memory-replica.ts';

/** 2026, in milliseconds. */
const START_MS = 1_770_000_000_000;
export const VNODES = 8;

/** Virtual time: events in order of (time, order of scheduling). */
export class Schedule {
  #events: { at: number; order: number; run: () => void }[] = [];
  #order = 0;
  nowMs = 0;
  after(ms: number, run: () => void): () => void {
    const event = { at: this.nowMs + ms, order: this.#order++, run };
    let low = 0;
    let high = this.#events.length;
    // Latest first: the next event is taken from the end.
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#events[middle]?.at ?? 0) > event.at) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, event);
    return () => {
      event.run = () => undefined;
    };
  }
  /** Runs all events up to a time. */
  runTo(ms: number): void {
    for (;;) {
      const next = this.#events[this.#events.length - 1];
      if (next === undefined || next.at > ms) break;
      this.#events.pop();
      this.nowMs = next.at;
      next.run();
    }
    this.nowMs = ms;
  }
}

export interface Faults {
  /** Of one message, either way. */
  loss: number;
  duplication: number;
  delayMsMax: number;
  /** Of a message, a far longer delay. */
  straggler: number;
}
export const CALM: Faults = { loss: 0, duplication: 0, delayMsMax: 2, straggler: 0 };

export function testRing(
  numbers: readonly NodeNumber[],
  number = 1,
  change: RingMap['change'] = null,
): RingMap {
  return {
    number,
    clusterName: 'test',
    clusterId: '0'.repeat(32),
    vnodes: VNODES,
    replicas: 3,
    members: numbers.map(testMember),
    owners: Uint16Array.from({ length: VNODES }, (_, vnode) => vnode % numbers.length),
    change,
  };
}
export function testMember(number: NodeNumber): RingMember {
  const nodeId = number.toString(16).padStart(8, '0').padEnd(32, '0');
  return { number, nodeId, address: `n${number}:1`, url: '', rack: `r${number}`, zone: '', weight: 1 };
}

/** One node: a replica that keeps all it took, and a coordinator that a crash wipes away. */
export class TestNode {
  readonly number: NodeNumber;
  readonly world: CoordinatorWorld;
  readonly replica: MemoryReplica;
  readonly clock: Clock;
  skewMs = 0;
  running = true;
  /** Rises with each crash: what belongs to an earlier life does nothing any more. */
  life = 0;
  ring: RingMap;
  /** Whom this node takes for down. */
  readonly down = new Set<NodeNumber>();
  readonly marked = new Set<number>();
  readonly hints: MemoryHints;
  /** What was told once the marks are kept, and what of `marked` was kept then. */
  readonly kept = new Set<number>();
  marksKeptAfterMs = 2;
  readonly #documents = new Map<string, Uint8Array>();
  coordinator: Coordinator;
  hintReplay: HintReplay;
  /** Each request to the replica of this node is answered with this status, where it is not OK. */
  fault: (operation: keyof Replica) => number = () => Status.OK;

  constructor(world: CoordinatorWorld, number: NodeNumber, ring: RingMap) {
    this.world = world;
    this.number = number;
    this.ring = ring;
    const { schedule } = world;
    this.clock = clockOf(
      () => START_MS + this.skewMs + schedule.nowMs,
      () => schedule.nowMs + number * MANUAL_MONOTONIC_MS,
    );
    this.replica = new MemoryReplica({
      clock: this.clock,
      vnodes: VNODES,
      gcGraceMs: 864_000_000,
      later: (run) => schedule.after(0.05, run),
      fault: (operation) => this.fault(operation),
    });
    this.hints = new MemoryHints(this.replica);
    [this.coordinator, this.hintReplay] = this.#boot();
  }

  #boot(): [Coordinator, HintReplay] {
    const { life, world } = this;
    const { schedule, random } = world;
    const versions = new HybridClock(this.clock);
    const never = (): never => {
      throw new AssertionError('a coordinator sends no messages of its own');
    };
    const clusterWorld: ClusterWorld = {
      self: this.number,
      clock: this.clock,
      random: new Random(random.uint32()),
      timers: {
        after: (ms, run) =>
          schedule.after(ms, () => {
            if (this.life === life && this.running) run();
          }),
      },
      network: {
        send: never,
        sendTo: never,
        features: () => FEATURES,
        setAddress: never,
        forget: never,
      },
      documents: {
        load: (name) => this.#documents.get(name) ?? null,
        save: (name, bytes, done) =>
          void clusterWorld.timers.after(2, () => {
            this.#documents.set(name, bytes);
            done(null);
          }),
      },
      log: () => undefined,
    };
    const node = this;
    const view: ClusterView = {
      self: this.number,
      get ring() {
        return node.ring;
      },
      isUp: (other) => other === this.number || !this.down.has(other),
      replica: (other) => world.replicaFor(this, other),
      askWriter: (other, version, deadlineMs, done) =>
        world.askWriter(this, other, version, deadlineMs, done),
    };
    const options = {
      world: clusterWorld,
      view,
      versions,
      markForRepair: (vnode: number) => void this.marked.add(vnode),
      whenMarksKept: (done: () => void) =>
        void clusterWorld.timers.after(this.marksKeptAfterMs, () => {
          for (const vnode of this.marked) this.kept.add(vnode);
          done();
        }),
    };
    const coordinator = new Coordinator(options);
    this.hints.restart((run) => void clusterWorld.timers.after(0.1, run));
    const hintReplay = new HintReplay(options, coordinator, this.hints);
    hintReplay.start();
    return [coordinator, hintReplay];
  }

  crash(): void {
    this.running = false;
    this.life++;
  }
  restart(): void {
    this.running = true;
    [this.coordinator, this.hintReplay] = this.#boot();
  }
}

/** Nodes, and a network between them that delays, loses, repeats and reorders by seed. */
export class CoordinatorWorld {
  readonly schedule = new Schedule();
  readonly random: Random;
  readonly nodes = new Map<NodeNumber, TestNode>();
  readonly cut = new Set<string>();
  faults: Faults = CALM;
  /** Who was asked what became of which version. */
  readonly askedWriters: { readonly writer: NodeNumber; readonly version: number }[] = [];

  constructor(seed: number, numbers: readonly NodeNumber[], ring: RingMap) {
    this.random = new Random(seed);
    for (const number of numbers) this.nodes.set(number, new TestNode(this, number, ring));
  }
  node(number: NodeNumber): TestNode {
    const found = this.nodes.get(number);
    assert(found !== undefined, () => `no node ${number}`);
    return found;
  }
  /** Runs until `until` holds, at most so long. */
  run(ms: number, until: () => boolean = () => false): void {
    const end = this.schedule.nowMs + ms;
    while (this.schedule.nowMs < end && !until()) this.schedule.runTo(Math.min(end, this.schedule.nowMs + 1));
  }
  heal(): void {
    this.faults = CALM;
    this.cut.clear();
    for (const node of this.nodes.values()) {
      node.down.clear();
      if (!node.running) node.restart();
    }
  }

  #delay(): number {
    const { random, faults } = this;
    const ms = random.below(1000) / 1000;
    return random.chance(faults.straggler) ? ms * 800 : 0.1 + ms * faults.delayMsMax;
  }
  /** Delivers once, twice or never. */
  #carry(from: TestNode, to: TestNode, run: () => void): void {
    if (from === to) {
      this.schedule.after(0.01, run);
      return;
    }
    const copies = this.random.chance(this.faults.duplication) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.random.chance(this.faults.loss)) continue;
      const delay = this.#delay();
      this.schedule.after(delay, () => {
        if (!this.cut.has(`${from.number}>${to.number}`)) run();
      });
    }
  }

  /** ClusterView.askWriter of a node. */
  askWriter(
    from: TestNode,
    number: NodeNumber,
    version: number,
    deadlineMs: MonotonicMs,
    done: (version: number) => void,
  ): void {
    this.askedWriters.push({ writer: number, version });
    const to = this.node(number);
    const { life } = from;
    let open = true;
    const end = (as: number): void => {
      if (!open || from.life !== life) return;
      open = false;
      done(as);
    };
    this.schedule.after(Math.max(0.1, msLeft(deadlineMs, from.clock.monotonicMs())), () => end(0));
    this.#carry(from, to, () => {
      const targetLife = to.life;
      if (!to.running) return;
      to.coordinator.askWritten(version, (as) => {
        if (to.life === targetLife) this.#carry(to, from, () => end(as));
      });
    });
  }

  /** The replica of a node as another node reaches it: `done` once, with TIMEOUT after the deadline at the latest. */
  replicaFor(from: TestNode, number: NodeNumber): Replica {
    const to = this.node(number);
    const call = <R extends { readonly deadlineMs: MonotonicMs }, A>(
      operation: (replica: Replica, request: R, done: (answer: A) => void) => void,
      failed: (status: number) => A,
    ) => {
      return (request: R, done: (answer: A) => void): void => {
        const { life } = from;
        const ringNumber = from.ring.number;
        let open = true;
        const end = (answer: A): void => {
          if (!open || from.life !== life) return;
          open = false;
          done(answer);
        };
        this.schedule.after(Math.max(0.1, msLeft(request.deadlineMs, from.clock.monotonicMs())), () =>
          end(failed(Status.TIMEOUT)),
        );
        this.#carry(from, to, () => {
          if (!to.running) return;
          const targetLife = to.life;
          const answer = (value: A): void => {
            if (to.life === targetLife) this.#carry(to, from, () => end(value));
          };
          if (to.ring.number > ringNumber) {
            answer(failed(PeerStatus.STALE_RING));
            this.#carry(to, from, () => {
              if (from.ring.number < to.ring.number) from.ring = to.ring;
            });
          } else operation(to.replica, request, answer);
        });
      };
    };
    const noWrite = (status: number): WriteAnswer => ({
      status,
      beat: 0,
      barred: false,
      newer: null,
      message: '',
    });
    const unused = (): never => {
      throw new AssertionError('a coordinator builds no trees');
    };
    return {
      write: call((replica, request, done) => replica.write(request, done), noWrite),
      read: call(
        (replica, request, done) => replica.read(request, done),
        (status) => ({ status, record: null, message: '' }),
      ),
      prepare: call(
        (replica, request, done) => replica.prepare(request, done),
        (status) => ({ status, beat: 0, record: null, outcomes: null, message: '' }),
      ),
      page: call(
        (replica, request, done) => replica.page(request, done),
        (status) => ({ status, records: new Uint8Array(0), next: null, message: '' }),
      ),
      hint: (target, request, done) =>
        call((replica, hint: typeof request, answered) => replica.hint(target, hint, answered), noWrite)(
          request,
          done,
        ),
      tree: unused,
      treeNodes: unused,
      endTree: unused,
    };
  }
}
