/**
 * The peer worker: sockets to other nodes, this node's part in the cluster, hints, and the coordinator that the front ends
 * ask. A client of every shard. It does what the main thread says (peer-protocol.ts).
 */
import { systemClock } from '../base/clock.ts';
import { ConfigurationError, RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Random, systemSeed } from '../base/random.ts';
import { Status } from '../base/status.ts';
import type { ClusterChange, ClusterQuestion } from '../cluster/administration.ts';
import { ClusterAnswers, placeOf } from '../cluster/cluster-answers.ts';
import { ClusterNode } from '../cluster/cluster-node.ts';
import type { ClusterWorld, Timers } from '../cluster/contract.ts';
import { nextGeneration } from '../cluster/membership-generation.ts';
import type { RingMember } from '../cluster/ring-map.ts';
import { CoordinatorServer } from '../peer/coordinator-server.ts';
import { checkTls, type PeerTls } from '../peer/tls.ts';
import { Transport } from '../peer/transport.ts';
import { HintLog } from '../replica/hint-log.ts';
import { statusOfError } from '../shard/error-status.ts';
import { RingReplica } from '../shard/ring-replica.ts';
import { RingShardClient } from '../shard/shard-client.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { fileSystemOf } from '../vfs/open.ts';
import { realFileSystem } from '../vfs/real.ts';
import type { ClientCommand, ClientEvent } from './client-thread.ts';
import { FileDocuments } from './cluster-documents.ts';
import type { NodeConfig } from './contract.ts';
import { plainError } from './job-port.ts';
import type { PeerCommand, PeerEvent, PeerThreadData } from './peer-protocol.ts';
import { SeedWatch } from './seed-watch.ts';

const MEMORY_DIRECTORY = '/';

