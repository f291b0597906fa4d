/** A few nodes whose messages pass through a network in memory that loses, duplicates and reorders by seed. */
import { ManualClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type * as contract from '../../src/cluster/contract.ts';
import { ANY_CONNECTION } from '../../src/cluster/contract.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { MessageRouter } from '../../src/cluster/message-router.ts';
import { RemoteReplicas } from '../../src/cluster/rpc.ts';
import { ReplicaService } from '../../src/cluster/rpc-service.ts';

export const START_MS = 1_700_000_000_000;

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Time and what happens in it, in order. */
export class Events {
  readonly clock = new ManualClock(START_MS);
  #events: Event[] = [];
  #order = 0;

  after(ms: number, run: () => void): () => void {
    const event = { at: this.clock.monotonicMs() + ms, order: this.#order++, run };
    this.#events.push(event);
    return () => {
      this.#events = this.#events.filter((one) => one !== event);
    };
  }
  /** Timers and messages that are still to come. */
  get pending(): number {
    return this.#events.length;
  }
  /** Lets `ms` pass, with all that happens in it; microtasks run between events. */
  async pass(ms: number): Promise<void> {
    const end = this.clock.monotonicMs() + ms;
    for (;;) {
      await Promise.resolve();
      this.#events.sort((a, b) => a.at - b.at || a.order - b.order);
      const next = this.#events[0];
      if (next === undefined || next.at > end) break;
      this.#events.shift();
      this.clock.advanceMs(Math.max(0, next.at - this.clock.monotonicMs()));
      next.run();
    }
    this.clock.advanceMs(end - this.clock.monotonicMs());
    await Promise.resolve();
  }
}

export interface Faults {
  loss: number;
  duplication: number;
  delayMsMax: number;
}

/** A replica that answers after `delayMs`, or when told; it notes what it was asked. */
export class FakeReplica implements contract.Replica {
  readonly asked: { readonly op: string; readonly request: unknown }[] = [];
  readonly held: (() => void)[] = [];
  hold = false;
  record: Uint8Array | null = null;
  #answer<A>(op: string, request: unknown, answer: A, done: (answer: A) => void): void {
    this.asked.push({ op, request });
    if (this.hold) this.held.push(() => done(answer));
    else queueMicrotask(() => done(answer));
  }
  write(request: contract.ReplicaWrite, done: (answer: contract.WriteAnswer) => void): void {
    const answer = { status: Status.OK, beat: 0, barred: false, newer: null, message: '' };
    this.#answer('write', request, answer, done);
  }
  read(request: contract.ReplicaRead, done: (answer: contract.ReadAnswer) => void): void {
    this.#answer('read', request, { status: Status.OK, record: this.record, message: '' }, done);
  }
  prepare(request: contract.ReplicaPrepare, done: (answer: contract.PrepareAnswer) => void): void {
    const answer = { status: Status.OK, beat: 0, record: this.record, outcomes: null, message: '' };
    this.#answer('prepare', request, answer, done);
  }
  page(request: contract.ReplicaPage, done: (answer: contract.PageAnswer) => void): void {
    const records = this.record ?? new Uint8Array(0);
    this.#answer('page', request, { status: Status.OK, records, next: null, message: '' }, done);
  }
  tree(request: contract.ReplicaTree, done: (answer: contract.TreeAnswer) => void): void {
    this.#answer(
      'tree',
      request,
      { status: Status.OK, records: 7, ignoredDeadBeforeMs: 0, message: '' },
      done,
    );
  }
  treeNodes(request: contract.ReplicaTreeNodes, done: (answer: contract.TreeNodesAnswer) => void): void {
    const hashes = new Uint8Array(8 * request.indexes.length);
    this.#answer('treeNodes', request, { status: Status.OK, hashes, message: '' }, done);
  }
  endTree(session: number): void {
    this.asked.push({ op: 'endTree', request: session });
  }
  hint(target: number, request: contract.ReplicaWrite, done: (answer: contract.WriteAnswer) => void): void {
    const answer = { status: Status.OK, beat: 0, barred: false, newer: null, message: `for ${target}` };
    this.#answer('hint', request, answer, done);
  }
}

export class TestNode {
  readonly replica = new FakeReplica();
  readonly remote: RemoteReplicas;
  readonly service: ReplicaService;
  readonly router: MessageRouter;
  ring = 5;
  /** Of this node, as others know them. */
  features = FEATURES;
  /** Versions that others asked about. */
  readonly versionsAsked: number[] = [];
  readonly rings: string[] = [];
  readonly newer: string[] = [];
  readonly other: unknown[] = [];
  constructor(net: TestNet, self: number, generation: number) {
    const world: contract.ClusterWorld = {
      self,
      clock: net.events.clock,
      random: new Random(self),
      timers: net.events,
      network: {
        send: (to, message, over) => net.send(self, to, message, over),
        sendTo: () => false,
        features: (of) => net.nodes.get(of)?.features ?? 0,
        setAddress: () => undefined,
        forget: () => undefined,
      },
      documents: { load: () => null, save: () => undefined },
      log: () => undefined,
    };
    this.remote = new RemoteReplicas({
      world,
      generation,
      ringNumber: () => this.ring,
      onRing: (from, ring) => this.rings.push(`${from}: ${Buffer.from(ring)}`),
    });
    this.service = new ReplicaService({
      world,
      replica: this.replica,
      ringNumber: () => this.ring,
      ringBytes: () => Buffer.from(`ring ${this.ring}`),
      onNewerRing: (from, number) => this.newer.push(`${from}: ${number}`),
      askWritten: (version, done) => {
        this.versionsAsked.push(version);
        const answer = (): void => done(version === 1 ? 2 : 0);
        if (this.replica.hold) this.replica.held.push(answer);
        else queueMicrotask(answer);
      },
    });
    this.router = new MessageRouter({
      world,
      remote: this.remote,
      service: this.service,
      onGossip: (from, payload) => this.other.push(['gossip', from, payload]),
      onRingAgreement: (from, payload) => this.other.push(['agreement', from, payload]),
      onRing: (from, ring) => this.other.push(['ring', from, Buffer.from(ring).toString()]),
    });
  }
}

export class TestNet {
  readonly events = new Events();
  readonly faults: Faults = { loss: 0, duplication: 0, delayMsMax: 0 };
  readonly nodes = new Map<number, TestNode>();
  /** Ways that refuse, as `from>to`. */
  readonly refusing = new Set<string>();
  /** What messages come over. */
  connection = ANY_CONNECTION;
  /** Everything that was sent. */
  readonly sent: {
    readonly from: number;
    readonly to: number;
    readonly message: Uint8Array;
    readonly over: number;
  }[] = [];
  readonly #random: Random;
  constructor(seed: number) {
    this.#random = new Random(seed);
  }
  add(number: number, generation = 1): TestNode {
    const node = new TestNode(this, number, generation);
    this.nodes.set(number, node);
    return node;
  }
  send(from: number, to: number, message: Uint8Array, over = ANY_CONNECTION): boolean {
    if (this.refusing.has(`${from}>${to}`)) return false;
    this.sent.push({ from, to, message, over });
    const copies = this.#random.chance(this.faults.duplication) ? 2 : 1;
    for (let i = 0; i < copies; i++)
      if (!this.#random.chance(this.faults.loss)) this.deliver(from, to, message);
    return true;
  }
  deliver(from: number, to: number, message: Uint8Array): void {
    const delay = 1 + this.#random.below(this.faults.delayMsMax + 1);
    this.events.after(delay, () => this.nodes.get(to)?.router.receive(from, message, this.connection));
  }
}
