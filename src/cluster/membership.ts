/**
 * Membership of one node: who is there, where, and alive (Das et al., SWIM; Dadgar et al., Lifeguard; van Renesse et al.,
 * "Efficient reconciliation and flow control for anti-entropy protocols"). Owned by the peer worker. Pure: messages, time and
 * chance come from ClusterWorld.
 *
 * 1. Nothing is sent before this start's generation is durable.
 * 2. Only this node changes its own facts and incarnation; it refutes every accusation of its generation but removal.
 * 3. Changes go to newsFanout members within newsDelayMs, ride on probes, and what was lost on the way is found by one
 *    exchange of checksums each gossipIntervalMs.
 * 4. `left` is remembered for limits.leftMemberMs: older news of such a node, still on its way, brings nothing back.
 */
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, MemberState, MembershipListener, NodeNumber } from './contract.ts';
import { Generation } from './membership-generation.ts';
import { LocalHealth } from './membership-health.ts';
import {
  Claim,
  type ClaimCode,
  decodeGossip,
  encodeGossip,
  type Gossip,
  type News,
} from './membership-messages.ts';
import { NewsQueue } from './membership-news.ts';
import { Probes } from './membership-probes.ts';
import { Suspicions } from './membership-suspicions.ts';
import { deltasFor, digestsOf, newsFor } from './membership-sync.ts';
import { type Member, MemberTable } from './membership-table.ts';

export interface MembershipOptions {
  /** host:port of this node's peer listener, as others reach it. */
  readonly address: string;
  /** host:port of peer listeners that are asked at the start and while nodes are missing. */
  readonly seeds: readonly string[];
  readonly facts?: ReadonlyMap<string, string | number>;
}

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

/** News of one message above which it is taken for a transfer of the table rather than for changes to pass on. */
const NEWS_PASSED_ON_MAX = 16;
/** Changes by one message of DELTAS from which the same node is asked again at once. */
const SYNC_AGAIN_CHANGES = 64;
const EXPIRE_ROUNDS = 60;

export class Membership {
  readonly #world: ClusterWorld;
  readonly #options: MembershipOptions;
  readonly #listener: MembershipListener;
  readonly #table = new MemberTable();
  readonly #news = new NewsQueue(this.#table);
  readonly #health = new LocalHealth();
  readonly #generation: Generation;
  readonly #probes: Probes;
  readonly #suspicions: Suspicions;
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
  /** Up or suspected, without this node; null: to be made anew. */
  #others: NodeNumber[] | null = null;
  #downs: NodeNumber[] | null = null;
  #state: 'new' | 'running' | 'raising' | 'left' | 'stopped' = 'new';
  #rounds = 0;
  #roundDueMs = 0;
  #seedsAskedMs = Number.NEGATIVE_INFINITY;
  #cancelRound: (() => void) | null = null;
  #cancelFlush: (() => void) | null = null;
  /** Facts set before the start, or while the generation is being raised. */
  readonly #facts: Map<string, string | number>;