const systemTimers: Timers = {
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export function runPeerThread(data: PeerThreadData): void {
  // For the copies of requests: eight times fewer allocations than with Node's 8 KiB, of which two records fill one.
  Buffer.poolSize = limits.peerBufferPoolBytes;
  const { port } = data;
  const tell = (event: PeerEvent | ClientEvent): void => port.postMessage(event);
  let peer: PeerNode | null = null;
  const fail = (error: unknown): void => {
    tell({ kind: 'failed', error: plainError(error) });
    void end();
  };
  const end = async (): Promise<void> => {
    await peer?.close();
    tell({ kind: 'closed' });
    port.close();
  };
  try {
    peer = new PeerNode(data, tell);
  } catch (error) {
    fail(error);
    return;
  }
  const started = peer;
  port.on('message', (command: PeerCommand | ClientCommand) => {
    if (command.kind === 'close') void end();
    else started.obey(command).catch(fail);
  });
}

class PeerNode {
  readonly #data: PeerThreadData;
  readonly #tell: (event: PeerEvent | ClientEvent) => void;
  readonly #client: RingShardClient;
  readonly #hints: HintLog;
  readonly #transport: Transport;
  readonly #server: CoordinatorServer;
  readonly #world: ClusterWorld;
  readonly #local: RingReplica;
  #node: ClusterNode | null = null;
  #answers: ClusterAnswers | null = null;
  #seedWatch: SeedWatch | null = null;
  #onCoordinating: () => void = () => undefined;
  #port = 0;
  #url = '';

  constructor(data: PeerThreadData, tell: (event: PeerEvent | ClientEvent) => void) {
    this.#data = data;
    this.#tell = tell;
    const { config, nodeId, directory } = data;
    const log = (level: 'info' | 'warn' | 'error', message: string): void =>
      tell({ kind: 'event', level, message });
    const fs = fileSystemOf({ kind: directory === null ? 'memory' : 'real' });
    const parent = directory ?? MEMORY_DIRECTORY;
    const self = Number.parseInt(nodeId.slice(0, 8), 16);
    const { shards, vnodes } = config;
    this.#client = new RingShardClient({ shards, vnodes, doorbell: data.doorbell, clock: systemClock });
    this.#hints = new HintLog(fs, parent, systemClock, log);
    this.#local = new RingReplica(this.#client, this.#hints, systemClock, systemTimers);
    const documents = new FileDocuments(fs, parent);
    const random = new Random(systemSeed());
    this.#transport = new Transport({
      clusterName: config.clusterName,
      clusterId: '',
      node: self,
      nodeId,
      generation: nextGeneration({ documents, clock: systemClock }),
      tls: tlsOf(config, nodeId),
      clock: systemClock,
      random,
      log,
      onMessage: (from, message) => this.#node?.onMessage(from, message),
      onConnected: (node) => this.#node?.onConnected(node),
      onDisconnected: (node, left) => {
        if (left === 0) this.#node?.onDisconnected(node);
      },
    });
    this.#world = {
      self,
      clock: systemClock,
      random,
      timers: systemTimers,
      network: this.#transport,
      documents,
      log,
    };
    this.#server = new CoordinatorServer(data.frontDoorbell, {
      write: (request, done) => this.#started().write(request, done),
      read: (request, done) => this.#started().read(request, done),
      scan: (request, done) => this.#started().scan(request, done),
      administer: (request, deadlineMs, done) => this.#administer(request, deadlineMs, done),
    });
  }

  async obey(command: Exclude<PeerCommand, { kind: 'close' }> | ClientCommand): Promise<void> {
    switch (command.kind) {
      case 'attach':
        this.#client.attach(command.ends);
        this.#local.attached(command.ends.shard);
        this.#tell({ kind: 'attached', shard: command.ends.shard });
        return;
      case 'detach':
        this.#client.detach(command.shard);
        return;
      case 'listen': {
        const { peerHost, peerPort } = this.#data.config;
        this.#port = await this.#transport.listen(peerHost, peerPort);
        this.#tell({ kind: 'listening', port: this.#port });
        return;
      }
      case 'front':
        this.#server.attach(command.ends);
        return;
      case 'open':
        this.#open();
        return;
      case 'coordinating':
        this.#onCoordinating();
        return;
      case 'url':
        this.#url = command.url;
        this.#node?.setUrl(this.#url);
    }
  }

  async close(): Promise<void> {
    this.#seedWatch?.stop();
    this.#node?.stop();
    this.#server.close();
    await this.#transport.close();
    this.#local.close();
    this.#client.close();
    this.#hints.close();
  }

  #open(): void {
    const { config, nodeId } = this.#data;
    const { peerHost, rack, clusterName, vnodes, replicas, repairIntervalMs } = config;
    const seeds = config.seeds === '' ? [] : config.seeds.split(',');
    const host = peerHost.includes(':') ? `[${peerHost}]` : peerHost;
    const member: RingMember = {
      number: this.#world.self,
      nodeId,
      address: `${host}:${this.#port}`,
      url: '',
      weight: 1,
      ...placeOf(rack),
    };
    const node = new ClusterNode({
      world: this.#world,
      local: this.#local,
      hints: this.#hints,
      member,
      clusterName,
      vnodes,
      replicas,
      seeds,
      replaces: config.replace === '' ? 0 : Number.parseInt(config.replace.slice(0, 8), 16),
      repairIntervalMs,
      versionMax: 0,
      onCoordinate: (done) => {
        this.#onCoordinating = done;
        this.#tell({ kind: 'coordinate' });
      },
      onClusterId: (clusterId) => this.#transport.setClusterId(clusterId),
      onNotReady: (reason) => this.#tell({ kind: 'not-ready', reason }),
    });
    this.#node = node;
    this.#answers = new ClusterAnswers(node, member, () => systemClock.nowMs());
    const watch = new SeedWatch({
      timers: systemTimers,
      seeds,
      standings: () => this.#transport.seedStandings(),
      onNotReady: (reason) => this.#tell({ kind: 'not-ready', reason }),
      log: this.#world.log,
    });
    this.#seedWatch = watch;
    watch.start();
    node.start((error) => {
      watch.stop();
      if (error === null) this.#tell({ kind: 'opened' });
      else throw error;
    });
  }

  #started(): ClusterNode {
    if (this.#node === null)
      throw new ConfigurationError('the peer worker got a request before it was opened');
    return this.#node;
  }

  #administer(request: Uint8Array, deadlineMs: number, done: (status: number, answer: string) => void): void {
    const question = JSON.parse(Buffer.from(request).toString()) as ClusterQuestion | ClusterChange;
    const answers = this.#answers;
    if (answers === null) {
      done(Status.UNAVAILABLE, 'this node is starting');
      return;
    }
    answers.answer(question, deadlineMs).then(
      (answer) => done(Status.OK, JSON.stringify(answer)),
      (error: unknown) => {
        if (!(error instanceof RingKvError)) throw error;
        done(statusOfError(error), error.message);
      },
    );
  }
}

function tlsOf(config: NodeConfig, nodeId: string): PeerTls | null {
  const { peerTlsCert, peerTlsKey, peerTlsCa, clusterName } = config;
  if (peerTlsCert === '') return null;
  const read = (setting: string, path: string): string => {
    try {
      return readText(realFileSystem, path);
    } catch (error) {
      throw new ConfigurationError(`${setting} ${path}: cannot be read: ${(error as Error).message}`, {
        cause: error,
      });
    }
  };
  const tls = {
    cert: read('peer-tls-cert', peerTlsCert),
    key: read('peer-tls-key', peerTlsKey),
    ca: read('peer-tls-ca', peerTlsCa),
  };
  checkTls(tls, clusterName, nodeId);
  return tls;
}

function readText(fs: FileSystem, path: string): string {
  const file = fs.open(path, 'read');
  try {
    const size = file.size();
    if (size > limits.pemFileBytesMax)
      throw new ConfigurationError(`a file of ${size} bytes; the limit is ${limits.pemFileBytesMax}`);
    const bytes = new Uint8Array(size);
    file.readSync(bytes, 0, size, 0);
    return new TextDecoder().decode(bytes);
  } finally {
    file.close();
  }
}
