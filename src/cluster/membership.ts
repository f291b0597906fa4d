/**
 * Membership of one node: who is there, where, and alive (Das et al., SWIM; Dadgar et al., Lifeguard; van Renesse et al.,
 * "Efficient reconciliation and flow control for anti-entropy protocols"). Owned by the peer worker. Pure: messages, time and
 * chance come from ClusterWorld.
 *
 * 1. Nothing is sent before this start's generation is durable.
 * 2. Only this node changes its own facts and incarnation; it refutes every accusation of its generation but removal.
 * 3. Changes go to newsFanout members within newsDelayMs, ride on probes, and what was lost on the way is found by one
 *    exchange of checksums each gossipIntervalMs.
 * 4. Hearsay takes nobody out of service that this node hears itself: who was cut off calls everyone down, and says so when it
 *    is back, before they can refute it.
 * 5. `left` is remembered for limits.leftMemberMs: older news of such a node, still on its way, brings nothing back.
 */
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, MemberState, MembershipListener, NodeNumber } from './contract.ts';
import { type Contact, Contacts } from './membership-contacts.ts';
import { Generation } from './membership-generation.ts';
import { LocalHealth } from './membership-health.ts';
import { Heard } from './membership-heard.ts';
import { Claim, type ClaimCode, decodeGossip, type Gossip, type News } from './membership-messages.ts';
import { checkFacts, checkOptions, type MembershipOptions } from './membership-options.ts';
import { Peers } from './membership-peers.ts';
import { Probes } from './membership-probes.ts';
import { GossipSeeds } from './membership-seeds.ts';
import { GossipSender, type MembershipStatistics, NEWS_PASSED_ON_MAX } from './membership-sender.ts';
import { Suspicions } from './membership-suspicions.ts';
import { deltasFor, digestsOf, newsFor } from './membership-sync.ts';
import { type Member, MemberTable } from './membership-table.ts';

/** Changes by one message of DELTAS from which the same node is asked again at once. */
const SYNC_AGAIN_CHANGES = 64;
const EXPIRE_ROUNDS = 60;

export class Membership {
  readonly #world: ClusterWorld;
  readonly #options: MembershipOptions;
  readonly #listener: MembershipListener;
  readonly #table = new MemberTable();
  readonly #peers: Peers;
  readonly #sender: GossipSender;
  readonly #contacts: Contacts;
  readonly #seeds: GossipSeeds;
  readonly #health = new LocalHealth();
  readonly #generation: Generation;
  readonly #probes: Probes;
  readonly #suspicions: Suspicions;
  #state: 'new' | 'running' | 'raising' | 'left' | 'stopped' = 'new';
  #rounds = 0;
  #roundDueMs = 0;
  #cancelRound: (() => void) | null = null;
  readonly #heard = new Heard();
  /** Facts set before the start, or while the generation is being raised. */
  readonly #facts: Map<string, string | number>;

  /** Throws BadRequestError where the options do not fit the limits, and CorruptionError. */
  constructor(world: ClusterWorld, options: MembershipOptions, listener: MembershipListener) {
    checkOptions(options);
    this.#world = world;
    this.#peers = new Peers(world, this.#table);
    this.#sender = new GossipSender(world, this.#table, this.#peers);
    this.#contacts = new Contacts(world, this.#table, this.#sender);
    this.#seeds = new GossipSeeds(world, options, this.#peers, this.#sender);
    this.#options = options;
    this.#listener = listener;
    this.#facts = new Map(options.facts);
    this.#generation = new Generation(world);
    this.#suspicions = new Suspicions(
      world,
      (suspect) => this.#callDown(suspect),
      () => this.#stalled(),
    );
    this.#probes = new Probes(world, this.#health, {
      ping: (to, seq, target) =>
        this.#sender.send(to, { kind: 'ping', seq, target, news: this.#sender.newsFor(to) }),
      askToProbe: (to, seq, target) => this.#sender.send(to, { kind: 'probe', seq, target, news: [] }),
      ack: (to, seq) => this.#sender.send(to, { kind: 'ack', seq, news: [] }),
      nack: (to, seq) => this.#sender.send(to, { kind: 'nack', seq }),
      accuse: (target) => this.#accuse(target),
      stalled: () => this.#stalled(),
      targets: () => this.#peers.others,
      helpers: (count, except) => this.#peers.pick(count, except),
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

