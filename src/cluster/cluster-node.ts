/**
 * One node's part of the cluster, put together: membership, ring and its changes, coordinator, hints, repairs, and the
 * messages between them and other nodes. Owned by the peer worker; pure: the outside comes in by ClusterWorld, the
 * local replica and the store of hints. The simulator runs the same.
 */
import { HybridClock, type MonotonicMs } from '../base/clock.ts';
import { ConfigurationError, RingKvError, UnavailableError } from '../base/errors.ts';
import { Status } from '../base/status.ts';
import type { ClusterMetrics } from './cluster-metrics.ts';
import { type ClusterNodeOptions, NodeFact } from './cluster-node-options.ts';
import { type Calls, clusterView } from './cluster-view.ts';
import { comeToRest, type DrainLeft, drainParts, type RestingParts } from './coming-to-rest.ts';
import type {
  ClientRead,
  ClientReadAnswer,
  ClientScan,
  ClientScanAnswer,
  ClientWrite,
  ClientWriteAnswer,
  ClusterWorld,
  ConnectionId,
  MemberState,
  NodeNumber,
  Replica,
} from './contract.ts';
import { Coordinator } from './coordinator.ts';
import type { OnWritten } from './coordinator-core.ts';
import { gossipNetwork } from './gossip-network.ts';
import { HintReplay } from './hint-replay.ts';
import { Membership } from './membership.ts';
import { MessageRouter } from './message-router.ts';
import { encodeRingAgreement } from './messages.ts';
import { newClusterId, nodeName } from './node-name.ts';
import { Repairs } from './repairs.ts';
import { encodeRing } from './ring-codec.ts';
import type { RingMap } from './ring-map.ts';
import { checkRingMessage } from './ring-message-check.ts';
import {
  isRepairMessage,
  type RepairMessage,
  type RingMessage,
  type TopologyOperation,
} from './ring-messages.ts';
import { RemoteReplicas } from './rpc.ts';
import { NODE_STARTS, ReplicaService, refuseRequest } from './rpc-service.ts';
import { type Standing, Topology } from './topology.ts';

/** How long a node that is the first of its own seeds listens for a cluster that is there already. */
const FIRST_SEED_MS = 3000;
export class ClusterNode implements Calls {
  readonly membership: Membership;
  readonly topology: Topology;
  readonly repairs: Repairs;
  readonly versions: HybridClock;
  /** Why it takes part in nothing: refuses clients and changes, and is silent towards other nodes. '' where it does. */
  held = '';
  readonly #options: ClusterNodeOptions;
  readonly #world: ClusterWorld;
  readonly #hintReplay: HintReplay;
  readonly #coordinator: Coordinator;
  readonly #resting: RestingParts;
  #remote: RemoteReplicas | null = null;
  #service: ReplicaService | null = null;
  #router: MessageRouter | null = null;
  #ringBytes: Uint8Array | null = null;
  #coordinated = false;
  #draining = false;
  #isStopping = false;
  #stopped = false;
  #onOpen: ((error: Error | null) => void) | null = null;

