/**
 * One ring under each number: single-decree Paxos (Lamport 2001) among the members of ring n for ring n + 1. Peer worker.
 * Holds the newest decided ring that this node knows, durably; acceptor here, proposer in ring-proposer.ts.
 *
 * 1. An acceptor answers for exactly one number: that of its own ring plus one. Whoever asks for an older one gets the
 *    decided ring instead of a vote; whoever asks for a newer one is asked for the ring between.
 * 2. Promise and acceptance are durable before the answer leaves. So is a ring before anyone is told that it is held.
 * 3. A proposer sends its own acceptor the ballot first, and waits until that is durable: no ballot is used twice, also
 *    not by a node that forgot its rounds in a crash.
 * 4. A newer decided ring m may be adopted directly, whatever lies between. Ring m was proposed by a node that held m - 1,
 *    and so on down: all of n + 1 .. m are decided, so what this node had accepted for n + 1 is decided as it is in ring
 *    n + 1, or will never be. Dropping it takes no vote from anyone, because from now on the node gives none for numbers up
 *    to m (1): a quorum for those needs others, and a decided value has a quorum of acceptances that any of them meets.
 * 5. Rings of another cluster are refused, and those with another number of vnodes than this node's files: it would take other keys
 *    for a vnode than the rest do.
 */

import { BadRequestError, ConfigurationError, type RingKvError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, Documents, NodeNumber } from './contract.ts';
import { leftCluster } from './join-document.ts';
import { AcceptorState, ballotOrder } from './ring-acceptor.ts';
import { decodeRing, encodeRing } from './ring-codec.ts';
import type { RingMap } from './ring-map.ts';
import type { RingMessage } from './ring-messages.ts';
import { type ProposalOutcome, Proposer } from './ring-proposer.ts';

export type AgreementWorld = Pick<ClusterWorld, 'self' | 'random' | 'timers' | 'documents' | 'log'>;
export type SendRingMessage = (to: NodeNumber, message: RingMessage) => void;

const RING = 'ring';

/** The id of the cluster whose ring is on this node's disk; '' where there is none. Throws CorruptionError and FormatVersionError. */
export function clusterIdOnDisk(documents: Pick<Documents, 'load'>): string {
  const saved = documents.load(RING);
  return saved === null ? '' : decodeRing(saved).clusterId;
}

export class RingAgreement {
  readonly #world: AgreementWorld;
  readonly #vnodes: number;
  readonly #send: SendRingMessage;
  readonly #onRing: (ring: RingMap, before: RingMap | null) => void;
  readonly #acceptor: AcceptorState;
  /** The id of a cluster of which no ring is taken any more; '' of none. */
  readonly #left: string;
  #ring: RingMap | null = null;
  #bytes: Uint8Array | null = null;
  /** The number of the newest ring that is being saved. */
  #saving = 0;
  /** The number of the ring that was asked for lately; 0 for none. */
  #asked = 0;
  #cancelAsked: () => void = () => undefined;
  #proposer: Proposer | null = null;

  /** `vnodes` of this node's files. `onRing` is called whenever a newer ring is held durably. Throws ConfigurationError. */
  constructor(
    world: AgreementWorld,
    vnodes: number,
    send: SendRingMessage,
    onRing: (ring: RingMap, before: RingMap | null) => void,
  ) {
    this.#world = world;
    this.#vnodes = vnodes;
    this.#send = send;
    this.#onRing = onRing;
    const saved = world.documents.load(RING);
    if (saved !== null) {
      this.#ring = decodeRing(saved);
      this.#checkVnodes(this.#ring);
      this.#bytes = saved;
      this.#saving = this.#ring.number;
    }
    this.#acceptor = new AcceptorState(world.documents);
    this.#left = leftCluster(world.documents);
  }

  /** The newest ring held durably; null before the first. */
  get ring(): RingMap | null {
    return this.#ring;
  }