  /** Throws BadRequestError where the options do not fit the limits. */
  constructor(world: ClusterWorld, options: MembershipOptions, listener: MembershipListener) {
    checkText('address', options.address, limits.memberAddressBytesMax);
    if (options.seeds.length > limits.seedsMax)
      throw new BadRequestError(`${options.seeds.length} seeds; the limit is ${limits.seedsMax}`);
    this.#world = world;
    this.#options = options;
    this.#listener = listener;
    this.#facts = new Map(options.facts);
    checkFacts(this.#facts);
    this.#generation = new Generation(world);
    this.#suspicions = new Suspicions(
      world,
      (suspect) => this.#callDown(suspect),
      () => this.#stalled(),
    );
    this.#probes = new Probes(world, this.#health, {
      ping: (to, seq, target) => this.#send(to, { kind: 'ping', seq, target, news: this.#newsForProbe(to) }),
      askToProbe: (to, seq, target) => this.#send(to, { kind: 'probe', seq, target, news: [] }),
      ack: (to, seq) => this.#send(to, { kind: 'ack', seq, news: [] }),
      nack: (to, seq) => this.#send(to, { kind: 'nack', seq }),
      accuse: (target) => this.#accuse(target),
      stalled: () => this.#stalled(),
      targets: () => this.#othersNow(),
      helpers: (count, except) => this.#pickOthers(count, except),
    });
  }

  /** Raises the generation and joins; `done` once others may hear of this node. */
  start(done: (error: Error | null) => void): void {
    this.#generation.start((error) => {
      if (error === null && this.#state === 'new') {
        this.#beginLife();
        this.#round();
      }
      done(error);
    });
  }

  get generation(): number {
    return this.#generation.value;
  }
  /** All that are known, this node and those that left included. */
  members(): IterableIterator<MemberState> {
    return this.#table.values();
  }
  member(number: NodeNumber): MemberState | undefined {
    return this.#table.get(number);
  }
  /** A suspected member counts as up: it may yet refute. */
  isUp(number: NodeNumber): boolean {
    if (number === this.#world.self) return true;
    const claim = this.#table.get(number)?.claim;
    return claim === Claim.UP || claim === Claim.SUSPECT;
  }
  /** 1 where this node hears from others as it should; up to limits.healthMultiplierMax. */
  get healthMultiplier(): number {
    return this.#health.multiplier;
  }

  /** Tells the others a fact of this node. Throws BadRequestError beyond the limits. */
  setFact(name: string, value: string | number): void {
    if (this.#facts.get(name) === value) return;
    const facts = new Map(this.#facts).set(name, value);
    checkFacts(facts);
    this.#facts.set(name, value);
    const self = this.#table.get(this.#world.self);
    if (this.#state !== 'running' || self === undefined) return;
    const version = self.version + 1;
    const base = self.version;
    this.#take(
      { ...this.#table.newsOf(self, base), version, base, facts: [[name, { version, value }]] },
      true,
    );
  }

  /** Declares another node removed for good: its present life never counts again. False where it is not known. */
  remove(number: NodeNumber): boolean {
    const member = this.#table.get(number);
    if (member === undefined || number === this.#world.self || this.#state !== 'running') return false;
    this.#claim(member, Claim.LEFT);
    return true;
  }

  /** Says good-bye and stops. */
  leave(): void {
    const self = this.#table.get(this.#world.self);
    if (this.#state === 'running' && self !== undefined) {
      this.#claim(self, Claim.LEFT);
      this.#flush();
      this.#flush();
    }
    this.stop();
  }
  stop(): void {
    this.#halt('stopped');
  }

  /** A message from another node. What is malformed is counted and dropped. */
  receive(from: NodeNumber, message: Uint8Array): void {
    if (this.#state !== 'running' || from === this.#world.self) return;
    this.statistics.messagesReceived++;
    this.statistics.bytesReceived += message.length;
    let gossip: Gossip;
    try {
      gossip = decodeGossip(message);
    } catch (error) {
      if (!(error instanceof BadRequestError)) throw error;
      if (this.statistics.malformed++ === 0)
        this.#world.log('warn', `node ${from} sent what is no gossip: ${error.message}`);
      return;
    }
    this.#probes.onLife(from);
    this.#handle(from, gossip);
  }

  #handle(from: NodeNumber, gossip: Gossip): void {
    const changes = 'news' in gossip ? this.#takeAll(gossip.news) : 0;
    if (this.#state !== 'running') return;
    switch (gossip.kind) {
      case 'ping':
        // It may be meant for who had this address before.
        if (gossip.target === this.#world.self)
          this.#send(from, { kind: 'ack', seq: gossip.seq, news: this.#newsForProbe(from) });
        break;
      case 'ack':
        this.#probes.onAck(gossip.seq);
        break;
      case 'probe':
        this.#probes.relay(from, gossip.seq, gossip.target);
        break;
      case 'nack':
        this.#probes.onNack(gossip.seq);
        break;
      case 'sync':
        this.#sendIfAny(from, digestsOf(this.#table, gossip.checksums));
        break;
      case 'digests':
        this.#sendIfAny(from, deltasFor(this.#table, gossip.buckets, gossip.digests));
        break;
      case 'deltas':
        if (gossip.wants.length > 0)
          this.#send(from, { kind: 'deltas', news: newsFor(this.#table, gossip.wants), wants: [] });
        else if (changes >= SYNC_AGAIN_CHANGES) this.#send(from, this.#syncMessage());
        break;
    }
  }

  // ------------------------------------------------------------------------------------------ rounds

  #beginLife(): void {
    this.#state = 'running';
    const facts = [...this.#facts].map(([name, value], i) => [name, { version: i + 1, value }] as const);
    this.#take(
      {
        number: this.#world.self,
        generation: this.#generation.value,
        incarnation: 0,
        claim: Claim.UP,
        accuser: 0,
        address: this.#options.address,
        version: facts.length,
        base: 0,
        facts,
      },
      true,
    );
  }

  #round(): void {
    const { clock, timers, random } = this.#world;
    if (this.#state !== 'running' && this.#state !== 'raising') return;
    const ms = (limits.gossipIntervalMs * random.between(900, 1100)) / 1000;
    if (this.#rounds > 0 && clock.monotonicMs() - this.#roundDueMs > limits.stallMs) this.#stalled();
    this.#roundDueMs = clock.monotonicMs() + ms;
    this.#cancelRound = timers.after(ms, () => this.#round());
    if (this.#state !== 'running') return;
    if (this.#rounds++ % this.#health.multiplier === 0) this.#probes.probeNext();
    this.#syncWithSomebody();
    this.#askSeeds();
    if (this.#rounds % EXPIRE_ROUNDS === 0)
      for (const { number } of this.#table.expire(clock.monotonicMs())) this.#news.remove(number);
  }

  /** With one that lives; now and then with one that is down, in proportion: so healed partitions find together. */
  #syncWithSomebody(): void {
    const { random } = this.#world;
    const others = this.#othersNow();
    const downs = this.#downsNow();
    const isToDown = downs.length > 0 && random.below(others.length + downs.length) < downs.length;
    if (isToDown) this.#send(random.pick(downs), this.#syncMessage());
    if (others.length > 0) this.#send(random.pick(others), this.#syncMessage());
  }

  #askSeeds(): void {
    const nowMs = this.#world.clock.monotonicMs();
    const isAlone = this.#othersNow().length === 0;
    const everyMs = isAlone ? limits.seedAloneMs : limits.seedIntervalMs;
    if (nowMs - this.#seedsAskedMs < everyMs) return;
    const missing = isAlone ? this.#seedsToAsk() : this.#seedsToAsk().filter((seed) => !this.#isUpAt(seed));
    this.#seedsAskedMs = nowMs;
    for (const seed of missing) this.#sendTo(seed, this.#syncMessage());
  }
  #seedsToAsk(): readonly string[] {
    return this.#options.seeds.filter((seed) => seed !== this.#options.address);
  }
  #isUpAt(address: string): boolean {
    for (const number of this.#othersNow()) if (this.#table.get(number)?.address === address) return true;
    return false;
  }

  #syncMessage(): Gossip {
    const self = this.#table.get(this.#world.self);
    return {
      kind: 'sync',
      checksums: this.#table.checksums,
      news: self === undefined ? [] : [this.#table.newsOf(self, 0)],
    };
  }

  /** This process stood still: it knows nothing of the others until it has heard from them again. */
  #stalled(): void {
    this.statistics.stalls++;
    this.#health.worst();
    this.#probes.cancel();
    this.#suspicions.restart();
    for (const number of this.#pickOthers(limits.newsFanout, 0)) this.#send(number, this.#syncMessage());
  }

  // -------------------------------------------------------------------------------- what is taken over

  /** Returns how many changed something. */
  #takeAll(list: readonly News[]): number {
    let changes = 0;
    const isPassedOn = list.length <= NEWS_PASSED_ON_MAX;
    for (const news of list) {
      if (this.#state !== 'running') break;
      if (news.number === this.#world.self) this.#hearOfSelf(news);
      else if (this.#take(news, isPassedOn)) changes++;
    }
    return changes;
  }

  #take(news: News, isPassedOn: boolean): boolean {
    const known = this.#table.get(news.number);
    const base = known?.generation === news.generation ? known.version : 0;
    const changed = this.#table.take(news, this.#world.clock.monotonicMs());
    if (!changed.claim && !changed.facts && !changed.accuser) return false;
    const member = this.#table.get(news.number) as Member;
    if (isPassedOn) {
      this.#news.add(news.number, base);
      this.#flushSoon();
    }
    if (changed.isNew && news.number !== this.#world.self && member.address !== '')
      this.#world.network.setAddress(news.number, member.address);
    if (changed.claim) this.#onClaim(member);
    else if (changed.accuser) this.#watch(member);
    if (changed.facts) this.#listener.onFacts(news.number);
    return true;
  }

  #onClaim(member: Member): void {
    const { number, claim } = member;
    this.#others = null;
    this.#downs = null;
    if (claim === Claim.SUSPECT) {
      this.#watch(member);
      const others = this.#othersNow().length;
      const isOwn = member.accusers.includes(this.#world.self);
      if (!isOwn && this.#world.random.below(Math.max(others, 1)) < limits.confirmersMax)
        this.#probes.probe(number);
    } else this.#suspicions.end(number);
    if (claim === Claim.LEFT && number !== this.#world.self) this.#world.network.forget(number);
    this.#listener.onLiveness(number, member.liveness);
  }
  #watch({ number, accusers }: Member): void {
    this.#suspicions.update(number, Math.max(0, accusers.length - 1), this.#othersNow().length - 1);
  }

  /** News of this node by others. */
  #hearOfSelf(news: News): void {
    const self = this.#table.get(this.#world.self);
    if (self === undefined || news.generation < self.generation) return;
    if (news.generation > self.generation) return this.#raiseGeneration(news.generation);
    if (news.claim === Claim.LEFT) {
      this.#take(news, false);
      this.#world.log('error', `node ${this.#world.self} was removed from the cluster: it gossips no more`);
      this.#halt('left');
    } else if (news.claim !== Claim.UP && news.incarnation >= self.incarnation) {
      this.statistics.refutations++;
      this.#health.worse(1);
      const { incarnation } = news;
      this.#take({ ...this.#table.newsOf(self, self.version), incarnation: incarnation + 1 }, true);
    }
  }

  /** The past of this node, or another with its number, is ahead: the clock went back with a new data directory. */
  #raiseGeneration(above: number): void {
    this.#world.log(
      'error',
      `node ${this.#world.self} is known with generation ${above}, above its own: raised`,
    );
    this.#state = 'raising';
    this.#generation.raiseAbove(above, (error) => {
      if (this.#state !== 'raising') return;
      if (error === null) return this.#beginLife();
      this.#state = 'running';
      this.#world.log('error', `the generation was not saved: ${error.message}`);
    });
  }

  #accuse(target: NodeNumber): void {
    const member = this.#table.get(target);
    if (member === undefined || member.claim > Claim.SUSPECT) return;
    this.statistics.accusations++;
    this.#claim(member, Claim.SUSPECT);
  }
  #callDown(suspect: NodeNumber): void {
    const member = this.#table.get(suspect);
    if (member?.claim === Claim.SUSPECT) this.#claim(member, Claim.DOWN);
  }
  #claim(member: Member, claim: ClaimCode): void {
    const accuser = claim === Claim.SUSPECT ? this.#world.self : 0;
    this.#take({ ...this.#table.newsOf(member, member.version), claim, accuser }, true);
  }

  // ------------------------------------------------------------------------------------------ sending

  /** What changed, and first of all what is wrong about the receiver. */
  #newsForProbe(to: NodeNumber): News[] {
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
      this.#flush();
      if (this.#news.size > 0 && this.#state === 'running' && this.#othersNow().length > 0) this.#flushSoon();
    });
  }
  #flush(): void {
    const receivers = this.#pickOthers(limits.newsFanout, 0);
    if (receivers.length === 0) return;
    const news = this.#news.take(NEWS_PASSED_ON_MAX, receivers.length);
    if (news.length === 0) return;
    const { bytes } = encodeGossip({ kind: 'news', news });
    for (const number of receivers) this.#transmit(bytes, this.#world.network.send(number, bytes));
  }

  #sendIfAny(to: NodeNumber, gossip: Gossip | null): void {
    if (gossip !== null) this.#send(to, gossip);
  }
  #send(to: NodeNumber, gossip: Gossip): void {
    const { bytes } = encodeGossip(gossip);
    this.#transmit(bytes, this.#world.network.send(to, bytes));
  }
  #sendTo(address: string, gossip: Gossip): void {
    const { bytes } = encodeGossip(gossip);
    this.#transmit(bytes, this.#world.network.sendTo(address, bytes));
  }
  #transmit(bytes: Uint8Array, isSent: boolean): void {
    if (!isSent) return;
    this.statistics.messagesSent++;
    this.statistics.bytesSent += bytes.length;
  }

  #halt(state: 'left' | 'stopped'): void {
    if (this.#state === 'stopped') return;
    this.#state = state;
    this.#cancelRound?.();
    this.#cancelFlush?.();
    this.#probes.cancel();
    this.#suspicions.cancel();
  }

  // -------------------------------------------------------------------------------------- who is there

  #othersNow(): readonly NodeNumber[] {
    this.#others ??= this.#numbersWhere((claim) => claim <= Claim.SUSPECT);
    return this.#others;
  }
  #downsNow(): readonly NodeNumber[] {
    this.#downs ??= this.#numbersWhere((claim) => claim === Claim.DOWN);
    return this.#downs;
  }
  #numbersWhere(is: (claim: ClaimCode) => boolean): NodeNumber[] {
    const numbers: NodeNumber[] = [];
    for (const { number, claim } of this.#table.values())
      if (number !== this.#world.self && is(claim)) numbers.push(number);
    return numbers;
  }
  /** Up to `count` distinct ones by chance. */
  #pickOthers(count: number, except: NodeNumber): NodeNumber[] {
    const others = this.#othersNow();
    const picked: NodeNumber[] = [];
    for (let tries = 0; tries < count * 4 && picked.length < count && others.length > 0; tries++) {
      const number = this.#world.random.pick(others);
      if (number !== except && !picked.includes(number)) picked.push(number);
    }
    return picked;
  }
}

function checkText(what: string, text: string, bytesMax: number): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > bytesMax) throw new BadRequestError(`${what} of ${bytes} bytes; the limit is ${bytesMax}`);
}
function checkFacts(facts: ReadonlyMap<string, string | number>): void {
  if (facts.size > limits.memberFactsMax)
    throw new BadRequestError(`${facts.size} facts of this node; the limit is ${limits.memberFactsMax}`);
  let bytes = 0;
  for (const [name, value] of facts) {
    checkText('fact name', name, limits.memberFactNameBytesMax);
    if (typeof value === 'string') checkText(`fact ${name}`, value, limits.memberFactBytesMax);
    bytes += Buffer.byteLength(name) + (typeof value === 'string' ? Buffer.byteLength(value) : 8);
  }
  if (bytes > limits.memberFactsBytesMax)
    throw new BadRequestError(`facts of ${bytes} bytes; the limit is ${limits.memberFactsBytesMax}`);
}
