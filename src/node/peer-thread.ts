/**
 * The peer worker: sockets to other nodes, this node's part in the cluster, hints, and the coordinator that the front ends
 * ask. A client of every shard. It does what the main thread says (peer-protocol.ts).
 */
import { type MonotonicMs, systemClock } from '../base/clock.ts';
import { BadRequestError, RingKvError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Random, systemSeed } from '../base/random.ts';
import { Status } from '../base/status.ts';
import type { ClusterChange, ClusterQuestion } from '../cluster/administration.ts';
import type { ClusterWorld } from '../cluster/contract.ts';
import { beginLoneJoin } from '../cluster/lone-join.ts';
import { CoordinatorServer } from '../peer/coordinator-server.ts';
import { systemTimers } from '../peer/sockets.ts';
import { checkRenewal, checkTls, type PeerTls } from '../peer/tls.ts';
import { HintLog } from '../replica/hint-log.ts';
import { statusOfError } from '../shard/error-status.ts';
import { RingReplica } from '../shard/ring-replica.ts';
import { RingShardClient } from '../shard/shard-client.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { fileSystemOf } from '../vfs/open.ts';
import { realFileSystem } from '../vfs/real.ts';
import type { ClientCommand, ClientEvent } from './client-thread.ts';
import type { NodeConfig } from './contract.ts';
import { plainError } from './job-port.ts';
import { PeerLife } from './peer-life.ts';
import type { PeerCommand, PeerEvent, PeerThreadData } from './peer-protocol.ts';
import { TlsFiles, type TlsFilesOptions } from './tls-files.ts';

