import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import {
  Claim,
  type ClaimCode,
  decodeGossip,
  encodeGossip,
  type Fact,
  type Gossip,
  type News,
} from '../../src/cluster/membership-messages.ts';
import { deltasFor, digestsOf, newsFor } from '../../src/cluster/membership-sync.ts';
import { MemberTable } from '../../src/cluster/membership-table.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();

const newsOf = (number: number, over: Partial<News> = {}): News => ({
  number,
  generation: 1,
  incarnation: 0,
  claim: Claim.UP,
  accuser: 0,
  address: `10.0.0.1:${number}`,
  version: 0,
  base: 0,
  facts: [],
  ...over,
});

/** What a table knows, for comparison; accusers and times are each node's own. */
function knownTo(table: MemberTable): unknown[] {
  return [...table.values()]
    .map(({ number, generation, incarnation, claim, version, versioned }) => {
      const facts = [...versioned].sort(([a], [b]) => (a < b ? -1 : 1));
      return [number, generation, claim === Claim.LEFT ? 'left' : incarnation, claim, version, facts];
    })
    .sort(([a], [b]) => Number(a) - Number(b));
}

/** Whole histories of nodes, as they and others told them: lives, facts, accusations, refutations, removals. */
function histories(random: Random, nodes: number): News[] {
  const all: News[] = [];
  for (let number = 1; number <= nodes; number++) {
    for (let generation = 1; generation <= random.between(1, 3); generation++) {
      const facts = new Map<string, Fact>();
      let incarnation = 0;
      for (let version = 1; version <= random.between(1, 6); version++) {
        facts.set(`fact-${random.below(3)}`, { version, value: random.below(100) });
        const base = random.below(version);
        const told = [...facts].filter(([, fact]) => fact.version > base);
        if (random.chance(0.3)) incarnation++;
        const claim = random.below(4) as ClaimCode;
        const lives = claim === Claim.LEFT && random.chance(0.8) ? Claim.DOWN : claim;
        all.push(newsOf(number, { generation, incarnation, claim: lives, version, base, facts: told }));
      }
    }
  }
  return all;
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const left = [...items];
  const out: T[] = [];
  while (left.length > 0) out.push(...left.splice(random.below(left.length), 1));
  return out;
}

/** Over the wire and back. */
const passed = (gossip: Gossip): Gossip => decodeGossip(encodeGossip(gossip));

/** One exchange that `a` begins; whether there was a difference. */
function exchange(a: MemberTable, b: MemberTable): boolean {
  const digests = digestsOf(b, a.checksums);
  if (digests === null) return false;
  const told = passed(digests);
  if (told.kind !== 'digests') throw new Error(told.kind);
  const answer = deltasFor(a, told.buckets, told.digests);
  if (answer === null) return false;
  const deltas = passed(answer);
  if (deltas.kind !== 'deltas') throw new Error(deltas.kind);
  for (const news of deltas.news) b.take(news, 0);
  const wanted = passed({ kind: 'deltas', news: newsFor(b, deltas.wants), wants: [] });
  if (wanted.kind === 'deltas') for (const news of wanted.news) a.take(news, 0);
  return true;
}

describe(`the table of members, seed ${seed},`, () => {
  it('is the same at two nodes after one exchange, whatever each had heard, in whatever order', () => {
    const random = new Random(seed);
    for (let run = 0; run < 200; run++) {
      const told = histories(random, 8);
      const [a, b] = [new MemberTable(), new MemberTable()];
      for (const table of [a, b])
        for (const news of shuffled(random, told)) if (random.chance(0.7)) table.take(news, 0);
      for (let rounds = 0; exchange(a, b); rounds++) expect(rounds).toBeLessThan(2);
      expect(knownTo(a)).toEqual(knownTo(b));
      expect(a.checksums).toEqual(b.checksums);
    }
  });

  it('does not depend on the order of news or on repetition', () => {
    const random = new Random(seed);
    for (let run = 0; run < 200; run++) {
      // Each with all its facts: what is left out for lack of earlier ones depends on the order.
      const told = histories(random, 4).map((news) => ({ ...news, base: 0 }));
      const tables = [1, 2].map(() => {
        const table = new MemberTable();
        for (const news of shuffled(random, [...told, ...told])) table.take(news, 0);
        return table;
      });
      const claims = tables.map((table) => knownTo(table).map((known) => (known as unknown[]).slice(0, 5)));
      expect(claims[0]).toEqual(claims[1]);
    }
  });

  it('takes facts only on top of those that they follow', () => {
    const table = new MemberTable();
    table.take(newsOf(1, { version: 1, facts: [['a', { version: 1, value: 1 }]] }), 0);
    const third = newsOf(1, { version: 3, base: 2, facts: [['c', { version: 3, value: 3 }]] });
    expect(table.take(third, 0).facts).toBe(false);
    const rest = newsOf(1, {
      version: 3,
      base: 1,
      facts: [
        ['b', { version: 2, value: 2 }],
        ['c', { version: 3, value: 3 }],
      ],
    });
    expect(table.take(rest, 0).facts).toBe(true);
    expect(table.get(1)?.facts).toEqual(
      new Map([
        ['a', 1],
        ['b', 2],
        ['c', 3],
      ]),
    );
  });

  it('forgets who left after the time that is named for it, and not before', () => {
    const table = new MemberTable();
    table.take(newsOf(1), 0);
    table.take(newsOf(2, { claim: Claim.LEFT }), 5);
    expect(table.expire(limits.leftMemberMs + 4)).toEqual([]);
    expect(table.take(newsOf(2, { incarnation: 9 }), 6).claim).toBe(false);
    expect(table.expire(limits.leftMemberMs + 5).map(({ number }) => number)).toEqual([2]);
    const fresh = new MemberTable();
    fresh.take(newsOf(1), 0);
    expect(table.checksums).toEqual(fresh.checksums);
  });

  it('keeps within its bound, and counts what it refused', () => {
    const table = new MemberTable();
    for (let number = 1; number <= limits.membersMax + 3; number++) table.take(newsOf(number), 0);
    expect([table.size, table.refused]).toEqual([limits.membersMax, 3]);
    expect(table.take(newsOf(7, { claim: Claim.DOWN }), 0).claim).toBe(true);
  });

  it('becomes the same over messages of bounded size at the largest number of members', () => {
    const [full, empty] = [new MemberTable(), new MemberTable()];
    const facts = [['url', { version: 1, value: 'http://10.20.30.40:8080' }]] as const;
    for (let number = 1; number <= limits.membersMax; number++)
      full.take(newsOf(number, { version: 1, facts }), 0);
    let rounds = 0;
    while (exchange(empty, full)) rounds++;
    expect(empty.size).toBe(limits.membersMax);
    // Asked for at once one after another: see SYNC_AGAIN_CHANGES.
    expect(rounds).toBeLessThan(20);
  });
});
