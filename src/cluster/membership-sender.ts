/** What one node sends of gossip: messages, the news that rides on them, and the count of bytes. Pure. */
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import { Claim, encodeGossip, type Gossip, type News } from './membership-messages.ts';
import { NewsQueue } from './membership-news.ts';
import type { Peers } from './membership-peers.ts';
import type { MemberTable } from './membership-table.ts';

export interface MembershipStatistics {
  messagesSent: number;
  bytesSent: number;
  messagesReceived: number;
  bytesReceived: number;
  /** Messages that were not what the protocol says. */
  malformed: number;
  accusations: number;
  /** Accusations of this node that it refuted. */
  refutations: number;
  /** Times at which this process was found to have stood still. */
  stalls: number;
}

/** Members of which one message carries news that is passed on. */
export const NEWS_PASSED_ON_MAX = 16;

export class GossipSender {
  readonly #world: ClusterWorld;
  readonly #table: MemberTable;
  readonly #peers: Peers;
  readonly #news: NewsQueue;
  #cancelFlush: (() => void) | null = null;
  readonly statistics: MembershipStatistics = {
    messagesSent: 0,
    bytesSent: 0,
    messagesReceived: 0,
    bytesReceived: 0,
    malformed: 0,
    accusations: 0,
    refutations: 0,
    stalls: 0,
  };

  constructor(world: ClusterWorld, table: MemberTable, peers: Peers) {
    this.#world = world;
    this.#table = table;
    this.#peers = peers;
    this.#news = new NewsQueue(table);
  }

  send(to: NodeNumber, gossip: Gossip): void {
    const bytes = encodeGossip(gossip);
    this.#count(bytes, this.#world.network.send(to, bytes));
  }
  sendIfAny(to: NodeNumber, gossip: Gossip | null): void {
    if (gossip !== null) this.send(to, gossip);
  }
  sync(to: NodeNumber): void {
    this.send(to, this.#syncMessage());
  }
  syncWithAddress(address: string): void {
    const bytes = encodeGossip(this.#syncMessage());
    this.#count(bytes, this.#world.network.sendTo(address, bytes));
  }
  /** Where this node hears nobody (`isAlone`) also whoever listens now where the other did: members may have changed places. */
  syncWithDown(to: NodeNumber, isAlone: boolean): void {
    this.sync(to);
    const address = this.#table.get(to)?.address ?? '';
    if (isAlone && address !== '') this.syncWithAddress(address);
  }
  #syncMessage(): Gossip {
    const self = this.#table.get(this.#world.self);
    return {
      kind: 'sync',
      checksums: this.#table.checksums,
      news: self === undefined ? [] : [this.#table.newsOf(self, 0)],
    };
  }
  #count(bytes: Uint8Array, isSent: boolean): void {
    if (!isSent) return;
    this.statistics.messagesSent++;
    this.statistics.bytesSent += bytes.length;
  }

  /** A member changed: facts above `base` are new. */
  passOn(number: NodeNumber, base: number): void {
    this.#news.add(number, base);
    this.#flushSoon();
  }
  forget(number: NodeNumber): void {
    this.#news.remove(number);
  }
  /** What a probe or its answer carries: what changed, and first of all what is wrong about the receiver. */
  newsFor(to: NodeNumber): News[] {
    const member = this.#table.get(to);
    const news = this.#news.take(limits.newsPerProbeMax, 1);
    if (member !== undefined && member.claim !== Claim.UP)
      news.unshift(this.#table.newsOf(member, member.version));
    return news;
  }

  #flushSoon(): void {
    if (this.#cancelFlush !== null) return;
    this.#cancelFlush = this.#world.timers.after(limits.newsDelayMs, () => {
      this.#cancelFlush = null;
      this.flush();
      if (this.#news.size > 0 && this.#peers.others.length > 0) this.#flushSoon();
    });
  }
  /** Sends news to some others at once. */
  flush(): void {
    const receivers = this.#peers.pick(limits.newsFanout, 0);
    if (receivers.length === 0) return;
    const news = this.#news.take(NEWS_PASSED_ON_MAX, receivers.length);
    if (news.length === 0) return;
    const bytes = encodeGossip({ kind: 'news', news });
    for (const number of receivers) this.#count(bytes, this.#world.network.send(number, bytes));
  }
  stop(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
  }
}