const MEMORY_DIRECTORY = '/';

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
  readonly #server: CoordinatorServer;
  readonly #local: RingReplica;
  readonly #fs: FileSystem;
  readonly #random = new Random(systemSeed());
  /** null: plain TCP between nodes. */
  readonly #tlsFiles: TlsFiles | null;
  /** One after another; the last two while one takes the place of the other. */
  readonly #lives: PeerLife[];
  readonly #onCoordinating: (() => void)[] = [];
  #onHeld: () => void = () => undefined;
  #joining = false;
  #closed = false;
  #port = 0;
  #url = '';

  constructor(data: PeerThreadData, tell: (event: PeerEvent | ClientEvent) => void) {
    this.#data = data;
    this.#tell = tell;
    const { config, nodeId, directory } = data;
    this.#fs = fileSystemOf({ kind: directory === null ? 'memory' : 'real' });
    const { shards, vnodes } = config;
    this.#client = new RingShardClient({ shards, vnodes, doorbell: data.doorbell, clock: systemClock });
    this.#hints = new HintLog(this.#fs, this.#parent, systemClock, this.#log);
    this.#local = new RingReplica(this.#client, this.#hints, systemClock, systemTimers);
    this.#tlsFiles =
      config.peerTlsCert === ''
        ? null
        : new TlsFiles({
            ...tlsOptionsOf(config, nodeId),
            fs: realFileSystem,
            timers: systemTimers,
            clock: systemClock,
            onRenewed: (tls) => this.#renewTls(tls),
            log: this.#log,
          });
    this.#lives = [this.#newLife()];
    this.#tlsFiles?.start();
    this.#server = new CoordinatorServer(data.frontDoorbell, {
      write: (request, done) => this.#life.node.write(request, done),
      read: (request, done) => this.#life.node.read(request, done),
      scan: (request, done) => this.#life.node.scan(request, done),
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
      case 'listen':
        this.#port = await this.#life.listen(this.#data.config.peerPort);
        this.#tell({ kind: 'listening', port: this.#port, waits: this.#life.seeds.length > 0 });
        return;
      case 'front':
        this.#server.attach(command.ends);
        return;
      case 'open':
        this.#life.open(this.#port, this.#url);
        return;
      case 'coordinating':
        this.#onCoordinating.shift()?.();
        return;
      case 'held':
        this.#onHeld();
        return;
      case 'renew-tls':
        this.#tlsFiles?.renew();
        return;
      case 'url':
        this.#url = command.url;
        this.#life.setUrl(command.url);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#tlsFiles?.stop();
    this.#server.close();
    for (const life of this.#lives) await life.end();
    this.#local.close();
    this.#client.close();
    this.#hints.close();
  }

  get #parent(): string {
    return this.#data.directory ?? MEMORY_DIRECTORY;
  }
  /** The one that answers. */
  get #life(): PeerLife {
    return this.#lives[0] as PeerLife;
  }
  readonly #log: ClusterWorld['log'] = (level, message) => this.#tell({ kind: 'event', level, message });

  #newLife(): PeerLife {
    const { config, nodeId } = this.#data;
    return new PeerLife({
      config,
      nodeId,
      fs: this.#fs,
      parent: this.#parent,
      random: this.#random,
      timers: systemTimers,
      local: this.#local,
      hints: this.#hints,
      tls: this.#tlsFiles?.tls ?? null,
      log: this.#log,
      onCoordinate: (done) => this.#coordinate(done),
      onNotReady: (reason) => this.#tell({ kind: 'not-ready', reason }),
      onOpened: () => this.#tell({ kind: 'opened' }),
      join: (seeds) => this.#join(seeds),
    });
  }

  #renewTls(tls: PeerTls): void {
    for (const life of this.#lives) life.renewTls(tls);
  }

  #coordinate(done: () => void): void {
    this.#onCoordinating.push(done);
    this.#tell({ kind: 'coordinate' });
  }

  /**
   * Leaves the cluster of one that this node founded, and begins anew as a node with these seeds: as a start of the process would, from
   * the same documents. What goes wrong once that is decided ends the thread.
   */
  async #join(seeds: readonly string[]): Promise<void> {
    const life = this.#life;
    if (this.#joining || this.#closed)
      throw new UnavailableError('this node is about to join already, or to end');
    if (life.node.draining)
      throw new BadRequestError('this node is drained: it serves again when it is restarted');
    if (this.#data.directory === null)
      throw new BadRequestError(
        'a node with in-memory forgets at its end which cluster it is in: start it with seeds',
      );
    this.#joining = true;
    try {
      await beginLoneJoin(
        life.joinOptions({
          hold: (reason) =>
            new Promise((resolve) => {
              this.#onHeld = resolve;
              this.#tell({ kind: 'hold', reason });
            }),
          release: () => this.#tell({ kind: 'release' }),
        }),
        seeds,
      );
      await this.#beginAnew(life);
    } finally {
      this.#joining = false;
    }
  }

  async #beginAnew(left: PeerLife): Promise<void> {
    const { vnodes } = this.#data.config;
    this.#log(
      'info',
      'this node leaves the cluster of its own, and looks for that of the seeds it was given',
    );
    try {
      // A node that is alone purges by age. What one of several may purge it learns with its ring.
      for (let vnode = 0; vnode < vnodes; vnode++) this.#local.setPurgeBefore(vnode, 0);
      await left.end();
      if (this.#closed) return;
      const life = this.#newLife();
      this.#lives.push(life);
      await life.listen(this.#port);
      await new Promise<void>((resolve) => this.#coordinate(resolve));
      if (this.#closed) return;
      life.open(this.#port, this.#url);
      this.#lives.shift();
      this.#tell({ kind: 'release' });
    } catch (cause) {
      throw new Error(`this node is to join another cluster, and cannot begin: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  #administer(
    request: Uint8Array,
    deadlineMs: MonotonicMs,
    done: (status: number, answer: string) => void,
  ): void {
    const question = JSON.parse(Buffer.from(request).toString()) as ClusterQuestion | ClusterChange;
    const isMetrics = 'ask' in question && question.ask === 'metrics';
    const life = this.#life;
    const { answers } = life;
    if (answers === null) {
      done(Status.UNAVAILABLE, 'this node is starting');
      return;
    }
    answers.answer(question, deadlineMs).then(
      (answer) => {
        const all = (): object => ({
          ...(answer as object),
          tls: this.#tlsFiles?.figures,
          peers: life.peers,
        });
        done(Status.OK, JSON.stringify(isMetrics ? all() : answer));
      },
      (error: unknown) => {
        if (!(error instanceof RingKvError)) throw error;
        done(statusOfError(error), error.message);
      },
    );
  }
}

function tlsOptionsOf(
  config: NodeConfig,
  nodeId: string,
): Pick<TlsFilesOptions, 'check' | 'checkRenewal' | 'paths'> {
  const { peerTlsCert: cert, peerTlsKey: key, peerTlsCa: ca, clusterName } = config;
  return {
    paths: { cert, key, ca },
    check: (tls) => checkTls(tls, clusterName, nodeId),
    checkRenewal: (tls) => checkRenewal(tls, clusterName, nodeId, systemClock.nowMs()),
  };
}
