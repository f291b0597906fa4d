/**
 * The store as it runs on a simulated machine: the product's ClusterNode, hints, replica and engine, put together as
 * src/node/peer-thread.ts and src/shard/replica-server.ts do it, over the simulated disk, network and clock.
 */
import { deadlineIn } from '../../src/base/clock.ts';
import { RingKvError, UnavailableError } from '../../src/base/errors.ts';
import { KEYSPACE_USER } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { ClusterNode } from '../../src/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/cluster/cluster-node-options.ts';
import type { DrainLeft } from '../../src/cluster/coming-to-rest.ts';
import type { ConnectionId, NodeNumber, Replica } from '../../src/cluster/contract.ts';
import { resumeJoin } from '../../src/cluster/join-document.ts';
import { beginLoneJoin, type LoneJoinOptions } from '../../src/cluster/lone-join.ts';
import { keepGeneration, nextGeneration } from '../../src/cluster/membership-generation.ts';
import { MessageError } from '../../src/cluster/message-bytes.ts';
import { clusterIdOnDisk } from '../../src/cluster/ring-agreement.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import type { TopologyOperation } from '../../src/cluster/ring-messages.ts';
import { RingProbe } from '../../src/cluster/ring-probe.ts';
import { NODE_STARTS, refuseRequest } from '../../src/cluster/rpc-service.ts';
import type { Standing } from '../../src/cluster/topology.ts';
import { FileDocuments } from '../../src/node/cluster-documents.ts';
import { HintLog } from '../../src/replica/hint-log.ts';
import { takenByOwnClock, tellingTimes, withTimeoutOfItsOwn } from './deadline-defects.ts';
import { forgetfulReplica, hintedReplica, unrepairedReplica } from './defects.ts';
import { EngineReplica } from './engine-replica.ts';
import type { HeldRecord, Program, ProgramHost } from './program.ts';
import type { ProcessNetwork } from './site-network.ts';

const DATA = '/data';
/** No client has such a key. */
const NO_KEY = new TextEncoder().encode('asked by another node');
const NOT_OPEN = 'this node is starting';

/** Sees other nodes' replicas through a defect. */
class DefectiveNode extends ClusterNode {
  readonly #host: ProgramHost;
  readonly #local: Replica;
  constructor(options: ClusterNodeOptions, host: ProgramHost) {
    super(options);
    this.#host = host;
    this.#local = options.local;
  }
  override replica(node: NodeNumber): Replica {
    const replica = super.replica(node);
    const { clock, defect, life, self } = this.#host;
    if (defect === 'hint-counts-as-home' && node !== self)
      return hintedReplica(replica, node, this.#local, life);
    if (defect === 'timeout-of-each-hop' && node !== self) return withTimeoutOfItsOwn(replica, clock);
    if (defect === 'shown-forgotten') return forgetfulReplica(replica);
    return defect === 'drop-read-repair' ? unrepairedReplica(replica, life) : replica;
  }
  override askWriter(...[node, version, deadlineMs, done]: Parameters<ClusterNode['askWriter']>): void {
    const { defect, life } = this.#host;
    if (defect === 'writers-say-yes') life.after(1, () => done(version));
    else if (defect === 'writers-say-nothing') life.after(1, () => done(0));
    else super.askWriter(node, version, deadlineMs, done);
  }
}

export class NodeProgram implements Program {
  readonly #host: ProgramHost;
  readonly #replica: EngineReplica;
  readonly #hints: HintLog;
  readonly #network: ProcessNetwork;
  #documents: FileDocuments;
  #node: ClusterNode;
  #probe: RingProbe | null = null;
  #isEngineOpen = false;
  /** Requests of clients under way; who waits for their end; and whether further ones are refused. */
  #underWay = 0;
  #onIdle: (() => void) | null = null;
  #isHeld = false;
  #isJoining = false;
  isOpen = false;
  notReady = NOT_OPEN;

