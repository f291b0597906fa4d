/**
 * A worker thread that is a client of the shards, as the main thread sees it: started, told of shards that come and
 * go, closed. Front ends and the peer worker are such threads.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { createDoorbell, type DoorbellMemory } from '../ipc/doorbell.ts';
import { portsOfEnds, type ShardClientEnds } from '../shard/shard-ends.ts';
import type { ClientPeer } from './client-peer.ts';
import { heapLimits, workerUrl } from './thread-pool.ts';

/** From the main thread, to every such thread. */
export type ClientCommand =
  /** A shard serves: its channels and memtables. */
  | { readonly kind: 'attach'; readonly ends: ShardClientEnds }
  /** A shard's thread has ended: requests to it get SHARD_DOWN. */
  | { readonly kind: 'detach'; readonly shard: number };

/** To the main thread. */
export type ClientEvent =
  | { readonly kind: 'attached'; readonly shard: number }
  /** Nothing is open any more: the thread may end. */
  | { readonly kind: 'closed' };

export interface ClientThreadOptions {
  /** Of an entry in workers/. */
  readonly entry: string;
  readonly name: string;
  /** As messages call the thread. */
  readonly what: string;
  /** Bound of the young generation of its heap. */
  readonly youngBytesMax: number;
  /** It ended and was not told to. */
  readonly onDeath: (error: Error) => void;
}

export abstract class ClientThread<Command, Event extends { readonly kind: string }> implements ClientPeer {
  readonly doorbell: DoorbellMemory;
  /** Resolves when the thread has ended. */
  protected readonly exited: Promise<void>;
  protected closing = false;
  /** Why it died; null while nothing is known. */
  protected cause: Error | null = null;
  readonly #port: MessagePort;
  /** By shard: who waits to hear that the thread has attached it. */
  readonly #attaching = new Map<number, () => void>();

  protected constructor(
    options: ClientThreadOptions,
    data: (port: MessagePort, doorbell: DoorbellMemory) => unknown,
  ) {
    const { entry, name, what, youngBytesMax, onDeath } = options;
    this.doorbell = createDoorbell();
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const worker = new Worker(workerUrl(entry), {
      name,
      workerData: data(port2, this.doorbell),
      transferList: [port2],
      resourceLimits: heapLimits(limits.threadHeapBytesMax, youngBytesMax),
    });
    worker.on('error', (error: Error) => {
      this.cause = error;
    });
    port1.on('message', (event: Event | ClientEvent) => this.#take(event));
    this.exited = new Promise((resolve) => {
      worker.once('exit', () => {
        // The end of a thread may overtake what it said last.
        for (let last = receiveMessageOnPort(port1); last !== undefined; last = receiveMessageOnPort(port1))
          this.#take(last.message as Event | ClientEvent);
        this.onExit(this.cause ?? new UnavailableError(`${what} ended`));
        resolve();
        if (this.closing) return;
        const why = this.cause?.message ?? 'without an error';
        onDeath(new UnavailableError(`${what} ended: ${why}`, { cause: this.cause }));
      });
    });
  }

  async attach(ends: ShardClientEnds): Promise<void> {
    const attached = new Promise<void>((resolve) => {
      this.#attaching.set(ends.shard, resolve);
    });
    this.tell({ kind: 'attach', ends }, portsOfEnds(ends));
    await Promise.race([attached, this.exited]);
    this.#attaching.delete(ends.shard);
  }
  detach(shard: number): void {
    this.tell({ kind: 'detach', shard });
  }

  protected tell(command: Command | ClientCommand, transferList: readonly MessagePort[] = []): void {
    this.#port.postMessage(command, [...transferList]);
  }
  /** Tells it to end, and resolves when it has. */
  protected async end(command: Command): Promise<void> {
    this.closing = true;
    this.tell(command);
    await this.exited;
    this.#port.close();
  }

  /** What the thread says beside ClientEvent. */
  protected abstract onEvent(event: Event): void;
  /** Whoever waits for the thread waits in vain. */
  protected abstract onExit(error: Error): void;

  #take(event: Event | ClientEvent): void {
    if (event.kind === 'attached') this.#attaching.get((event as ClientEvent & { shard: number }).shard)?.();
    else if (event.kind !== 'closed') this.onEvent(event as Event);
  }
}