  /** Throws ConfigurationError and CorruptionError. */
  constructor(options: ClusterNodeOptions) {
    this.#options = options;
    const { world, local, hints, member } = options;
    this.#world = world;
    this.versions = new HybridClock(world.clock);
    this.versions.observe(options.versionMax);
    const network = gossipNetwork(world.network, (node) => this.#forget(node));
    const facts = new Map<string, string | number>([
      [NodeFact.ID, member.nodeId],
      [NodeFact.RACK, member.rack],
      [NodeFact.ZONE, member.zone],
      [NodeFact.WEIGHT, member.weight],
    ]);
    const { seeds } = options;
    this.membership = new Membership(
      { ...world, network },
      { address: member.address, seeds, facts },
      {
        onLiveness: (node, liveness) => {
          if (node !== world.self) world.log('info', `node ${nodeName(node)} is ${liveness}`);
        },
        onFacts: (node) => this.topology.onFacts(node),
      },
    );
    const send = (to: NodeNumber, message: RingMessage | RepairMessage): void =>
      void world.network.send(to, encodeRingAgreement(message));
    this.topology = new Topology(world, options.vnodes, {
      send,
      sendTo: (address, message, anew) =>
        void world.network.sendTo(address, encodeRingAgreement(message), anew),
      isUp: (node) => this.membership.isUp(node),
      addressOf: (node) => this.membership.member(node)?.address,
      fact: (node, name) => this.membership.member(node)?.facts.get(name),
      setFact: (name, value) => this.membership.setFact(name, value),
      pull: (vnode, sources) => this.repairs.pull(vnode, sources),
      hintBytes: () => [...hints.targets().values()].reduce((sum, bytes) => sum + bytes, 0),
      marksLeft: () => this.repairs.waiting,
      hintBlock: () => this.#hintReplay.block,
      onRing: (ring) => this.#takeRing(ring),
    });
    const { self } = world;
    const view = clusterView(self, this.topology, this.membership, this);
    const common = {
      world,
      view,
      versions: this.versions,
      markForRepair: (vnode: number) => this.repairs.mark(vnode),
      whenMarksKept: (done: () => void) => this.repairs.whenMarksKept(done),
    };
    this.#coordinator = new Coordinator(common);
    this.#hintReplay = new HintReplay(common, this.#coordinator, hints);
    this.repairs = new Repairs({
      world,
      local,
      replica: (node) => this.replica(node),
      isUp: (node) => this.membership.isUp(node),
      ring: () => this.topology.ring,
      send,
      settle: (key, tokenHi, tokenLo) => this.#settle(key, tokenHi, tokenLo),
      intervalMs: options.repairIntervalMs,
    });
    this.#resting = { world, behind: this.#coordinator.behind, marks: this.repairs };
  }

  get ring(): RingMap | null {
    return this.topology.ring;
  }
  get standing(): Standing {
    return this.topology.standing;
  }
  get draining(): boolean {
    return this.#draining;
  }
  get metrics(): ClusterMetrics {
    return {
      hints: this.#hintReplay.metrics,
      coordinator: this.#coordinator.metrics,
      repairs: this.repairs.statistics,
      repairsWaiting: this.repairs.waiting,
      calls: this.#remote?.counts,
      served: this.#service?.counts,
      readsFrom: this.#options.local.readsFrom,
    };
  }
  get hintBytes(): ReadonlyMap<NodeNumber, number> {
    return this.#options.hints.targets();
  }

  /** `done` once the node knows its ring and can coordinate, or with what keeps it from starting. */
  start(done: (error: Error | null) => void): void {
    this.#onOpen = done;
    this.membership.start((error) => {
      if (error === null) this.#begin();
      else done(error);
    });
  }

  /** Ends in an orderly way: what was acknowledged does not hang on this process any more. */
  async shutDown(): Promise<void> {
    this.#isStopping = true;
    this.repairs.stop();
    await comeToRest(this.#resting, this.#remote);
    this.stop();
  }
  /** At once. */
  stop(): void {
    this.#stopped = true;
    this.repairs.stop();
    this.#hintReplay.stop();
    this.topology.stop();
    this.membership.stop();
    this.#remote?.close();
  }

  /** A message of another node. Throws MessageError where it is malformed. */
  onMessage(from: NodeNumber, bytes: Uint8Array, over: ConnectionId): void {
    if (this.held === '') this.membership.heardFrom(from);
    if (this.held === '' && this.#router !== null) this.#router.receive(from, bytes, over);
    else refuseRequest(this.#options.world, from, bytes, this.held || NODE_STARTS, over);
  }
  onConnected(node: NodeNumber): void {
    this.membership.onConnected(node);
  }
  onDisconnected(node: NodeNumber, lost: ConnectionId): void {
    this.#remote?.disconnected(node);
    this.#service?.disconnected(node, lost);
  }
  setUrl(url: string): void {
    this.membership.setFact(NodeFact.URL, url);
  }

  // ---------------------------------------------------------------------------------------------- requests

  write(request: ClientWrite, done: (answer: ClientWriteAnswer) => void): void {
    const refusal = this.#refusal();
    if (refusal === '') this.#coordinator.write(request, done);
    else {
      const message = `${refusal}; nothing was written`;
      done({ status: Status.UNAVAILABLE, version: 0, sloppy: false, message });
    }
  }
  read(request: ClientRead, done: (answer: ClientReadAnswer) => void): void {
    const refusal = this.#refusal();
    if (refusal === '') this.#coordinator.read(request, done);
    else done({ status: Status.UNAVAILABLE, record: null, message: refusal });
  }
  scan(request: ClientScan, done: (answer: ClientScanAnswer) => void): void {
    const refusal = this.#refusal();
    if (refusal === '') this.#coordinator.scan(request, done);
    else done({ status: Status.UNAVAILABLE, records: new Uint8Array(0), next: null, message: refusal });
  }

  /** Begins a change of the ring: resolves when it is agreed on. */
  async change(operation: TopologyOperation): Promise<readonly string[]> {
    await this.#coordinate();
    if (this.held !== '') throw new UnavailableError(this.held);
    return await this.topology.request(operation);
  }
  /**
   * No more requests of clients. Resolves when nothing that was acknowledged hangs on this process and hints for nodes that are there are
   * handed out, or after `waitMs`: with what is left.
   */
  drain(waitMs: number): Promise<DrainLeft> {
    this.#draining = true;
    this.membership.setFact(NodeFact.DRAINING, 1);
    this.#options.onNotReady(DRAINING);
    return drainParts(this.#resting, this.#hintReplay, waitMs);
  }
  replica(node: NodeNumber): Replica {
    const { local, world } = this.#options;
    if (node === world.self) return local;
    return this.#calls.replica(node);
  }
  askWriter(node: NodeNumber, version: number, deadlineMs: MonotonicMs, done: OnWritten): void {
    if (node !== this.#world.self) this.#calls.askWriter(node, version, deadlineMs, done);
    else this.#coordinator.askWritten(version, (as) => queueMicrotask(() => done(as)));
  }
  get #calls(): RemoteReplicas {
    if (this.#remote !== null) return this.#remote;
    throw new UnavailableError('the node has not started');
  }
  members(): MemberState[] {
    return [...this.membership.members()];
  }

  // ------------------------------------------------------------------------------------------------- parts

  #begin(): void {
    const { world, local, seeds, member, clusterName, vnodes, replicas, replaces } = this.#options;
    const ringNumber = (): number => this.topology.ring?.number ?? 0;
    const onRing = (from: NodeNumber, ring: Uint8Array): void => this.#learn(from, ring);
    const remote = new RemoteReplicas({ world, generation: this.membership.generation, ringNumber, onRing });
    const service = new ReplicaService({
      world,
      replica: local,
      ringNumber,
      ringBytes: () => this.#ringBytes ?? new Uint8Array(0),
      onNewerRing: (from) => this.topology.onFacts(from),
      askWritten: (version, done) => this.#coordinator.askWritten(version, done),
    });
    this.#remote = remote;
    this.#service = service;
    this.#router = new MessageRouter({
      world,
      remote,
      service,
      onGossip: (from, payload) =>
        void (payload instanceof Uint8Array && this.membership.receive(from, payload)),
      onRingAgreement: (from, payload) => this.#onRingMessage(from, payload),
      onRing,
    });
    const shape = { clusterName, clusterId: newClusterId(world.random), vnodes, replicas };
    const others = seeds.filter((seed) => seed !== member.address);
    const startTopology = (from: readonly string[]): void => {
      if (this.#stopped) return;
      this.topology.start({ member, seeds: from, shape, replaces });
    };
    // The first of its own seeds makes the cluster, unless the others have one.
    const isFirst = seeds[0] === member.address;
    const isNew = world.documents.load('ring') === null;
    if (isFirst && isNew && others.length > 0)
      world.timers.after(FIRST_SEED_MS, () => startTopology(this.#hearsOfRing() ? others : []));
    else startTopology(isFirst ? [] : others);
    this.repairs.start();
  }

  #hearsOfRing(): boolean {
    const { self } = this.#world;
    return this.members().some(({ number, facts }) => number !== self && Number(facts.get('ring') ?? 0) > 0);
  }

  #onRingMessage(from: NodeNumber, payload: unknown): void {
    let message: RingMessage | RepairMessage;
    try {
      message = checkRingMessage(payload);
    } catch (error) {
      this.#dropped(from, error);
      return;
    }
    // A change that another asks for makes this node one of several as well.
    const take = (): void => {
      if (this.held !== '') return;
      try {
        if (isRepairMessage(message)) this.repairs.onMessage(from, message);
        else this.topology.onMessage(from, message);
      } catch (error) {
        this.#dropped(from, error);
      }
    };
    if (message.kind === 'topology-request') void this.#coordinate().then(take);
    else take();
  }

  #dropped(from: NodeNumber, error: unknown): void {
    if (!(error instanceof RingKvError)) throw error;
    const opened = this.#onOpen;
    // No ring of this cluster will ever do.
    if (error instanceof ConfigurationError && opened !== null) {
      this.#onOpen = null;
      opened(error);
      return;
    }
    const message = `a message about the ring from node ${nodeName(from)} is dropped: ${error.message}`;
    this.#world.log('warn', message);
  }
  #learn(from: NodeNumber, ring: Uint8Array): void {
    try {
      this.topology.learn(ring);
    } catch (error) {
      this.#dropped(from, error);
    }
  }

  #takeRing(ring: RingMap): void {
    const { onClusterId, onNotReady, world } = this.#options;
    this.#ringBytes = encodeRing(ring);
    onClusterId(ring.clusterId);
    this.membership.expect([...ring.members, ...(ring.change?.members ?? [])]);
    this.repairs.onRing(ring);
    if (!this.#stopped) this.#hintReplay.start();
    const isOnly = ring.members.length === 1 && ring.members[0]?.number === world.self;
    const open = (): void => {
      onNotReady(this.#draining ? DRAINING : this.standing === 'removed' ? REMOVED : '');
      const opened = this.#onOpen;
      this.#onOpen = null;
      opened?.(null);
    };
    if (isOnly && ring.change === null && !this.#coordinated) open();
    else void this.#coordinate().then(open);
  }

  #coordinate(): Promise<void> {
    if (this.#coordinated) return Promise.resolve();
    return new Promise((resolve) => {
      this.#options.onCoordinate(() => {
        this.#coordinated = true;
        resolve();
      });
    });
  }

  #refusal(): string {
    if (this.held !== '') return this.held;
    if (this.#isStopping) return STOPPING;
    if (this.#draining) return DRAINING;
    if (this.topology.ring === null) return 'this node has not found its cluster yet';
    return this.standing === 'removed' ? REMOVED : '';
  }

  #settle(key: Uint8Array, tokenHi: number, tokenLo: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#coordinator.settle(tokenHi, tokenLo, key, (ok, why) => {
        if (ok) resolve();
        else reject(new UnavailableError(`a key with a barred copy was not settled by SERIAL: ${why}`));
      });
    });
  }

  #forget(node: NodeNumber): void {
    this.#world.network.forget(node);
    this.#remote?.forget(node);
    this.#service?.forget(node);
  }
}

const DRAINING = 'this node is drained and takes no requests of clients';
const STOPPING = 'this node is stopping';
const REMOVED = 'this node was removed from the cluster';
