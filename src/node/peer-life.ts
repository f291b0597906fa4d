/**
 * This node's part in one cluster, from the documents on its disk to its sockets. Peer worker. There is one from a start of the process to its
 * end; a node that is told to join another cluster ends it, and begins another one as a start would.
 */
import { systemClock } from '../base/clock.ts';
import { ConfigurationError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import { turnClock } from '../base/turn-time.ts';
import { ClusterAnswers, placeOf } from '../cluster/cluster-answers.ts';
import { ClusterNode } from '../cluster/cluster-node.ts';
import type { ClusterWorld, HintStore, LocalReplica, Timers } from '../cluster/contract.ts';
import { resumeJoin } from '../cluster/join-document.ts';
import type { LoneJoinOptions } from '../cluster/lone-join.ts';
import { keepGeneration, nextGeneration } from '../cluster/membership-generation.ts';
import { clusterIdOnDisk } from '../cluster/ring-agreement.ts';
import type { RingMember } from '../cluster/ring-map.ts';
import { NODE_STARTS, refuseRequest } from '../cluster/rpc-service.ts';
import { askRing } from '../peer/ask-ring.ts';
import type { PeerMetrics } from '../peer/peer-table.ts';
import type { PeerTls } from '../peer/tls.ts';
import { Transport } from '../peer/transport.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { FileDocuments } from './cluster-documents.ts';
import type { NodeConfig } from './contract.ts';
import { letHeapsGrow } from './heap-growth.ts';
import { SeedWatch } from './seed-watch.ts';

export interface PeerLifeOptions {
  readonly config: NodeConfig;
  readonly nodeId: string;
  readonly fs: FileSystem;
  /** Where its documents lie. */
  readonly parent: string;
  readonly random: Random;
  readonly timers: Timers;
  readonly local: LocalReplica;
  readonly hints: HintStore;
  readonly tls: PeerTls | null;
  readonly log: ClusterWorld['log'];
  /** ClusterNodeOptions.onCoordinate. */
  readonly onCoordinate: (done: () => void) => void;
  readonly onNotReady: (reason: string) => void;
  readonly onOpened: () => void;
  readonly join: (seeds: readonly string[]) => Promise<void>;
}

/** Of front ends, whom requests of clients reach. */
export interface FrontHold {
  readonly hold: (reason: string) => Promise<void>;
  readonly release: () => void;
}

export class PeerLife {
  readonly seeds: readonly string[];
  readonly #options: PeerLifeOptions;
  readonly #documents: FileDocuments;
  readonly #transport: Transport;
  readonly #world: ClusterWorld;
  readonly #generation: number;
  /** By `ringkv join`, not by a setting. */
  readonly #isTold: boolean;
  #node: ClusterNode | null = null;
  #answers: ClusterAnswers | null = null;
  #watch: SeedWatch | null = null;
  #member: RingMember | null = null;
  #tls: PeerTls | null;
  #ended = false;

  /** Throws CorruptionError, FormatVersionError and IoError. */
  constructor(options: PeerLifeOptions) {
    this.#options = options;
    const { config, nodeId, fs, parent, random, timers, tls } = options;
    this.#tls = tls;
    const self = Number.parseInt(nodeId.slice(0, 8), 16);
    const documents = new FileDocuments(fs, parent);
    const told = resumeJoin(documents);
    this.#documents = documents;
    this.#isTold = told !== null;
    this.seeds = told ?? (config.seeds === '' ? [] : config.seeds.split(','));
    this.#generation = nextGeneration({ documents, clock: systemClock });
    // What ends is not worth a line any more, nor is what it could not finish.
    const log: ClusterWorld['log'] = (level, message) => {
      if (!this.#ended) options.log(level, message);
    };
    if (told !== null && config.seeds !== '' && config.seeds !== told.join(','))
      log('warn', `this node was told to join by ${told.join(',')}: the seeds ${config.seeds} do not count`);
    this.#transport = new Transport({
      clusterName: config.clusterName,
      // From the first greeting on: until its shards have recovered, a node of another cluster with this name would get past it.
      clusterId: clusterIdOnDisk(documents),
      node: self,
      nodeId,
      generation: this.#generation,
      tls,
      clock: systemClock,
      random,
      log,
      onMessage: (from, message, over) => {
        // It listens before its shards have recovered: peers that did not miss it go on asking.
        if (this.#node === null) refuseRequest(this.#world, from, message, NODE_STARTS, over);
        else this.#node.onMessage(from, message, over);
      },
      onConnected: (node) => {
        letHeapsGrow();
        this.#node?.onConnected(node);
      },
      // Also where another connection with it is left: what was asked over this one may never be answered over that.
      onDisconnected: (node, _left, lost) => this.#node?.onDisconnected(node, lost),
    });
    this.#world = {
      self,
      clock: turnClock(systemClock),
      random,
      timers,
      network: this.#transport,
      documents,
      log,
    };
  }

  /** Throws ConfigurationError before it is opened. */
  get node(): ClusterNode {
    if (this.#node === null)
      throw new ConfigurationError('the peer worker got a request before it was opened');
    return this.#node;
  }
  /** null before it is opened. */
  get answers(): ClusterAnswers | null {
    return this.#answers;
  }
  /** Of each other node. */
  get peers(): readonly PeerMetrics[] {
    return this.#transport.metrics();
  }
  setUrl(url: string): void {
    this.#node?.setUrl(url);
  }

  /** For connections from now on. */
  renewTls(tls: PeerTls): void {
    this.#tls = tls;
    this.#transport.renewTls(tls);
  }

  /** Gives the port. Throws ListenError, and IoError where its generation cannot be kept. */
  async listen(port: number): Promise<number> {
    await keepGeneration(this.#documents, this.#generation);
    return await this.#transport.listen(this.#options.config.peerHost, port);
  }

  /** Every shard is attached. `url` is '' where it is not known yet. */
  open(port: number, url: string): void {
    const { config, nodeId, local, hints, timers, onCoordinate, onNotReady, onOpened, join } = this.#options;
    const { peerHost, rack, clusterName, vnodes, replicas, repairIntervalMs, replace } = config;
    const { seeds } = this;
    const host = peerHost.includes(':') ? `[${peerHost}]` : peerHost;
    const member: RingMember = {
      number: this.#world.self,
      nodeId,
      address: `${host}:${port}`,
      url: '',
      weight: 1,
      ...placeOf(rack),
    };
    const node = new ClusterNode({
      world: this.#world,
      local,
      hints,
      member,
      clusterName,
      vnodes,
      replicas,
      seeds,
      replaces: replace === '' || this.#isTold ? 0 : Number.parseInt(replace.slice(0, 8), 16),
      repairIntervalMs,
      versionMax: 0,
      onCoordinate,
      onClusterId: (clusterId) => this.#transport.setClusterId(clusterId),
      onNotReady,
    });
    this.#node = node;
    this.#member = member;
    this.#answers = new ClusterAnswers(node, member, systemClock, join);
    const watch = new SeedWatch({
      timers,
      seeds,
      standings: () => this.#transport.seedStandings(),
      onNotReady,
      log: this.#world.log,
    });
    this.#watch = watch;
    watch.start();
    if (url !== '') node.setUrl(url);
    node.start((error) => {
      watch.stop();
      if (error === null) onOpened();
      else throw error;
    });
  }

  /** Of a node that is opened: what joining another cluster needs. */
  joinOptions({ hold, release }: FrontHold): LoneJoinOptions {
    const { config, nodeId, local, hints, random, timers, log } = this.#options;
    const { clusterName, vnodes } = config;
    const { node } = this;
    const asking = {
      ...{ clusterName, node: this.#world.self, nodeId, generation: this.#generation },
      ...{ tls: this.#tls, clock: systemClock, random, log },
    };
    return {
      self: this.#member as RingMember,
      clusterName,
      vnodes,
      local,
      hints,
      documents: this.#documents,
      clock: systemClock,
      ring: () => node.ring,
      standing: () => node.standing,
      isChanging: () => node.topology.isChanging,
      hold: async (reason) => {
        node.held = reason;
        await hold(reason);
      },
      release: () => {
        node.held = '';
        release();
      },
      ringOf: (seeds) => askRing(asking, timers, seeds),
    };
  }

  /** Resolves when nothing of it is at work any more. Idempotent. */
  async end(): Promise<void> {
    this.#watch?.stop();
    await this.#node?.shutDown();
    this.#ended = true;
    await this.#transport.close();
    await this.#documents.close();
  }
}
