/**
 * This node's part in the ring of the cluster: gets in, carries changes on, pulls what it gains, answers operators.
 * Peer worker. Rings are agreed on in ring-agreement.ts; docs/decisions/0009-replication.md has the four steps.
 *
 * 1. No node leads. The live member with the lowest number proposes the next step as soon as the conditions hold that it
 *    sees in gossip; those behind it do so one after another if it does not. Two that do it at once propose the same step,
 *    and Paxos takes one.
 * 2. The step after ring k is proposed when, for each vnode, a quorum of the replicas to come, and as many of the present ones as
 *    every quorum meets, hold ring k durably; `switching` also needs all that gain to have pulled. Undo needs the present replicas alone: under ring k and
 *    under the ring after it reads and writes meet in them, so those to come may be dead. The last step also waits, for a while, for the
 *    hints of a node that leaves (topology-leaving.ts).
 * 3. A node that was a member and is in no newer ring is removed, for ever: it serves nothing, and asks for nothing.
 */
import { BadRequestError, type RingKvError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import { nodeName } from './node-name.ts';
import { RingAgreement } from './ring-agreement.ts';
import { firstRing, nextPhase, ownerMoves, type RingShape } from './ring-change.ts';
import { checkMember, encodeRing } from './ring-codec.ts';
import { confirmedEverywhere, gainers, quorumOf } from './ring-lookup.ts';
import type { RingMap, RingMember } from './ring-map.ts';
import type { RingMessage, TopologyOperation } from './ring-messages.ts';
import { TopologyFact } from './topology-facts.ts';
import { TopologyJoining } from './topology-joining.ts';
import { type LeavingPorts, TopologyLeaving } from './topology-leaving.ts';
import { type MembersNow, planChange } from './topology-operations.ts';
import { type Pull, TopologyPulls } from './topology-pulls.ts';
import type { GainerStatus, TopologyStatus } from './topology-status.ts';

export type TopologyWorld = Pick<ClusterWorld, 'self' | 'clock' | 'random' | 'timers' | 'documents' | 'log'>;

/** What the topology needs of the node's other parts. */
export interface TopologyPorts extends LeavingPorts, MembersNow {
  send(to: NodeNumber, message: RingMessage): void;
  /** `anew`: contract.ts. */
  sendTo(address: string, message: RingMessage, anew?: boolean): void;
  readonly pull: Pull;
  /** A newer ring is held durably: this is the ring to work with from now on. */
  onRing(ring: RingMap, before: RingMap | null): void;
}

/** waiting: no ring, or in none; joining: in the one to come; removed: was a member, and never will be again. */
export type Standing = 'waiting' | 'joining' | 'member' | 'removed';

export interface TopologyStart {
  readonly member: RingMember;
  /** host:port of peer listeners; a node with seeds never makes a first ring. */
  readonly seeds: readonly string[];
  /** How to make ring 1 where there are no seeds. */
  readonly shape: RingShape;
  /** The node whose place is wanted; 0 for none. */
  readonly replaces: NodeNumber;
}

const MEMBER = 'ring-member';
/** So many ticks a node asks a member whether there is a newer ring, in case that it hears no gossip. */
const FETCH_TICKS = 10;

export class Topology {
  readonly #world: TopologyWorld;
  readonly #ports: TopologyPorts;
  readonly #agreement: RingAgreement;
  readonly #pulls: TopologyPulls;
  readonly #leaving: TopologyLeaving;
  #joining: TopologyJoining | null = null;
  #standing: Standing = 'waiting';
  #wasMember: boolean;
  #undone = false;
  #requests = 0;
  #ticks = 0;
  #readyRing = 0;
  #readySinceMs = 0;
  #gainers: { readonly ring: RingMap; readonly nodes: readonly NodeNumber[] } | null = null;
  #cancelTick: () => void = () => undefined;
  #cancelStep: (() => void) | null = null;

  /** `vnodes` of this node's files. Throws ConfigurationError where the ring that it holds has others. */
  constructor(world: TopologyWorld, vnodes: number, ports: TopologyPorts) {
    this.#world = world;
    this.#ports = ports;
    this.#wasMember = world.documents.load(MEMBER) !== null;
    this.#agreement = new RingAgreement(
      world,
      vnodes,
      (to, message) => ports.send(to, message),
      (ring, before) => this.#onRing(ring, before),
    );
    this.#leaving = new TopologyLeaving(world, ports);
    this.#pulls = new TopologyPulls(
      world,
      ports.pull,
      (node, ring) => ports.isUp(node) && this.#ringOf(node) >= ring,
      (ring) => ports.setFact(TopologyFact.PULLED, ring),
    );
  }

  get ring(): RingMap | null {
    return this.#agreement.ring;
  }
  get standing(): Standing {
    return this.#standing;
  }

  /** A change that was asked for here has not been agreed on or refused yet, or a step of one is being proposed. */
  get isChanging(): boolean {
    return this.#requests > 0 || this.#agreement.proposing;
  }

  start({ member, seeds, shape, replaces }: TopologyStart): void {
    checkMember(member);
    if (member.number !== this.#world.self)
      throw new BadRequestError(`member ${member.number} on node ${this.#world.self}`);
    if (seeds.length > 0)
      this.#joining = new TopologyJoining(this.#world, this.#ports, member, seeds, replaces);
    const { ring } = this.#agreement;
    if (ring !== null) this.#onRing(ring, null);
    else if (seeds.length === 0) this.#agreement.learn(encodeRing(firstRing(shape, [member])));
    if (this.#standing === 'waiting') this.#joining?.start(ring);
    this.#tick();
  }

  stop(): void {
    this.#cancelTick();
    this.#cancelStep?.();
    this.#joining?.stop();
    this.#agreement.stop();
  }

  /** The bytes of a decided ring that came with an answer or an announcement. */
  learn(ring: Uint8Array): void {
    this.#agreement.learn(ring);
  }

  /** A node's facts changed. */
  onFacts(node: NodeNumber): void {
    this.#agreement.noteRing(node, this.#ringOf(node));
    // A change waits for what others tell: its next step need not wait for the next tick as well.
    if ((this.#agreement.ring?.change ?? null) === null || this.#cancelStep !== null) return;
    this.#cancelStep = this.#world.timers.after(limits.topologyNewsMs, () => {
      this.#cancelStep = null;
      this.#step();
    });
  }

  onMessage(from: NodeNumber, message: RingMessage): void {
    if (message.kind === 'topology-answer') this.#joining?.onAnswer(message);
    else if (message.kind === 'topology-request')
      this.request(message.operation).then(
        (warnings) =>
          this.#ports.send(from, { kind: 'topology-answer', id: message.id, error: '', warnings }),
        (error: Error) =>
          this.#ports.send(from, {
            kind: 'topology-answer',
            id: message.id,
            error: error.message,
            warnings: [],
          }),
      );
    else this.#agreement.onMessage(from, message);
  }

  /**
   * Begins a change (or undoes the one in progress) and returns its warnings as soon as the cluster agreed on it; then it
   * goes on by itself. Throws BadRequestError where it makes no sense, UnavailableError where it cannot be agreed on now.
   */
  async request(operation: TopologyOperation): Promise<readonly string[]> {
    this.#requests++;
    try {
      return await this.#begin(operation);
    } finally {
      this.#requests--;
    }
  }

  async #begin(operation: TopologyOperation): Promise<readonly string[]> {
    const { ring } = this.#agreement;
    if (ring === null || this.#standing !== 'member')
      throw new UnavailableError(`node ${nodeName(this.#world.self)} is no member: it is ${this.#standing}`);
    const plan = planChange(ring, operation, this.#ports);
    await this.#confirmed(ring, operation.op === 'undo');
    this.#checkVoters(ring, operation.op === 'undo');
    await this.#propose(plan.ring);
    return plan.warnings;
  }

  /** After the wait, in which nodes may have gone down: a change that is begun without them could neither go on nor be undone. */
  #checkVoters(ring: RingMap, isUndo: boolean): void {
    const isUp = (node: NodeNumber): boolean => this.#ports.isUp(node);
    const { length } = ring.members;
    const up = ring.members.filter(({ number }) => isUp(number)).length;
    const needed = quorumOf(length);
    if (up < needed)
      throw new UnavailableError(
        `a change of the ring needs the votes of ${needed} of its ${length} members, and ${up} are up`,
      );
    if (!isUndo && !confirmedEverywhere(ring, true, isUp))
      throw new UnavailableError(
        `too few of the ${ring.replicas} replicas of some vnode are up: start or replace those that are down first`,
      );
  }

  status(): TopologyStatus {
    const { ring } = this.#agreement;
    const change = ring?.change ?? null;
    return {
      ring: ring?.number ?? 0,
      standing: this.#standing,
      refusal: this.#joining?.refusal ?? '',
      change:
        ring === null || change === null
          ? null
          : {
              kind: change.kind,
              node: change.node,
              by: change.by,
              phase: change.phase,
              ownerMoves: ownerMoves(ring),
              confirmed: this.#isConfirmed(ring, false),
              gainers: this.#gainersOf(ring).map((node) => this.#gainerStatus(node, ring)),
            },
    };
  }

  #gainerStatus(node: NodeNumber, ring: RingMap): GainerStatus {
    const count = (name: string): number => Number(this.#fact(node, name) ?? 0);
    return {
      node,
      gained: count(TopologyFact.GAINED_VNODES),
      done: count(TopologyFact.PULLED_VNODES),
      bytes: count(TopologyFact.PULLED_BYTES),
      finished: ring.change?.phase === 'switching' || count(TopologyFact.PULLED) === ring.number,
    };
  }

  /** Waits for gossip to tell that the last step is held by a quorum everywhere: after one change another is soon asked for. */
  async #confirmed(ring: RingMap, presentOnly: boolean): Promise<void> {
    const { clock, timers } = this.#world;
    const endMs = clock.monotonicMs() + limits.topologyConfirmMs;
    while (!this.#isConfirmed(ring, presentOnly)) {
      if (clock.monotonicMs() >= endMs)
        throw new UnavailableError(
          `ring ${ring.number} is not held by enough replicas of every vnode yet: the next one must wait`,
        );
      await new Promise<void>((resolve) => {
        timers.after(limits.topologyConfirmMs / 50, resolve);
      });
    }
  }

  async #propose(ring: RingMap): Promise<void> {
    const error = await new Promise<RingKvError | null>((resolve) => {
      this.#agreement.propose(ring, (outcome) => {
        if (outcome.error !== null) resolve(outcome.error);
        else if (outcome.mine) resolve(null);
        else
          resolve(new UnavailableError(`another change was agreed on before: ring ${ring.number} is taken`));
      });
    });
    if (error !== null) throw error;
  }

  #onRing(ring: RingMap, before: RingMap | null): void {
    const { self, documents, log } = this.#world;
    this.#ports.setFact(TopologyFact.RING, ring.number);
    const isIn = (members: readonly RingMember[] | undefined): boolean =>
      members?.some(({ number }) => number === self) === true;
    if (isIn(ring.members)) {
      this.#standing = 'member';
      this.#joining?.stop();
      if (!this.#wasMember) {
        this.#wasMember = true;
        documents.save(MEMBER, new TextEncoder().encode(ring.clusterId), (error) => {
          if (error !== null) log('error', `that this node is a member cannot be kept: ${error.message}`);
        });
      }
    } else if (isIn(ring.change?.members)) {
      this.#standing = 'joining';
      this.#joining?.stop();
    } else if (this.#wasMember) {
      if (this.#standing !== 'removed')
        log('error', `node ${nodeName(self)} was removed from the cluster: ring ${ring.number}`);
      this.#standing = 'removed';
      this.#joining?.stop();
    } else {
      if (isIn(before?.change?.members)) {
        this.#undone = true;
        log(
          'warn',
          `the change that brought node ${nodeName(self)} in was undone: it asks again when it is restarted`,
        );
      }
      this.#standing = 'waiting';
      if (this.#undone) this.#joining?.stop();
      else this.#joining?.onRing(ring);
    }
    this.#pulls.onRing(ring);
    this.#tellProgress();
    this.#ports.onRing(ring, before);
  }

  #tick(): void {
    this.#cancelTick = this.#world.timers.after(limits.topologyTickMs, () => this.#tick());
    this.#ticks++;
    const { ring } = this.#agreement;
    if (ring === null) return;
    this.#fetchNewer(ring);
    this.#step();
  }

  #step(): void {
    const { ring } = this.#agreement;
    if (ring === null) return;
    this.#pulls.pump();
    this.#leaving.tell(ring);
    this.#tellProgress();
    this.#drive(ring);
  }

  /** Proposes the next step of a change when it is this node's turn. */
  #drive(ring: RingMap): void {
    const now = this.#world.clock.monotonicMs();
    if (ring.change === null || this.#standing !== 'member' || !this.#isReady(ring)) {
      this.#readyRing = 0;
      return;
    }
    if (this.#readyRing !== ring.number) {
      this.#readyRing = ring.number;
      this.#readySinceMs = now;
    }
    const before = ring.members.filter(({ number }) => number < this.#world.self && this.#ports.isUp(number));
    if (now - this.#readySinceMs < before.length * limits.topologyTakeoverMs) return;
    if (this.#agreement.proposing) return;
    this.#propose(nextPhase(ring)).catch((error: Error) =>
      this.#world.log('warn', `the step after ring ${ring.number}: ${error.message}`),
    );
  }

  #isReady(ring: RingMap): boolean {
    if (!this.#isConfirmed(ring, false)) return false;
    if (ring.change?.phase === 'switching') return this.#leaving.mayEnd(ring);
    return this.#gainersOf(ring).every((node) => this.#fact(node, TopologyFact.PULLED) === ring.number);
  }

  #isConfirmed(ring: RingMap, presentOnly: boolean): boolean {
    return confirmedEverywhere(ring, presentOnly, (node) => this.#ringOf(node) >= ring.number);
  }

  #gainersOf(ring: RingMap): readonly NodeNumber[] {
    if (this.#gainers?.ring !== ring) this.#gainers = { ring, nodes: gainers(ring) };
    return this.#gainers.nodes;
  }

  #fetchNewer(ring: RingMap): void {
    const members = [...ring.members, ...(ring.change?.members ?? [])];
    const ahead = members.filter(({ number }) => this.#ringOf(number) > ring.number);
    const up = ahead.filter(({ number }) => this.#ports.isUp(number));
    if (ahead.length > 0) {
      const { number } = this.#world.random.pick(up.length > 0 ? up : ahead);
      this.#agreement.noteRing(number, this.#ringOf(number));
    } else if (this.#ticks % FETCH_TICKS === 0) {
      const { number } = this.#world.random.pick(members);
      if (number !== this.#world.self) this.#ports.send(number, { kind: 'ring-fetch', have: ring.number });
    }
  }

  #tellProgress(): void {
    const { ring, gained, done, bytes } = this.#pulls.progress;
    if (ring === 0) return;
    this.#ports.setFact(TopologyFact.GAINED_VNODES, gained);
    this.#ports.setFact(TopologyFact.PULLED_VNODES, done);
    this.#ports.setFact(TopologyFact.PULLED_BYTES, bytes);
  }

  #ringOf(node: NodeNumber): number {
    if (node === this.#world.self) return this.#agreement.ring?.number ?? 0;
    const number = this.#ports.fact(node, TopologyFact.RING);
    return typeof number === 'number' ? number : 0;
  }

  #fact(node: NodeNumber, name: string): string | number | undefined {
    return this.#ports.fact(node, name);
  }
}