  /**
   * Proposes the ring after the present one. Ends with what was decided for that number, which may be another's proposal,
   * or with an error where no quorum of the members answered: then it may or may not be decided later.
   */
  propose(ring: RingMap, done: (outcome: ProposalOutcome) => void): void {
    const fail = (error: RingKvError): void => {
      this.#world.timers.after(0, () => done({ ring: null, mine: false, error }));
    };
    const present = this.#ring;
    if (present === null || ring.number !== present.number + 1) {
      fail(new BadRequestError(`ring ${ring.number} does not follow ring ${present?.number ?? 0}`));
      return;
    }
    if (this.#proposer !== null) {
      fail(new UnavailableError(`this node is proposing ring ${ring.number} already`));
      return;
    }
    const voters = present.members.map(({ number }) => number);
    if (!voters.includes(this.#world.self)) {
      fail(new BadRequestError(`node ${this.#world.self} is no member of ring ${present.number}`));
      return;
    }
    const proposer = new Proposer(
      this.#world,
      ring.number,
      encodeRing(ring),
      voters,
      () => this.#acceptor.promisedFor(ring.number).round,
      (to, message) => (to === this.#world.self ? this.onMessage(to, message) : this.#send(to, message)),
      (bytes) => this.learn(bytes),
      (outcome) => {
        this.#proposer = null;
        if (outcome.ring !== null) this.#spread(present);
        done(outcome);
      },
    );
    this.#proposer = proposer;
    proposer.start();
  }

  /**
   * Takes a ring that was decided, or the first one that this node made. Older ones are nothing new. Throws BadRequestError, and
   * ConfigurationError where this node can never be in that ring.
   */
  learn(bytes: Uint8Array): void {
    const ring = decodeRing(bytes);
    const present = this.#ring;
    if (present !== null && ring.clusterId !== present.clusterId)
      throw new BadRequestError(
        `ring of cluster ${ring.clusterName} (${ring.clusterId}) at a node of ${present.clusterId}`,
      );
    if (ring.clusterId === this.#left)
      throw new BadRequestError(`ring ${ring.number} of cluster ${ring.clusterId}, which this node has left`);
    this.#checkVnodes(ring);
    if (ring.number <= this.#saving) return;
    this.#saving = ring.number;
    const kept = Uint8Array.from(bytes);
    this.#world.documents.save(RING, kept, (error) => {
      if (error !== null) {
        this.#world.log('error', `ring ${ring.number} cannot be kept: ${error.message}`);
        if (this.#saving === ring.number) this.#saving = this.#ring?.number ?? 0;
        this.#proposer?.onRingLost(error);
        return;
      }
      if (this.#ring !== null && this.#ring.number >= ring.number) return;
      const before = this.#ring;
      this.#ring = ring;
      this.#bytes = kept;
      this.#proposer?.onRing(ring, kept);
      this.#onRing(ring, before);
    });
  }

  #checkVnodes({ vnodes }: RingMap): void {
    if (vnodes !== this.#vnodes)
      throw new ConfigurationError(
        `the cluster has ${vnodes} vnodes, and this data directory was made for ${this.#vnodes}`,
      );
  }

  /**
   * A node tells that it holds ring `number`: asks for it where that is newer. All others may tell so before it has come from one: it is
   * large, and asked for again only after limits.ringFetchAgainMs.
   */
  noteRing(node: NodeNumber, number: number): void {
    if (number <= this.#saving || number <= this.#asked) return;
    this.#asked = number;
    this.#cancelAsked();
    this.#cancelAsked = this.#world.timers.after(limits.ringFetchAgainMs, () => {
      this.#asked = 0;
    });
    this.#send(node, { kind: 'ring-fetch', have: this.#saving });
  }

  /** Whether this node has a proposal under way. */
  get proposing(): boolean {
    return this.#proposer !== null;
  }

  stop(): void {
    this.#cancelAsked();
    this.#proposer?.stop();
    this.#proposer = null;
  }

  onMessage(from: NodeNumber, message: RingMessage): void {
    switch (message.kind) {
      case 'ring-prepare':
      case 'ring-accept':
        this.#onBallot(from, message);
        return;
      case 'ring-promise':
      case 'ring-accepted':
      case 'ring-refused':
        this.#proposer?.onMessage(from, message);
        return;
      case 'ring-decided':
        this.learn(message.ring);
        return;
      case 'ring-fetch':
        if (this.#ring !== null && this.#ring.number > message.have) this.#tell(from);
        return;
      default:
        throw new BadRequestError(`message ${message.kind} is not about agreeing on a ring`);
    }
  }

  #onBallot(from: NodeNumber, message: Extract<RingMessage, { kind: 'ring-prepare' | 'ring-accept' }>): void {
    const { slot, ballot } = message;
    const next = (this.#ring?.number ?? 0) + 1;
    if (slot < next) {
      this.#tell(from);
      return;
    }
    if (slot > next || this.#ring === null) {
      this.#send(from, { kind: 'ring-fetch', have: this.#ring?.number ?? 0 });
      return;
    }
    if (!this.#ring.members.some(({ number }) => number === ballot.node) || ballot.node !== from)
      throw new BadRequestError(`node ${from} proposes ring ${slot} with a ballot of node ${ballot.node}`);
    const promised = this.#acceptor.promisedFor(slot);
    if (ballotOrder(ballot, promised) < 0) {
      this.#answer(from, { kind: 'ring-refused', slot, ballot, promised });
      return;
    }
    if (message.kind === 'ring-accept') {
      const { number } = decodeRing(message.ring);
      if (number !== slot) throw new BadRequestError(`ring ${number} is proposed under number ${slot}`);
      this.#acceptor.accept(slot, ballot, message.ring, (error) => {
        if (error === null) this.#answer(from, { kind: 'ring-accepted', slot, ballot });
        else this.#world.log('error', `an acceptance of ring ${slot} cannot be kept: ${error.message}`);
      });
      return;
    }
    this.#acceptor.promise(slot, ballot, (error, acceptedAt, ring) => {
      if (error === null) this.#answer(from, { kind: 'ring-promise', slot, ballot, acceptedAt, ring });
      else this.#world.log('error', `a promise for ring ${slot} cannot be kept: ${error.message}`);
    });
  }

  #answer(to: NodeNumber, message: RingMessage): void {
    if (to === this.#world.self) this.#proposer?.onMessage(to, message);
    else this.#send(to, message);
  }

  #tell(node: NodeNumber): void {
    if (this.#bytes !== null && node !== this.#world.self)
      this.#send(node, { kind: 'ring-decided', ring: this.#bytes });
  }

  /** To all that are concerned by the step from `before`; who misses it learns by gossip that it lacks a ring. */
  #spread(before: RingMap): void {
    const nodes = new Set<NodeNumber>();
    for (const ring of [before, this.#ring])
      for (const { number } of [...(ring?.members ?? []), ...(ring?.change?.members ?? [])])
        nodes.add(number);
    for (const node of nodes) this.#tell(node);
  }
}
