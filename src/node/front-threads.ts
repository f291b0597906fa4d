/**
 * The front-end threads of a node, as the main thread sees them: started, told of shards that come and go and of what
 * makes the node not ready, told to listen on one port, closed in order.
 *
 * They listen only when every shard is attached to every one of them: else the first requests after the port opens would
 * be refused. But a port that is taken must be found out before anything on disk is changed. So it is first taken
 * exclusively and given up again. That serves two more ends where several front ends listen on one port by SO_REUSEPORT:
 * it finds the free port where port 0 is asked for, and it refuses a port of another server, which the kernel would
 * silently share out between both.
 */
import { limits } from '../base/limits.ts';
import { probePort } from '../front/front.ts';
import { setHeadLimit } from '../front/http-head-limit.ts';
import { createDoorbell, type DoorbellMemory } from '../ipc/doorbell.ts';
import { portsOfEnds, type ShardClientEnds } from '../shard/shard-ends.ts';
import { ClientThread } from './client-thread.ts';
import type { ConnectionLimits } from './connection-limits.ts';
import type { NodeConfig } from './contract.ts';
import type { FrontCommand, FrontEvent, FrontThreadData } from './front-protocol.ts';
import { errorOfPlain } from './job-port.ts';
import { newSettled } from './settled.ts';

export interface FrontThreadsOptions {
  readonly config: NodeConfig;
  readonly nodeId: string;
  /** A thread ended that was not told to. */
  readonly onDeath: (error: Error) => void;
}

export class FrontThreads {
  readonly peers: readonly FrontThread[];
  readonly #config: NodeConfig;
  #port: number;

  private constructor(config: NodeConfig, port: number, peers: readonly FrontThread[]) {
    this.#config = config;
    this.#port = port;
    this.peers = peers;
  }

  /** Starts the threads: clients of the shards, not listening yet. Rejects with a ListenError that names host and port. */
  static async start(options: FrontThreadsOptions): Promise<FrontThreads> {
    const { config } = options;
    setHeadLimit(config.maxKeyBytes);
    const shared = config.frontends > 1;
    const port = shared || config.port !== 0 ? await probePort(config.host, config.port) : 0;
    const threads = Array.from({ length: config.frontends }, (_, index) => new FrontThread(index, options));
    return new FrontThreads(config, port, threads);
  }

  /** Opens the port to clients, so many for each front end: every shard is attached. Rejects with a ListenError; `close` must follow then. */
  async listen(connections: ConnectionLimits): Promise<void> {
    const outcomes = await Promise.allSettled(this.peers.map((peer) => peer.listen(this.#port, connections)));
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') throw outcome.reason;
      else this.#port = outcome.value;
  }

  /** Where it listens. */
  get port(): number {
    return this.#port;
  }
  get url(): string {
    const { host } = this.#config;
    return `http://${host.includes(':') ? `[${host}]` : host}:${this.port}`;
  }
  /** Resolves when no request of a front end is at the shards any more. */
  async coordinate(): Promise<void> {
    await Promise.all(this.peers.map((peer) => peer.coordinate()));
  }
  /** Resolves when no request for data is under way any more; none is taken until `release`. */
  async hold(reason: string): Promise<void> {
    await Promise.all(this.peers.map((peer) => peer.hold(reason)));
  }
  release(): void {
    for (const peer of this.peers) peer.release();
  }
  setNotReady(reason: string): void {
    for (const peer of this.peers) peer.setNotReady(reason);
  }
  async close(graceMs: number): Promise<void> {
    await Promise.all(this.peers.map((peer) => peer.close(graceMs)));
  }
}

export class FrontThread extends ClientThread<FrontCommand, FrontEvent> {
  /** Rung by the coordinator. */
  readonly coordinatorDoorbell: DoorbellMemory;
  readonly #listening = newSettled<number>();
  readonly #coordinating = newSettled<void>();
  #holding = newSettled<void>();

  constructor(index: number, options: FrontThreadsOptions) {
    const { config, nodeId, onDeath } = options;
    const coordinatorDoorbell = createDoorbell();
    const { host, frontends, maxKeyBytes, maxValueBytes, shards, vnodes } = config;
    super(
      {
        entry: 'front',
        name: `front-${index}`,
        what: `front end ${index}`,
        youngBytesMax: limits.threadYoungBytesMax,
        onDeath,
      },
      (port, doorbell): FrontThreadData => ({
        ...{
          port,
          host,
          maxKeyBytes,
          maxValueBytes,
          nodeId,
          index,
          shards,
          vnodes,
          doorbell,
          coordinatorDoorbell,
        },
        sharedPort: frontends > 1,
      }),
    );
    this.coordinatorDoorbell = coordinatorDoorbell;
  }

  setNotReady(reason: string): void {
    this.tell({ kind: 'not-ready', reason });
  }
  connectCoordinator(ends: ShardClientEnds): void {
    this.tell({ kind: 'coordinator', ends }, portsOfEnds(ends));
  }
  /** From now on its requests go to the coordinator. Resolves when none is at the shards any more. */
  coordinate(): Promise<void> {
    this.tell({ kind: 'coordinate' });
    return this.#coordinating.promise;
  }
  /** Resolves when no request for data is under way any more; none is taken until `release`. */
  hold(reason: string): Promise<void> {
    this.#holding = newSettled<void>();
    this.tell({ kind: 'hold', reason });
    return this.#holding.promise;
  }
  release(): void {
    this.tell({ kind: 'release' });
  }
  /** Resolves with the port that it listens on; rejects where it cannot. */
  listen(port: number, connections: ConnectionLimits): Promise<number> {
    this.tell({ kind: 'listen', port, connections });
    return this.#listening.promise;
  }
  close(graceMs: number): Promise<void> {
    return this.end({ kind: 'close', graceMs });
  }

  protected override onEvent(event: FrontEvent): void {
    switch (event.kind) {
      case 'listening':
        this.#listening.resolve(event.port);
        return;
      case 'coordinating':
        this.#coordinating.resolve();
        return;
      case 'held':
        this.#holding.resolve();
        return;
      case 'failed':
        this.closing = true;
        this.#listening.reject(errorOfPlain(event.error));
    }
  }
  protected override onExit(error: Error): void {
    this.#listening.reject(error);
    this.#coordinating.reject(error);
    this.#holding.reject(error);
  }
}
