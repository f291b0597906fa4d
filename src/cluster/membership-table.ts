/**
 * What one node knows of all members, and the rules by which news of them is taken. Pure; owned by the peer worker.
 *
 * 1. News of a lower generation never counts; news of a higher one replaces everything known of the node.
 * 2. Within a generation a claim of liveness wins by (left, incarnation, up < suspect < down). Only the node itself raises
 *    its incarnation: to refute. Nothing refutes `left`: that takes a restart.
 * 3. `version` counts the changes of a node's facts. News carries the facts above `base`; it is applied only by who
 *    knows those up to `base`, so whoever has a version has all facts up to it.
 * 4. Merging is commutative, associative and idempotent: the table of checksums by bucket is equal exactly where
 *    two nodes know the same (but for collisions of 32 bits, which the next change of the bucket ends).
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Liveness, MemberState, NodeNumber } from './contract.ts';
import { BUCKETS, Claim, type ClaimCode, type Digest, type Fact, type News } from './membership-messages.ts';

const LIVENESS: readonly Liveness[] = ['up', 'suspect', 'down', 'left'];

/** One member. Changed by MemberTable alone. */
export class Member implements MemberState {
  readonly number: NodeNumber;
  generation = 0;
  incarnation = 0;
  claim: ClaimCode = Claim.UP;
  address = '';
  version = 0;
  readonly versioned = new Map<string, Fact>();
  /** SUSPECT: those who say so, in the order of hearing. */
  accusers: NodeNumber[] = [];
  /** By this node's monotonic clock. */
  claimedMs = 0;

  constructor(number: NodeNumber) {
    this.number = number;
  }
  get liveness(): Liveness {
    return LIVENESS[this.claim] as Liveness;
  }
  get facts(): ReadonlyMap<string, string | number> {
    return new Map([...this.versioned].map(([name, { value }]) => [name, value]));
  }
}

/** What taking news changed. */
export interface Changed {
  readonly isNew: boolean;
  readonly claim: boolean;
  readonly facts: boolean;
  /** Somebody else confirms a suspicion. */
  readonly accuser: boolean;
}
const NOTHING: Changed = { isNew: false, claim: false, facts: false, accuser: false };

export class MemberTable {
  readonly #members = new Map<NodeNumber, Member>();
  readonly #buckets: Set<Member>[] = Array.from({ length: BUCKETS }, () => new Set());
  readonly checksums = new Uint32Array(BUCKETS);
  /** News of further nodes that was not taken because the table is full. */
  refused = 0;

  get size(): number {
    return this.#members.size;
  }
  get(number: NodeNumber): Member | undefined {
    return this.#members.get(number);
  }
  values(): IterableIterator<Member> {
    return this.#members.values();
  }

  /** Takes news by the rules above. */
  take(news: News, nowMs: number): Changed {
    const known = this.#members.get(news.number);
    if (known !== undefined) {
      if (news.generation < known.generation) return NOTHING;
      if (news.generation === known.generation) return this.#merge(known, news, nowMs);
    } else if (this.#members.size >= limits.membersMax) {
      this.refused++;
      return NOTHING;
    }
    const member = known ?? new Member(news.number);
    const isLeft = known?.claim === Claim.LEFT || known === undefined;
    if (known === undefined) {
      this.#members.set(news.number, member);
      this.#bucketOf(member).add(member);
    } else this.#sum(member);
    const hadFacts = member.versioned.size > 0;
    const claim = isLeft || member.claim !== news.claim || known !== undefined;
    member.generation = news.generation;
    member.address = news.address;
    member.version = 0;
    member.versioned.clear();
    this.#claim(member, news, nowMs);
    const facts = this.#takeFacts(member, news);
    this.#sum(member);
    return { isNew: true, claim, facts: facts || hadFacts, accuser: false };
  }