  get statistics(): Readonly<MembershipStatistics> {
    return this.#sender.statistics;
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
  /** A suspected member counts as up: it may yet refute. So does one that is called down and was heard lately (4). */
  isUp(number: NodeNumber): boolean {
    if (number === this.#world.self) return true;
    const claim = this.#table.get(number)?.claim;
    if (claim === Claim.DOWN) return this.#heard.isRecent(number, this.#rounds);
    return claim === Claim.UP || claim === Claim.SUSPECT;
  }
  /** A message of any kind came from `number` itself. */
  heardFrom(number: NodeNumber): void {
    if (this.#table.get(number) !== undefined) this.#heard.note(number, this.#rounds);
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
    this.#tellFacts();
  }
  #tellFacts(): void {
    for (const [name, value] of this.#facts) {
      const self = this.#table.get(this.#world.self);
      if (this.#state !== 'running' || self === undefined) return;
      const { facts, version: base } = self;
      const told = [name, { version: base + 1, value }] as const;
      const news = { ...this.#table.newsOf(self, base), version: base + 1, base, facts: [told] };
      if (facts.get(name) !== value) this.#take(news, true);
    }
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
      this.#sender.flush();
      this.#sender.flush();
    }
    this.stop();
  }
  stop(): void {
    this.#halt('stopped');
  }

  /** Who belongs to the ring: they are looked for until they are heard of. */
  expect(contacts: Iterable<Contact>): void {
    this.#contacts.expect(contacts);
  }
  /** A connection with a node is there: it is asked at once where it is not known to be up. */
  onConnected(node: NodeNumber): void {
    if (this.#state === 'running' && !this.isUp(node)) this.#sender.sync(node);
  }

  /** A message from another node. What is malformed is counted and dropped. */
  receive(from: NodeNumber, message: Uint8Array): void {
    if (this.#state !== 'running' || from === this.#world.self) return;
    this.heardFrom(from);
    this.#sender.statistics.messagesReceived++;
    this.#sender.statistics.bytesReceived += message.length;
    let gossip: Gossip;
    try {
      gossip = decodeGossip(message);
    } catch (error) {
      if (!(error instanceof BadRequestError)) throw error;
      if (this.#sender.statistics.malformed++ === 0)
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
          this.#sender.send(from, { kind: 'ack', seq: gossip.seq, news: this.#sender.newsFor(from) });
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
        this.#sender.sendIfAny(from, digestsOf(this.#table, gossip.checksums));
        break;
      case 'digests':
        this.#sender.sendIfAny(from, deltasFor(this.#table, gossip.buckets, gossip.digests));
        break;
      case 'deltas':
        if (gossip.wants.length > 0)
          this.#sender.send(from, { kind: 'deltas', news: newsFor(this.#table, gossip.wants), wants: [] });
        else if (changes >= SYNC_AGAIN_CHANGES) this.#sender.sync(from);
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
    const { clock, timers } = this.#world;
    if (this.#state !== 'running' && this.#state !== 'raising') return;
    const ms = (limits.gossipIntervalMs * this.#world.random.between(900, 1100)) / 1000;
    if (this.#rounds > 0 && clock.monotonicMs() - this.#roundDueMs > limits.stallMs) this.#stalled();
    this.#roundDueMs = clock.monotonicMs() + ms;
    this.#cancelRound = timers.after(ms, () => this.#round());
    if (this.#state !== 'running') return;
    if (this.#rounds++ % this.#health.multiplier === 0)
      for (let i = 0; i < limits.probesPerRound; i++) this.#probes.probeNext();
    this.#syncWithSomebody();
    // Not asked in every round: addresses of the ring find room in the others, however many seeds there are.
    this.#seeds.ask();
    this.#contacts.ask();
    if (this.#rounds % EXPIRE_ROUNDS === 0)
      for (const { number } of this.#table.expire(clock.monotonicMs())) {
        this.#sender.forget(number);
        this.#heard.forget(number);
      }
  }

  /** With one that lives; now and then with one that is down, in proportion: so healed partitions find together. */
  #syncWithSomebody(): void {
    const { random } = this.#world;
    const { others, downs } = this.#peers;
    const isToDown = downs.length > 0 && random.below(others.length + downs.length) < downs.length;
    if (isToDown) this.#sender.syncWithDown(random.pick(downs), others.length === 0);
    if (others.length > 0) this.#sender.sync(random.pick(others));
  }

  /** This process stood still: it knows nothing of the others until it has heard from them again. */
  #stalled(): void {
    this.#sender.statistics.stalls++;
    this.#health.worst();
    this.#probes.cancel();
    this.#suspicions.restart();
    for (const number of this.#peers.pick(limits.newsFanout, 0)) this.#sender.sync(number);
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
    if (isPassedOn) this.#sender.passOn(news.number, base);
    if (changed.isNew && news.number !== this.#world.self && member.address !== '') {
      this.#world.network.setAddress(news.number, member.address);
      this.#contacts.note(news.number, member.address);
    }
    if (changed.claim) this.#onClaim(member);
    else if (changed.accuser) this.#watch(member);
    if (changed.facts) this.#listener.onFacts(news.number);
    return true;
  }

  #onClaim(member: Member): void {
    const { number, claim } = member;
    this.#peers.changed();
    if (claim === Claim.SUSPECT) {
      this.#watch(member);
      const isOwn = member.accusers.includes(this.#world.self);
      if (!isOwn && this.#world.random.below(Math.max(this.#peers.others.length, 1)) < limits.confirmersMax)
        this.#probes.probe(number);
    } else this.#suspicions.end(number);
    if (claim === Claim.UP && number !== this.#world.self) this.#probes.welcome(number);
    if (claim === Claim.LEFT && number !== this.#world.self) this.#world.network.forget(number);
    this.#listener.onLiveness(number, member.liveness);
  }
  #watch({ number, accusers }: Member): void {
    this.#suspicions.update(number, Math.max(0, accusers.length - 1), this.#peers.others.length - 1);
  }

  /** News of this node by others. */
  #hearOfSelf(news: News): void {
    const self = this.#table.get(this.#world.self);
    if (self === undefined || news.generation < self.generation) return;
    if (news.generation > self.generation) this.#raiseGeneration(news.generation);
    else if (news.claim === Claim.LEFT) {
      this.#take(news, false);
      this.#world.log('error', `node ${this.#world.self} was removed from the cluster: it gossips no more`);
      this.#halt('left');
    } else if (news.claim !== Claim.UP && news.incarnation >= self.incarnation) {
      this.#sender.statistics.refutations++;
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
      this.#state = 'running';
      if (error === null) this.#beginLife();
      else this.#world.log('error', `the generation was not saved: ${error.message}`);
      this.#tellFacts();
    });
  }

  #accuse(target: NodeNumber): void {
    const member = this.#table.get(target);
    if (member === undefined || member.claim > Claim.SUSPECT) return;
    this.#sender.statistics.accusations++;
    this.#claim(member, Claim.SUSPECT);
  }
  #callDown(suspect: NodeNumber): void {
    const member = this.#table.get(suspect);
    if (member?.claim === Claim.SUSPECT) this.#claim(member, Claim.DOWN);
  }
  #claim(member: Member, claim: ClaimCode): void {
    const news = this.#table.newsOf(member, member.version);
    this.#take({ ...news, claim, accuser: claim === Claim.SUSPECT ? this.#world.self : 0 }, true);
  }

  #halt(state: 'left' | 'stopped'): void {
    if (this.#state === 'stopped') return;
    this.#state = state;
    this.#cancelRound?.();
    this.#sender.stop();
    this.#contacts.stop();
    this.#probes.cancel();
    this.#suspicions.cancel();
  }
}
