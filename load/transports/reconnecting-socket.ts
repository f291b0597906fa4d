/** A connection to one of the nodes that is made anew, to the next of them, when it ends. */
import { connect, type Socket } from 'node:net';
import type { HttpNode } from './nodes.ts';

const RECONNECT_MS = 100;

export class ReconnectingSocket {
  readonly #nodes: readonly HttpNode[];
  readonly #made: (socket: Socket, where: string) => void;
  readonly #lost: (why: string) => void;
  #node: number;
  #socket: Socket | null = null;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;

  /** `made` gets each new socket before it is connected, and sets its listeners; `lost` hears when one has ended, once. */
  constructor(
    nodes: readonly HttpNode[],
    first: number,
    made: (socket: Socket, where: string) => void,
    lost: (why: string) => void,
  ) {
    this.#nodes = nodes;
    this.#node = first;
    this.#made = made;
    this.#lost = lost;
  }

  /** Null where there is none. */
  get socket(): Socket | null {
    return this.#socket;
  }
  connect(): void {
    const { host, port } = this.#nodes[this.#node] as HttpNode;
    const socket = connect({ host, port, noDelay: true });
    this.#socket = socket;
    this.#made(socket, `${host}:${port}`);
    // What was wrong follows as 'close'.
    socket.on('error', () => undefined);
    // The node says that it is done with it: a request that was sent now would not be read.
    socket.on('end', () => {
      socket.destroy();
      this.#ended(socket, 'connection lost');
    });
    socket.on('close', () => this.#ended(socket, 'connection lost'));
  }
  /** Ends it at once, for `why`. */
  end(why: string): void {
    const socket = this.#socket;
    if (socket === null) return;
    socket.destroy();
    this.#ended(socket, why);
  }
  /** A fresh one to the same node at once, which takes bytes before it is connected. Nobody hears of it. */
  renew(): void {
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    socket.destroy();
    this.connect();
  }
  /** For good. */
  close(): void {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#socket?.destroy();
  }

  #ended(socket: Socket, why: string): void {
    if (this.#closed || this.#socket !== socket) return;
    this.#socket = null;
    this.#node = (this.#node + 1) % this.#nodes.length;
    this.#retry = setTimeout(() => this.connect(), RECONNECT_MS);
    this.#lost(why);
  }
}
