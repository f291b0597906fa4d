/**
 * The nodes that a client may ask: those that were named to connect(), always, and those that it has learnt. `list` is
 * replaced and never changed in place. A node that is dropped is asked no more, and closed when what was asked of it has
 * had its time.
 */
import { limits } from '../base/limits.ts';
import type { HttpLink } from './http-link.ts';
import type { KvLink } from './kv.ts';
import { quietTimer } from './platform.ts';

export class ClientNode {
  readonly url: string;
  readonly kv: KvLink;
  readonly http: HttpLink;
  /** Named to connect(): never dropped. */
  readonly isNamed: boolean;
  /** As the node itself said; null where it has not, or not since a call failed there. */
  id: string | null = null;
  /** False: its cluster says that it is no member, or is about to go. Such a node is asked where no other is left. */
  serves = true;

  constructor(url: string, kv: KvLink, http: HttpLink, isNamed: boolean) {
    this.url = url;
    this.kv = kv;
    this.http = http;
    this.isNamed = isNamed;
  }
  async close(): Promise<void> {
    await Promise.all([this.kv.close(), this.http.close()]);
  }
}

export class NodePool {
  readonly #make: (url: string, isNamed: boolean) => ClientNode;
  #list: readonly ClientNode[];
  readonly #leaving = new Map<ClientNode, ReturnType<typeof setTimeout>>();
  #isClosed = false;

  constructor(urls: readonly string[], make: (url: string, isNamed: boolean) => ClientNode) {
    this.#make = make;
    this.#list = urls.map((url) => make(url, true));
  }
  get list(): readonly ClientNode[] {
    return this.#list;
  }

  /** A node that is not in the list yet. Throws BadRequestError where the URL is none. */
  candidate(url: string): ClientNode {
    return this.#make(url, false);
  }
  async add(node: ClientNode): Promise<void> {
    if (this.#isClosed) await node.close();
    else this.#list = [...this.#list, node];
  }
  drop(node: ClientNode): void {
    this.#list = this.#list.filter((one) => one !== node);
    const laterMs = limits.requestTimeoutMsMax + limits.clientStuckMs;
    const timer = quietTimer(() => {
      this.#leaving.delete(node);
      void node.close();
    }, laterMs);
    this.#leaving.set(node, timer);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const leaving = [...this.#leaving.keys()];
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    this.#leaving.clear();
    await Promise.all([...this.#list, ...leaving].map((node) => node.close()));
  }
}
