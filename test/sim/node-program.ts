/**
 * The store as it runs on a simulated machine: the product's ClusterNode, hints, replica and engine, put together as
 * src/node/peer-thread.ts and src/shard/replica-server.ts do it, over the simulated disk, network and clock.
 */
import { Status } from '../../src/base/status.ts';
import { ClusterNode } from '../../src/cluster/cluster-node.ts';
import type { ClusterNodeOptions } from '../../src/cluster/cluster-node-options.ts';
import type { NodeNumber, Replica } from '../../src/cluster/contract.ts';
import { nextGeneration } from '../../src/cluster/membership-generation.ts';
import { MessageError } from '../../src/cluster/message-bytes.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import type { TopologyOperation } from '../../src/cluster/ring-messages.ts';
import type { Standing } from '../../src/cluster/topology.ts';
import { FileDocuments } from '../../src/node/cluster-documents.ts';
import { HintLog } from '../../src/replica/hint-log.ts';
import { hintedReplica, unrepairedReplica } from './defects.ts';
import { EngineReplica } from './engine-replica.ts';
import type { HeldRecord, Program, ProgramHost } from './program.ts';

const DATA = '/data';
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
    const { defect, life, self } = this.#host;
    if (defect === 'hint-counts-as-home' && node !== self)
      return hintedReplica(replica, node, this.#local, life);
    return defect === 'drop-read-repair' ? unrepairedReplica(replica, life) : replica;
  }
}

export class NodeProgram implements Program {
  readonly #host: ProgramHost;
  readonly #replica: EngineReplica;
  readonly #hints: HintLog;
  readonly #node: ClusterNode;
  #isEngineOpen = false;
  isOpen = false;

  constructor(host: ProgramHost) {
    this.#host = host;
    const { self, nodeId, address, rack, clock, random, life, fs, role, tuning } = host;
    if (!fs.exists(DATA)) {
      fs.mkdir(DATA);
      fs.syncDirectory('/');
    }
    const documents = new FileDocuments(fs, DATA);
    // The transport takes it for its greeting before the node is made.
    nextGeneration({ documents, clock });
    this.#hints = new HintLog(fs, DATA, clock, (level, message) => host.log(level, message));
    this.#replica = new EngineReplica(host, this.#hints);
    const network = host.attach({
      onMessage: (from, message) => this.#receive(from, message),
      onDisconnected: (node) => {
        if (this.#isEngineOpen) this.#node.onDisconnected(node);
      },
    });
    const options: ClusterNodeOptions = {
      world: {
        self,
        clock,
        random,
        timers: life,
        network,
        documents,
        log: (level, message) => host.log(level, message),
      },
      local: this.#replica,
      hints: this.#hints,
      member: { number: self, nodeId, address, url: '', weight: 1, rack, zone: '' },
      clusterName: 'sim',
      vnodes: tuning.vnodes,
      replicas: tuning.replicas,
      seeds: role.seeds,
      replaces: role.replaces,
      repairIntervalMs: tuning.repairIntervalMs,
      versionMax: 0,
      onCoordinate: (done) => void life.after(1, done),
      onClusterId: () => undefined,
      onNotReady: () => undefined,
    };
    this.#node = host.defect === null ? new ClusterNode(options) : new DefectiveNode(options, host);
    this.#open().catch((error: unknown) => host.fail(error));
  }

  async #open(): Promise<void> {
    await this.#replica.open();
    this.#isEngineOpen = true;
    this.#node.start((error) => {
      if (error === null) this.isOpen = true;
      else this.#host.fail(error);
    });
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
    if (this.isOpen) this.#node.write(request, done);
    else done({ status: Status.UNAVAILABLE, version: 0, sloppy: false, message: NOT_OPEN });
  }
  read(...[request, done]: Parameters<Program['read']>): void {
    if (this.isOpen) this.#node.read(request, done);
    else done({ status: Status.UNAVAILABLE, record: null, message: NOT_OPEN });
  }
  scan(...[request, done]: Parameters<Program['scan']>): void {
    if (this.isOpen) this.#node.scan(request, done);
    else done({ status: Status.UNAVAILABLE, records: new Uint8Array(0), next: null, message: NOT_OPEN });
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
    this.#node.stop();
    this.#hints.close();
    // What comes now is left without an answer, as by a thread that has ended.
    const wasOpen = this.#isEngineOpen;
    this.#isEngineOpen = false;
    if (wasOpen) await this.#replica.close();
  }

  #receive(from: NodeNumber, message: Uint8Array): void {
    if (!this.#isEngineOpen) return;
    try {
      this.#node.onMessage(from, message);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.#host.fail(error);
    }
  }
}
