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
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { probePort } from '../front/front.ts';
import { setHeadLimit } from '../front/http-head-limit.ts';
import { createDoorbell, type DoorbellMemory } from '../ipc/doorbell.ts';
import { portsOfEnds, type ShardClientEnds } from '../shard/shard-ends.ts';
import type { ClientPeer } from './client-peer.ts';
import type { NodeConfig } from './contract.ts';
import type { FrontCommand, FrontEvent, FrontThreadData } from './front-protocol.ts';
import { errorOfPlain } from './job-port.ts';
import { heapLimits, workerUrl } from './thread-pool.ts';

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

  /** Opens the port to clients: every shard is attached. Rejects with a ListenError; `close` must follow then. */
  async listen(): Promise<void> {
    const outcomes = await Promise.allSettled(this.peers.map((peer) => peer.listen(this.#port)));
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
  setNotReady(reason: string): void {
    for (const peer of this.peers) peer.setNotReady(reason);
  }
  async close(graceMs: number): Promise<void> {
    await Promise.all(this.peers.map((peer) => peer.close(graceMs)));
  }
}

export class FrontThread implements ClientPeer {
  readonly doorbell: DoorbellMemory = createDoorbell();
  readonly #listening: Promise<number>;
  readonly #port: MessagePort;
  readonly #exited: Promise<void>;
  /** By shard: who waits to hear that the thread has attached it. */
  readonly #attaching = new Map<number, () => void>();
  #closing = false;

  constructor(index: number, options: FrontThreadsOptions) {
    const { config, nodeId, onDeath } = options;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const { host, maxKeyBytes, maxValueBytes, shards, vnodes } = config;
    const data: FrontThreadData = {
      port: port2,
      host,
      sharedPort: config.frontends > 1,
      maxKeyBytes,
      maxValueBytes,
      nodeId,
      index,
      shards,
      vnodes,
      doorbell: this.doorbell,
    };
    const worker = new Worker(workerUrl('front'), {
      name: `front-${index}`,
      workerData: data,
      transferList: [port2],
      resourceLimits: heapLimits(limits.threadHeapBytesMax),
    });
    let cause: Error | null = null;
    worker.on('error', (error: Error) => {
      cause = error;
    });
    let settle: { resolve: (port: number) => void; reject: (error: Error) => void } | null = null;
    this.#listening = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    const onEvent = (event: FrontEvent): void => {
      if (event.kind === 'listening') settle?.resolve(event.port);
      else if (event.kind === 'attached') this.#attaching.get(event.shard)?.();
      else if (event.kind === 'failed') {
        this.#closing = true;
        settle?.reject(errorOfPlain(event.error));
      }
    };
    port1.on('message', onEvent);
    this.#exited = new Promise((resolve) => {
      worker.once('exit', () => {
        // The end of a thread may overtake what it said last.
        for (let last = receiveMessageOnPort(port1); last !== undefined; last = receiveMessageOnPort(port1))
          onEvent(last.message as FrontEvent);
        settle?.reject(cause ?? new UnavailableError(`front end ${index} ended`));
        resolve();
        if (this.#closing) return;
        const why = cause?.message ?? 'without an error';
        onDeath(new UnavailableError(`front end ${index} ended: ${why}`, { cause }));
      });
    });
    // A thread may end before it was to listen.
    this.#listening.catch(() => undefined);
  }

  async attach(ends: ShardClientEnds): Promise<void> {
    const attached = new Promise<void>((resolve) => {
      this.#attaching.set(ends.shard, resolve);
    });
    this.#tell({ kind: 'attach', ends }, portsOfEnds(ends));
    await Promise.race([attached, this.#exited]);
    this.#attaching.delete(ends.shard);
  }
  detach(shard: number): void {
    this.#tell({ kind: 'detach', shard });
  }
  setNotReady(reason: string): void {
    this.#tell({ kind: 'not-ready', reason });
  }

  /** Resolves with the port that it listens on; rejects where it cannot. */
  listen(port: number): Promise<number> {
    this.#tell({ kind: 'listen', port });
    return this.#listening;
  }

  /** Resolves when the thread has ended. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    this.#tell({ kind: 'close', graceMs });
    await this.#exited;
    this.#port.close();
  }

  #tell(command: FrontCommand, transferList: readonly MessagePort[] = []): void {
    this.#port.postMessage(command, [...transferList]);
  }
}
