import { MANUAL_MONOTONIC_MS } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type { LocalReplica, NodeNumber, Replica } from '../../src/cluster/contract.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { decodePlain, encodePlain } from '../../src/cluster/message-bytes.ts';
import { Repairs } from '../../src/cluster/repairs.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { checkRingMessage } from '../../src/cluster/ring-message-check.ts';
import { isRepairMessage, type RepairMessage } from '../../src/cluster/ring-messages.ts';
import { clockOf } from '../base/clocks.ts';
import { testSeed } from '../seed.ts';
import { EventQueue, NO_NETWORK, timersOf } from './event-queue.ts';
import { MemoryDocuments } from './gossip-network.ts';
import { MemoryReplica } from './memory-replica.ts';
import { GRACE_MS, START_MS } from './repair-harness.ts';

const seed = testSeed();
export const VNODES = 16;
export const ringOf = (nodes: readonly NodeNumber[], over: Partial<RingMap> = {}): RingMap => ({
  number: 1,
  clusterName: 'test',
  clusterId: '0'.repeat(32),
  vnodes: VNODES,
  replicas: 3,
  members: nodes.map((number) => ({
    number,
    nodeId: number.toString(16).padStart(8, '0').padEnd(32, '0'),
    address: `n${number}:1`,
    url: '',
    rack: 'r',
    zone: '',
    weight: 1,
  })),
  owners: Uint16Array.from({ length: VNODES }, (_, vnode) => vnode % nodes.length),
  change: null,
  ...over,
});

/** Nodes with replicas in memory, each with its repairs; time moves when told. */
export class RepairCluster {
  nowMs = START_MS;
  readonly clock = clockOf(
    () => this.nowMs,
    () => this.nowMs - START_MS + MANUAL_MONOTONIC_MS,
  );
  readonly queue = new EventQueue();
  readonly replicas = new Map<NodeNumber, MemoryReplica>();
  readonly purgeBefore = new Map<NodeNumber, Map<number, number>>();
  readonly documents = new Map<NodeNumber, MemoryDocuments>();
  readonly down = new Set<NodeNumber>();
  /** Of nodes whose build is an earlier one. */
  readonly features = new Map<NodeNumber, number>();
  readonly log: string[] = [];
  readonly repairs = new Map<NodeNumber, Repairs>();
  /** What repairs said to each other. */
  readonly sent: { readonly from: NodeNumber; readonly to: NodeNumber; readonly message: RepairMessage }[] =
    [];
  /** Whether a message arrives. */
  arrives: (to: NodeNumber, message: RepairMessage) => boolean = () => true;
  ring: RingMap;
  readonly random = new Random(seed);

  constructor(nodes: readonly NodeNumber[], over: Partial<RingMap> = {}) {
    this.ring = ringOf(nodes, over);
    const { clock } = this;
    for (const node of nodes) {
      const fault = (): number => (this.down.has(node) ? Status.UNAVAILABLE : Status.OK);
      this.replicas.set(node, new MemoryReplica({ clock, vnodes: VNODES, gcGraceMs: GRACE_MS, fault }));
      this.purgeBefore.set(node, new Map());
      this.documents.set(node, new MemoryDocuments());
    }
  }
  replica(node: NodeNumber): MemoryReplica {
    const replica = this.replicas.get(node);
    if (replica === undefined) throw new Error(`no node ${node}`);
    return replica;
  }
  horizon(node: NodeNumber, vnode: number): number {
    return this.purgeBefore.get(node)?.get(vnode) ?? Number.NaN;
  }

  start(node: NodeNumber, intervalMs = 0): Repairs {
    const replica = this.replica(node);
    const horizons = this.purgeBefore.get(node) as Map<number, number>;
    const local: LocalReplica = Object.assign(Object.create(replica) as Replica, {
      write: replica.write.bind(replica),
      read: replica.read.bind(replica),
      prepare: replica.prepare.bind(replica),
      page: replica.page.bind(replica),
      tree: replica.tree.bind(replica),
      treeNodes: replica.treeNodes.bind(replica),
      endTree: replica.endTree.bind(replica),
      hint: replica.hint.bind(replica),
      setPurgeBefore: (vnode: number, version: number) => void horizons.set(vnode, version),
      resurrections: 0,
    });
    const { clock } = this;
    const repairs = new Repairs({
      world: {
        self: node,
        clock,
        random: new Random(this.random.uint32()),
        documents: this.documents.get(node) as MemoryDocuments,
        timers: timersOf(this.queue, () => this.nowMs),
        network: { ...NO_NETWORK, features: (other) => this.features.get(other) ?? FEATURES },
        log: (_, message) => void this.log.push(message),
      },
      local,
      replica: (other) => this.replica(other),
      isUp: (other) => !this.down.has(other),
      ring: () => this.ring,
      send: (to, message) => {
        this.sent.push({ from: node, to, message });
        if (!this.arrives(to, message)) return;
        const bytes = encodePlain(message);
        this.queue.add(this.nowMs + 2, () => {
          const checked = checkRingMessage(decodePlain(bytes));
          if (isRepairMessage(checked)) this.repairs.get(to)?.onMessage(node, checked);
        });
      },
      settle: () => Promise.reject(new Error('nothing to settle')),
      intervalMs,
    });
    this.repairs.set(node, repairs);
    repairs.onRing(this.ring);
    repairs.start();
    return repairs;
  }

  async advance(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (let dueMs = this.queue.nextMs; dueMs <= endMs; dueMs = this.queue.nextMs) {
      this.nowMs = Math.max(this.nowMs, dueMs);
      this.queue.runNext();
      // Sessions are made of promises alone, but for their pauses.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.nowMs = endMs;
  }
  async until(holds: () => boolean, msMax: number): Promise<boolean> {
    for (const endMs = this.nowMs + msMax; !holds() && this.nowMs < endMs; ) await this.advance(500);
    return holds();
  }
}
