/**
 * News that is still to be passed on: each member of whom something changed, sent newsTransmitsMax times, the least often
 * sent first (SWIM, section 4.1). What is sent is what the table says at that moment. Pure.
 */
import { limits } from '../base/limits.ts';
import type { NodeNumber } from './contract.ts';
import type { News } from './membership-messages.ts';
import type { MemberTable } from './membership-table.ts';

interface Entry {
  /** Facts above this are news. */
  base: number;
  sent: number;
}

export class NewsQueue {
  readonly #table: MemberTable;
  /** At most one entry a member. */
  readonly #entries = new Map<NodeNumber, Entry>();

  constructor(table: MemberTable) {
    this.#table = table;
  }
  get size(): number {
    return this.#entries.size;
  }
  add(number: NodeNumber, base: number): void {
    const entry = this.#entries.get(number);
    if (entry === undefined) this.#entries.set(number, { base, sent: 0 });
    else {
      entry.base = Math.min(entry.base, base);
      entry.sent = 0;
    }
  }
  remove(number: NodeNumber): void {
    this.#entries.delete(number);
  }

  /** Takes news of up to `max` members, to be sent to `receivers` nodes. */
  take(max: number, receivers: number): News[] {
    if (this.#entries.size === 0) return [];
    let chosen = [...this.#entries];
    if (chosen.length > max) chosen = chosen.sort(([, a], [, b]) => a.sent - b.sent).slice(0, max);
    const news: News[] = [];
    for (const [number, entry] of chosen) {
      const member = this.#table.get(number);
      if (member !== undefined) news.push(this.#table.newsOf(member, entry.base));
      entry.sent += receivers;
      if (member === undefined || entry.sent >= limits.newsTransmitsMax) this.#entries.delete(number);
    }
    return news;
  }
}