  constructor(host: ProgramHost) {
    this.#host = host;
    const { fs, clock } = host;
    if (!fs.exists(DATA)) {
      fs.mkdir(DATA);
      fs.syncDirectory('/');
    }
    this.#documents = new FileDocuments(fs, DATA);
    this.#hints = new HintLog(fs, DATA, clock, (level, message) => host.log(level, message));
    this.#replica = new EngineReplica(host, this.#hints);
    // What it left behind of another cluster, its ring among it.
    resumeJoin(this.#documents);
    // The transport takes it for its greeting before the node is made.
    const generation = nextGeneration({ documents: this.#documents, clock });
    this.#network = host.attach(
      {
        onMessage: (from, message, over) => this.#receive(from, message, over),
        onConnected: (node) => {
          if (this.#isEngineOpen) this.#node.onConnected(node);
        },
        onDisconnected: (node, _left, lost) => {
          if (this.#isEngineOpen) this.#node.onDisconnected(node, lost);
        },
      },
      generation,
      clusterIdOnDisk(this.#documents),
    );
    keepGeneration(this.#documents, generation).then(() => this.#network.listen(), host.fail);
    this.#node = this.#newNode();
    this.#open().catch((error: unknown) => host.fail(error));
  }

  #newNode(): ClusterNode {
    const { self, nodeId, address, rack, clock, random, life, role, tuning, defect, log } = this.#host;
    const documents = this.#documents;
    const told = resumeJoin(documents);
    const tellsTimes = defect === 'deadlines-told-as-times';
    const options: ClusterNodeOptions = {
      world: {
        self,
        clock,
        random,
        timers: life,
        network: tellsTimes ? tellingTimes(this.#network, clock) : this.#network,
        documents,
        log: (level, message) => log(level, message),
      },
      local: this.#replica,
      hints: this.#hints,
      member: { number: self, nodeId, address, url: '', weight: 1, rack, zone: '' },
      clusterName: 'sim',
      vnodes: tuning.vnodes,
      replicas: tuning.replicas,
      seeds: told ?? role.seeds,
      replaces: told === null ? role.replaces : 0,
      repairIntervalMs: tuning.repairIntervalMs,
      versionMax: 0,
      onCoordinate: (done) => void life.after(1, done),
      onClusterId: (clusterId) => this.#network.setClusterId(clusterId),
      onNotReady: (reason) => {
        this.notReady = reason;
      },
    };
    return defect === null ? new ClusterNode(options) : new DefectiveNode(options, this.#host);
  }

  async #open(): Promise<void> {
    const { life, recoveryMs } = this.#host;
    await this.#replica.open();
    if (recoveryMs > 0) await new Promise<void>((resolve) => life.after(recoveryMs, resolve));
    this.#isEngineOpen = true;
    this.#start();
  }
  #start(): void {
    const node = this.#node;
    node.start((error) => {
      if (error !== null) this.#host.fail(error);
      else if (node === this.#node) this.isOpen = true;
    });
  }

  async join(seeds: readonly string[]): Promise<void> {
    if (!this.#isEngineOpen || this.#isJoining) throw new UnavailableError(NOT_OPEN);
    this.#isJoining = true;
    try {
      await beginLoneJoin(this.#joinOptions(), seeds);
      await this.#beginAnew();
    } catch (error) {
      if (!(error instanceof RingKvError)) this.#host.fail(error);
      throw error;
    } finally {
      this.#isJoining = false;
    }
  }

  #joinOptions(): LoneJoinOptions {
    const { self, nodeId, address, rack, clock, life, tuning } = this.#host;
    const node = this.#node;
    return {
      self: { number: self, nodeId, address, url: '', weight: 1, rack, zone: '' },
      clusterName: 'sim',
      vnodes: tuning.vnodes,
      local: this.#replica,
      hints: this.#hints,
      documents: this.#documents,
      clock,
      ring: () => node.ring,
      standing: () => node.standing,
      isChanging: () => node.topology.isChanging,
      hold: (reason) => {
        node.held = reason;
        this.#isHeld = true;
        return new Promise((resolve) => {
          this.#onIdle = resolve;
          this.#ended(0);
        });
      },
      release: () => {
        node.held = '';
        this.#isHeld = false;
      },
      ringOf: async (from) => {
        // It asks over connections of its own, which bear no cluster's id.
        this.#network.setClusterId('');
        this.#probe = new RingProbe({ clock, timers: life, network: this.#network }, from, () => new Map());
        try {
          return await this.#probe.ring();
        } finally {
          this.#probe = null;
          this.#network.setClusterId(node.ring?.clusterId ?? '');
        }
      },
    };
  }

  async #beginAnew(): Promise<void> {
    await this.#node.shutDown();
    await this.#documents.close();
    this.isOpen = false;
    this.#documents = new FileDocuments(this.#host.fs, DATA);
    this.#network.setClusterId('');
    this.#node = this.#newNode();
    this.#isHeld = false;
    this.#start();
  }

  #ended(requests: number): void {
    this.#underWay -= requests;
    if (this.#underWay === 0) this.#onIdle?.();
  }

  get ring(): RingMap | null {
    return this.#node.ring;
  }
  get standing(): Standing {
    return this.#node.standing;
  }
  get hintBytes(): number {
    return [...this.#node.hintBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
  get repairsWaiting(): number {
    return this.#node.repairs.waiting;
  }
  get resurrections(): number {
    return this.#replica.resurrections;
  }

  write(...[request, done]: Parameters<Program['write']>): void {
    if (!this.isOpen || this.#isHeld) {
      done({ status: Status.UNAVAILABLE, version: 0, sloppy: false, message: NOT_OPEN });
      return;
    }
    this.#underWay++;
    this.#node.write(request, (answer) => {
      done(answer);
      this.#ended(1);
    });
  }
  read(...[request, done]: Parameters<Program['read']>): void {
    if (!this.isOpen || this.#isHeld) {
      done({ status: Status.UNAVAILABLE, record: null, message: NOT_OPEN });
      return;
    }
    this.#underWay++;
    this.#node.read(request, (answer) => {
      done(answer);
      this.#ended(1);
    });
  }
  scan(...[request, done]: Parameters<Program['scan']>): void {
    if (!this.isOpen || this.#isHeld) {
      done({ status: Status.UNAVAILABLE, records: new Uint8Array(0), next: null, message: NOT_OPEN });
      return;
    }
    this.#underWay++;
    this.#node.scan(request, (answer) => {
      done(answer);
      this.#ended(1);
    });
  }
  reaches(node: NodeNumber): boolean {
    return this.#network.isConnected(node) && this.#node.membership.isUp(node);
  }
  ask(node: NodeNumber, timeoutMs: number, done: (status: number) => void): boolean {
    if (!this.isOpen) return false;
    const deadlineMs = deadlineIn(this.#host.clock, timeoutMs);
    const place = { tokenHi: 0, tokenLo: 0, keyspace: KEYSPACE_USER, key: NO_KEY };
    this.#node.replica(node).read({ ...place, headOnly: true, deadlineMs }, ({ status }) => done(status));
    return true;
  }
  drain(waitMs: number): Promise<DrainLeft> {
    return this.#node.drain(waitMs);
  }
  change(operation: TopologyOperation): Promise<unknown> {
    return this.#node.change(operation);
  }
  repair(): void {
    if (this.#node.ring !== null) this.#node.repairs.request(null);
  }
  async compact(): Promise<void> {
    if (this.#isEngineOpen) await this.#replica.engine.compactAll();
  }
  dump(): readonly HeldRecord[] {
    return this.#replica.dump();
  }
  async stop(): Promise<void> {
    await this.#node.shutDown();
    await this.#network.close();
    this.#hints.close();
    // What comes now is left without an answer, as by a thread that has ended.
    const wasOpen = this.#isEngineOpen;
    this.#isEngineOpen = false;
    if (wasOpen) await this.#replica.close();
  }

  #receive(from: NodeNumber, message: Uint8Array, over: ConnectionId): void {
    const { self, clock, defect } = this.#host;
    try {
      if (!this.#isEngineOpen) {
        refuseRequest({ self, clock, network: this.#network }, from, message, NODE_STARTS, over);
        return;
      }
      this.#probe?.receive(message.slice());
      const isTold = defect === 'deadlines-told-as-times';
      this.#node.onMessage(from, isTold ? takenByOwnClock(message, clock) : message, over);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.#host.fail(error);
    }
  }
}