  #merge(member: Member, news: News, nowMs: number): Changed {
    const claim = isNewer(news, member);
    const accuser =
      !claim &&
      news.claim === Claim.SUSPECT &&
      member.claim === Claim.SUSPECT &&
      news.incarnation === member.incarnation &&
      news.accuser !== 0 &&
      member.accusers.length < limits.accusersMax &&
      !member.accusers.includes(news.accuser);
    if (accuser) member.accusers.push(news.accuser);
    const facts = news.version > member.version && news.base <= member.version;
    if (!claim && !facts) return accuser ? { ...NOTHING, accuser } : NOTHING;
    this.#sum(member);
    if (claim) this.#claim(member, news, nowMs);
    if (facts) this.#takeFacts(member, news);
    this.#sum(member);
    return { isNew: false, claim, facts, accuser };
  }

  #claim(member: Member, news: News, nowMs: number): void {
    member.incarnation = news.incarnation;
    member.claim = news.claim;
    member.claimedMs = nowMs;
    member.accusers = news.claim === Claim.SUSPECT && news.accuser !== 0 ? [news.accuser] : [];
  }
  #takeFacts(member: Member, news: News): boolean {
    if (news.version <= member.version || news.base > member.version) return false;
    for (const [name, fact] of news.facts)
      if (member.versioned.has(name) || member.versioned.size < limits.memberFactsMax)
        member.versioned.set(name, fact);
    member.version = news.version;
    return true;
  }

  /** Forgets members that left longer ago than limits.leftMemberMs; returns them. */
  expire(nowMs: number): Member[] {
    const gone = [...this.#members.values()].filter(
      ({ claim, claimedMs }) => claim === Claim.LEFT && nowMs - claimedMs >= limits.leftMemberMs,
    );
    for (const member of gone) {
      this.#sum(member);
      this.#members.delete(member.number);
      this.#bucketOf(member).delete(member);
    }
    return gone;
  }

  /** What to tell of a member to who knows its facts up to `base`. */
  newsOf(member: Member, base: number): News {
    const from = base > member.version ? 0 : base;
    const facts: (readonly [name: string, fact: Fact])[] = [];
    if (from < member.version)
      for (const entry of member.versioned) if (entry[1].version > from) facts.push(entry);
    return {
      number: member.number,
      generation: member.generation,
      incarnation: member.incarnation,
      claim: member.claim,
      accuser: member.accusers.at(-1) ?? 0,
      address: member.address,
      version: member.version,
      base: from,
      facts,
    };
  }

  /** Buckets in which the other's checksums differ. */
  differing(checksums: Uint32Array): number[] {
    const buckets: number[] = [];
    for (let i = 0; i < BUCKETS; i++) if (checksums[i] !== this.checksums[i]) buckets.push(i);
    return buckets;
  }
  bucket(index: number): ReadonlySet<Member> {
    const bucket = this.#buckets[index];
    assert(bucket !== undefined, () => `membership: bucket ${index}`);
    return bucket;
  }

  #bucketOf(member: Member): Set<Member> {
    return this.#buckets[member.number % BUCKETS] as Set<Member>;
  }
  /** Adds a member to its bucket's checksum, or takes it out again: each time by exclusive or. */
  #sum(member: Member): void {
    const at = member.number % BUCKETS;
    this.checksums[at] = (this.checksums[at] as number) ^ checksumOf(member);
  }
}

/** Whether a claim beats what is held of the same generation. */
export function isNewer(news: News | Digest, held: { incarnation: number; claim: ClaimCode }): boolean {
  if (held.claim === Claim.LEFT || news.claim === Claim.LEFT) return held.claim !== Claim.LEFT;
  if (news.incarnation !== held.incarnation) return news.incarnation > held.incarnation;
  return news.claim > held.claim;
}

/** A mixture of 32 bits (the finalizer of MurmurHash3) of all that the order of news depends on. */
function checksumOf(member: Member): number {
  let hash = mix(member.number);
  hash = mix(hash ^ (member.generation % 0x1_0000_0000));
  hash = mix(hash ^ Math.floor(member.generation / 0x1_0000_0000));
  // A member that left is the same whatever it refuted before.
  hash = mix(hash ^ (member.claim === Claim.LEFT ? 0 : member.incarnation));
  hash = mix(hash ^ member.claim);
  return mix(hash ^ member.version);
}
function mix(value: number): number {
  let hash = (value + 0x9e3779b9) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
