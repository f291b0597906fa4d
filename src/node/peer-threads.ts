/** The peer worker of a node, as the main thread sees it: everything between this node and others (peer-thread.ts). */
import { limits } from '../base/limits.ts';
import { createDoorbell, type DoorbellMemory } from '../ipc/doorbell.ts';
import { connectShard, portsOfEnds } from '../shard/shard-ends.ts';
import { ClientThread } from './client-thread.ts';
import type { Log, NodeConfig } from './contract.ts';
import type { FrontThread } from './front-threads.ts';
import { errorOfPlain } from './job-port.ts';
import type { PeerCommand, PeerEvent, PeerThreadData } from './peer-protocol.ts';
import { newSettled } from './settled.ts';

export interface PeerThreadOptions {
  readonly config: NodeConfig;
  readonly nodeId: string;
  readonly directory: string | null;
  readonly log: Log;
  /** Front ends must ask the coordinator; resolves when they do, and none has a request at a shard. */
  readonly coordinate: () => Promise<void>;
  /** Front ends must take no request for data, and say why; resolves when none is under way. */
  readonly hold: (reason: string) => Promise<void>;
  readonly release: () => void;
  readonly onNotReady: (reason: string) => void;
  readonly onDeath: (error: Error) => void;
}

export interface PeerListening {
  /** For other nodes. */
  readonly port: number;
  /** It has seeds, and no ring before it has found their cluster. */
  readonly waits: boolean;
}

export class PeerThread extends ClientThread<PeerCommand, PeerEvent> {
  readonly #options: PeerThreadOptions;
  readonly #frontDoorbell: DoorbellMemory;
  readonly #listening = newSettled<PeerListening>();
  readonly #opened = newSettled<void>();
  #fronts = 0;

  constructor(options: PeerThreadOptions) {
    const { config, nodeId, directory, onDeath } = options;
    const frontDoorbell = createDoorbell();
    super(
      {
        entry: 'peer',
        name: 'peer',
        what: 'the peer worker',
        youngBytesMax: limits.peerYoungBytesMax,
        onDeath,
      },
      (port, doorbell): PeerThreadData => ({ port, config, nodeId, directory, doorbell, frontDoorbell }),
    );
    this.#options = options;
    this.#frontDoorbell = frontDoorbell;
  }

  /** Rejects with a ListenError. */
  listen(): Promise<PeerListening> {
    this.tell({ kind: 'listen' });
    return this.#listening.promise;
  }

  connect(front: FrontThread): void {
    const { client, server } = connectShard({
      shard: 0,
      client: this.#fronts++,
      clientDoorbell: front.coordinatorDoorbell,
      shardDoorbell: this.#frontDoorbell,
      memtables: null,
    });
    front.connectCoordinator(client);
    this.tell({ kind: 'front', ends: server }, portsOfEnds(server));
  }

  /** Resolves when the node knows its ring. */
  open(): Promise<void> {
    this.tell({ kind: 'open' });
    return this.#opened.promise;
  }
  setUrl(url: string): void {
    this.tell({ kind: 'url', url });
  }
  renewTls(): void {
    this.tell({ kind: 'renew-tls' });
  }
  close(): Promise<void> {
    return this.end({ kind: 'close' });
  }

  protected override onEvent(event: PeerEvent): void {
    const { log, coordinate, hold, release, onNotReady, onDeath } = this.#options;
    switch (event.kind) {
      case 'listening':
        this.#listening.resolve(event);
        return;
      case 'opened':
        this.#opened.resolve();
        return;
      case 'failed':
        this.closing = true;
        this.#fail(errorOfPlain(event.error));
        onDeath(errorOfPlain(event.error));
        return;
      case 'coordinate':
        coordinate().then(
          () => this.tell({ kind: 'coordinating' }),
          (error: Error) => log('error', `front ends cannot turn to the coordinator: ${error.message}`),
        );
        return;
      case 'hold':
        hold(event.reason).then(
          () => this.tell({ kind: 'held' }),
          (error: Error) => log('error', `front ends cannot be held: ${error.message}`),
        );
        return;
      case 'release':
        release();
        return;
      case 'not-ready':
        onNotReady(event.reason);
        return;
      case 'event':
        log(event.level, event.message);
    }
  }
  protected override onExit(error: Error): void {
    this.#fail(error);
  }
  #fail(error: Error): void {
    this.#listening.reject(error);
    this.#opened.reject(error);
  }
}
