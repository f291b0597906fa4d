/**
 * One proposal for one ring number: ballots until a value is decided, or until there were too many. Peer worker.
 *
 * 1. Phase 1 starts with this node's own promise, made durable; only then do the others hear of the ballot.
 * 2. With promises of a majority of the voters, the value is the one accepted at the highest ballot among them, or the
 *    node's own where there is none. With acceptances of a majority it is decided.
 * 3. A refusal or a silent majority ends the ballot; the next one is higher than all seen, after a random delay that
 *    grows, so that two proposers do not keep each other from deciding.
 */
import { type RingKvError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import { ballotOrder } from './ring-acceptor.ts';
import { decodeRing } from './ring-codec.ts';
import { quorumOf } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';
import type { RingBallot, RingMessage } from './ring-messages.ts';

export interface ProposalOutcome {
  /** The decided ring, held durably by this node (or a newer one); null with an error. */
  readonly ring: RingMap | null;
  /** Whether it is the proposed one, or one of the same content. False where a still newer ring is held. */
  readonly mine: boolean;
  readonly error: RingKvError | null;
}

type Phase = 'waiting' | 'own-promise' | 'preparing' | 'accepting' | 'learning' | 'ended';

export class Proposer {
  readonly #world: Pick<ClusterWorld, 'self' | 'random' | 'timers'>;
  readonly #slot: number;
  readonly #own: Uint8Array;
  readonly #voters: readonly NodeNumber[];
  readonly #promisedRound: () => number;
  readonly #send: (to: NodeNumber, message: RingMessage) => void;
  readonly #decided: (bytes: Uint8Array) => void;
  readonly #done: (outcome: ProposalOutcome) => void;
  #phase: Phase = 'waiting';
  #ballot: RingBallot;
  #ballots = 0;
  #highestRound = 0;
  #value: Uint8Array;
  #valueAt: RingBallot = { round: 0, node: 0 };
  readonly #answered = new Set<NodeNumber>();
  readonly #refused = new Set<NodeNumber>();
  #cancelTimer: () => void = () => undefined;

  constructor(
    world: Pick<ClusterWorld, 'self' | 'random' | 'timers'>,
    slot: number,
    own: Uint8Array,
    voters: readonly NodeNumber[],
    promisedRound: () => number,
    send: (to: NodeNumber, message: RingMessage) => void,
    decided: (bytes: Uint8Array) => void,
    done: (outcome: ProposalOutcome) => void,
  ) {
    this.#world = world;
    this.#slot = slot;
    this.#own = own;
    this.#value = own;
    this.#voters = voters;
    this.#promisedRound = promisedRound;
    this.#send = send;
    this.#decided = decided;
    this.#done = done;
    this.#ballot = { round: 0, node: world.self };
  }

  start(): void {
    this.#cancelTimer = this.#world.timers.after(0, () => this.#nextBallot());
  }

  onMessage(from: NodeNumber, message: RingMessage): void {
    if (!('ballot' in message) || message.slot !== this.#slot || !this.#voters.includes(from)) return;
    if (ballotOrder(message.ballot, this.#ballot) !== 0) return;
    if (message.kind === 'ring-refused') {
      this.#highestRound = Math.max(this.#highestRound, message.promised.round);
      this.#refused.add(from);
      if (this.#refused.size > this.#voters.length - quorumOf(this.#voters.length)) this.#again();
    } else if (message.kind === 'ring-promise') this.#onPromise(from, message);
    else if (message.kind === 'ring-accepted' && this.#phase === 'accepting') {
      this.#answered.add(from);
      if (!this.#isQuorum()) return;
      // From here on it is decided, whatever becomes of this node.
      this.#phase = 'learning';
      this.#decided(this.#value);
    }
  }

  /** This node holds a ring of that number or above: the proposal is over. */
  onRing(ring: RingMap, bytes: Uint8Array): void {
    if (ring.number < this.#slot || this.#phase === 'ended') return;
    this.#end({ ring, mine: equal(bytes, this.#own), error: null });
  }

  /** The decided ring could not be kept: it is decided all the same, and this node learns it again later. */
  onRingLost(error: Error): void {
    if (this.#phase !== 'learning') return;
    const message = `ring ${this.#slot} was decided and cannot be kept: ${error.message}`;
    this.#end({ ring: null, mine: false, error: new UnavailableError(message, { cause: error }) });
  }

  stop(): void {
    this.#phase = 'ended';
    this.#cancelTimer();
  }

  #onPromise(from: NodeNumber, message: Extract<RingMessage, { kind: 'ring-promise' }>): void {
    if (this.#phase === 'own-promise' && from === this.#world.self) {
      this.#phase = 'preparing';
      for (const voter of this.#voters)
        if (voter !== from)
          this.#send(voter, { kind: 'ring-prepare', slot: this.#slot, ballot: this.#ballot });
    }
    if (this.#phase !== 'preparing') return;
    this.#answered.add(from);
    if (message.ring !== null && ballotOrder(message.acceptedAt, this.#valueAt) > 0) {
      if (decodeRing(message.ring).number !== this.#slot) return;
      this.#value = message.ring;
      this.#valueAt = message.acceptedAt;
    }
    if (!this.#isQuorum()) return;
    this.#phase = 'accepting';
    this.#answered.clear();
    this.#refused.clear();
    this.#wait();
    for (const voter of this.#voters)
      this.#send(voter, {
        kind: 'ring-accept',
        slot: this.#slot,
        ballot: this.#ballot,
        ring: this.#value,
      });
  }

  #nextBallot(): void {
    this.#cancelTimer();
    if (this.#ballots === limits.ringBallotsMax) {
      const needed = quorumOf(this.#voters.length);
      this.#end({
        ring: null,
        mine: false,
        error: new UnavailableError(
          `ring ${this.#slot} was not decided in ${this.#ballots} ballots: ${this.#answered.size} of ` +
            `${this.#voters.length} members answered the last one, ${needed} are needed; it may still be decided`,
        ),
      });
      return;
    }
    this.#ballots++;
    this.#highestRound = Math.max(this.#highestRound, this.#promisedRound()) + 1;
    this.#ballot = { round: this.#highestRound, node: this.#world.self };
    this.#value = this.#own;
    this.#valueAt = { round: 0, node: 0 };
    this.#answered.clear();
    this.#refused.clear();
    this.#phase = 'own-promise';
    this.#wait();
    this.#send(this.#world.self, { kind: 'ring-prepare', slot: this.#slot, ballot: this.#ballot });
  }

  #wait(): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#world.timers.after(limits.ringRoundMs, () => this.#again());
  }

  /** The ballot leads to nothing: another one, later. */
  #again(): void {
    if (this.#phase === 'ended' || this.#phase === 'learning') return;
    this.#phase = 'waiting';
    this.#cancelTimer();
    const most = Math.min(limits.ringBackoffMsMax, limits.ringBackoffMsMin * 2 ** this.#ballots);
    this.#cancelTimer = this.#world.timers.after(this.#world.random.between(1, most), () =>
      this.#nextBallot(),
    );
  }

  #isQuorum(): boolean {
    return this.#answered.size >= quorumOf(this.#voters.length);
  }

  #end(outcome: ProposalOutcome): void {
    this.#phase = 'ended';
    this.#cancelTimer();
    this.#done(outcome);
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
