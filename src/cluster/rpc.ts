/**
 * Replicas of other nodes: requests become messages, and messages answers. Owned by the thread of the coordinator; pure.
 *
 * 1. `done` of a call is called exactly once, and never before the call has returned: by its answer, by its deadline, by a
 *    lost connection or, where nothing could be sent, in a microtask.
 * 2. A call is named by (generation of this process, id); ids are never used again. An answer that comes late, twice,
 *    from another node, of another kind or for an earlier process of this node finds no call and is dropped.
 * 3. After `close` nothing is sent any more: calls end with UNAVAILABLE.
 * 4. Waiting calls are bounded by peerCallsMax for each peer and peerCallsTotalMax in all.
 *
 * What a failed call tells: status UNAVAILABLE, OVERLOADED or TIMEOUT and a message that ends with NOTHING_SENT or
 * OUTCOME_UNKNOWN. OVERLOADED always means that nothing was begun. Statuses that the replica gave come as they are.
 */
import { type MonotonicMs, msLeft } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { PeerStatus, Status } from '../base/status.ts';
import type {
  ClusterWorld,
  NodeNumber,
  PageAnswer,
  PrepareAnswer,
  ReadAnswer,
  Replica,
  ReplicaPage,
  ReplicaPrepare,
  ReplicaRead,
  ReplicaTree,
  ReplicaTreeNodes,
  ReplicaWrite,
  TreeAnswer,
  TreeNodesAnswer,
  WriteAnswer,
} from './contract.ts';
import { Feature } from './features.ts';
import { type AnswerMessage, type Envelope, Kind } from './message-kinds.ts';
import {
  encodeEndTree,
  encodeHint,
  encodePage,
  encodePrepare,
  encodeRead,
  encodeTree,
  encodeTreeNodes,
  encodeWrite,
  encodeWritten,
} from './messages.ts';
import { nodeName } from './node-name.ts';
import { answerCall, Call, failCall, isAnswerTo, type PeerCalls, type Waiting } from './rpc-calls.ts';

export const NOTHING_SENT = 'nothing was sent';
const STOPPING = 'this node is stopping';
export const OUTCOME_UNKNOWN = 'the outcome is unknown';

/** Whether a failed answer of a RemoteReplica says that the request never left this node. */
export function wasNothingSent(message: string): boolean {
  return message.endsWith(NOTHING_SENT);
}

export interface RpcOptions {
  readonly world: ClusterWorld;
  /** Of this process: above that of every earlier one of this node. */
  readonly generation: number;
  /** Number of this node's ring now; 0 where it has none. */
  readonly ringNumber: () => number;
  /** A peer refused a request because its ring is newer: bytes of encodeRing, untrusted. Called before the call's `done`. */
  readonly onRing: (from: NodeNumber, ring: Uint8Array) => void;
}

/** Rising counts since the start. */
export interface RpcCounts {
  sent: number;
  answered: number;
  timedOut: number;
  /** Refused by the network: nothing was sent. */
  refused: number;
  overloaded: number;
  connectionLost: number;
  /** Answers that nobody waits for: late, twice, or not to what was asked. */
  dropped: number;
}

/** All calls of this node to other nodes. */
export class RemoteReplicas {
  readonly counts: RpcCounts = {
    sent: 0,
    answered: 0,
    timedOut: 0,
    refused: 0,
    overloaded: 0,
    connectionLost: 0,
    dropped: 0,
  };
  readonly #world: ClusterWorld;
  readonly #options: RpcOptions;
  readonly #replicas = new Map<NodeNumber, RemoteReplica>();
  /** By id, in the order of their start. */
  readonly #calls = new Map<number, Call>();
  #lastId = 0;
  #isClosed = false;
  /** Takes back the timer that looks for calls whose deadline has passed; null while no call waits. */
  #stopScan: (() => void) | null = null;
  /** Calls that ended before they were sent, for the next microtask. */
  #ended: { readonly waiting: Waiting; readonly status: number; readonly message: string }[] = [];
  /** Of the call that is being sent. */
  readonly #envelope: { -readonly [K in keyof Envelope]: Envelope[K] };

  constructor(options: RpcOptions) {
    this.#options = options;
    this.#world = options.world;
    this.#envelope = { generation: options.generation, id: 0, ring: 0, remainingMs: 0 };
  }

  get waiting(): number {
    return this.#calls.size;
  }

  /** The replica at another node: the same object each time. */
  replica(node: NodeNumber): Replica {
    return this.#replicaAt(node);
  }
  #replicaAt(node: NodeNumber): RemoteReplica {
    let replica = this.#replicas.get(node);
    if (replica === undefined) {
      replica = new RemoteReplica(this, node);
      this.#replicas.set(node, replica);
    }
    return replica;
  }

  /** Takes an answer of `from`. */
  receive(from: NodeNumber, message: AnswerMessage): void {
    const call = message.generation === this.#options.generation ? this.#calls.get(message.id) : undefined;
    if (call === undefined || call.peer.node !== from || !isAnswerTo(call.waiting, message)) {
      this.counts.dropped++;
      return;
    }
    this.#end(message.id, call);
    this.counts.answered++;
    if (message.kind === Kind.STALE_RING) {
      if (message.ring !== null) this.#options.onRing(from, message.ring);
      failCall(call.waiting, PeerStatus.STALE_RING, `node ${nodeName(from)} has a newer ring`);
    } else if (message.kind === Kind.REFUSED) failCall(call.waiting, message.status, message.message);
    else answerCall(call.waiting, message);
  }

  /** A connection to a node was lost: calls to it may have been worked on or not, and their answers may be lost with it. */
  disconnected(node: NodeNumber): void {
    this.#lose(({ peer }) => peer.node === node);
  }

  /** The node left the cluster. */
  forget(node: NodeNumber): void {
    this.disconnected(node);
    this.#replicas.delete(node);
  }

  /** Ends the writes that wait for an answer, though it may still come: whoever asked sees to a hint instead. */
  endWrites(): void {
    this.#lose(({ waiting }) => waiting.kind === Kind.WRITE, STOPPING);
  }
  /** Ends all calls, also those of replicas that were forgotten and are still held by somebody. */
  close(): void {
    this.#isClosed = true;
    this.#lose(() => true, STOPPING);
    this.#stopScan?.();
    this.#stopScan = null;
  }

  /** What begins meanwhile, because another ended, goes over another connection. */
  #lose(isLost: (call: Call) => boolean, why = ''): void {
    const last = this.#lastId;
    for (const [id, call] of this.#calls) {
      if (id > last) break;
      if (!isLost(call)) continue;
      this.#end(id, call);
      this.counts.connectionLost++;
      const lost = why === '' ? `the connection to node ${nodeName(call.peer.node)} was lost` : why;
      failCall(call.waiting, Status.UNAVAILABLE, `${lost}; ${OUTCOME_UNKNOWN}`);
    }
  }

  /** Opens the envelope of a request that may take `timeoutMs`; null where it ended at once: see #fail. */
  open(peer: PeerCalls, waiting: Waiting, timeoutMs: number): Envelope | null {
    if (this.#isClosed) {
      this.counts.refused++;
      return this.#fail(waiting, Status.UNAVAILABLE, `${STOPPING}; ${NOTHING_SENT}`);
    }
    const remainingMs = Math.min(Math.floor(timeoutMs), limits.administrationMsMax);
    // Also refuses a deadline that is no number.
    if (!(remainingMs > 0)) {
      this.counts.timedOut++;
      return this.#fail(waiting, Status.TIMEOUT, `the deadline has passed; ${NOTHING_SENT}`);
    }
    if (peer.waiting >= limits.peerCallsMax || this.#calls.size >= limits.peerCallsTotalMax) {
      this.counts.overloaded++;
      const one = peer.waiting >= limits.peerCallsMax;
      const count = one
        ? `${peer.waiting} calls to node ${nodeName(peer.node)}`
        : `${this.#calls.size} calls`;
      const limit = one ? limits.peerCallsMax : limits.peerCallsTotalMax;
      return this.#fail(
        waiting,
        Status.OVERLOADED,
        `${count} wait for an answer; the limit is ${limit}; ${NOTHING_SENT}`,
      );
    }
    const envelope = this.#envelope;
    envelope.id = ++this.#lastId;
    envelope.ring = this.#options.ringNumber();
    envelope.remainingMs = remainingMs;
    return envelope;
  }

  /** Sends the request whose envelope was opened last. */
  send(peer: PeerCalls, waiting: Waiting, message: Uint8Array): void {
    if (!this.#world.network.send(peer.node, message)) {
      this.counts.refused++;
      this.#fail(
        waiting,
        Status.UNAVAILABLE,
        `node ${nodeName(peer.node)} is not connected or does not keep up; ${NOTHING_SENT}`,
      );
      return;
    }
    const { id, remainingMs } = this.#envelope;
    const expiresAt = this.#world.clock.monotonicMs() + remainingMs;
    this.#calls.set(id, new Call(peer, waiting, remainingMs, expiresAt));
    peer.waiting++;
    this.counts.sent++;
    if (this.#stopScan === null) this.#scanLater();
  }

  /** Milliseconds until a deadline. */
  until(deadlineMs: MonotonicMs): number {
    return msLeft(deadlineMs, this.#world.clock.monotonicMs());
  }

  /** Asks a node what became of a version that it gave; 0 where it says nothing. */
  askWriter(node: NodeNumber, version: number, deadlineMs: MonotonicMs, done: (as: number) => void): void {
    const { peer } = this.#replicaAt(node);
    const waiting: Waiting = { kind: Kind.WRITTEN, done: (answer) => done(answer.version) };
    if ((this.#world.network.features(node) & Feature.WRITTEN) === 0) {
      this.#fail(
        waiting,
        Status.UNAVAILABLE,
        `node ${nodeName(node)} takes no such question; ${NOTHING_SENT}`,
      );
      return;
    }
    const envelope = this.open(peer, waiting, this.until(deadlineMs));
    if (envelope !== null) this.send(peer, waiting, encodeWritten(envelope, version));
  }

  /** A message that nobody answers. */
  tell(node: NodeNumber, session: number): void {
    const envelope = this.#envelope;
    envelope.id = ++this.#lastId;
    envelope.ring = this.#options.ringNumber();
    envelope.remainingMs = limits.peerDefaultTimeoutMs;
    if (!this.#world.network.send(node, encodeEndTree(envelope, session))) this.counts.refused++;
  }

  #end(id: number, call: Call): void {
    this.#calls.delete(id);
    call.peer.waiting--;
  }

  #fail(waiting: Waiting, status: number, message: string): null {
    if (this.#ended.length === 0) queueMicrotask(this.#handOutEnded);
    this.#ended.push({ waiting, status, message });
    return null;
  }
  readonly #handOutEnded = (): void => {
    const ended = this.#ended;
    this.#ended = [];
    for (const { waiting, status, message } of ended) failCall(waiting, status, message);
  };

  #scanLater(): void {
    this.#stopScan = this.#world.timers.after(limits.peerCallScanMs, this.#scan);
  }
  readonly #scan = (): void => {
    this.#stopScan = null;
    const now = this.#world.clock.monotonicMs();
    for (const [id, call] of this.#calls) {
      if (call.expiresAt > now) continue;
      this.#end(id, call);
      this.counts.timedOut++;
      const who = nodeName(call.peer.node);
      failCall(
        call.waiting,
        Status.TIMEOUT,
        `node ${who} did not answer within ${call.timeoutMs} ms; ${OUTCOME_UNKNOWN}`,
      );
    }
    if (this.#calls.size > 0 && this.#stopScan === null) this.#scanLater();
  };
}

/** The replica at one other node. */
class RemoteReplica implements Replica {
  readonly #all: RemoteReplicas;
  readonly peer: PeerCalls;
  constructor(all: RemoteReplicas, node: NodeNumber) {
    this.#all = all;
    this.peer = { node, waiting: 0 };
  }

  write(request: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const waiting: Waiting = { kind: Kind.WRITE, done };
    const envelope = this.#all.open(this.peer, waiting, this.#all.until(request.deadlineMs));
    if (envelope !== null) this.#all.send(this.peer, waiting, encodeWrite(envelope, request));
  }
  read(request: ReplicaRead, done: (answer: ReadAnswer) => void): void {
    const waiting: Waiting = { kind: Kind.READ, done };
    const envelope = this.#all.open(this.peer, waiting, this.#all.until(request.deadlineMs));
    if (envelope !== null) this.#all.send(this.peer, waiting, encodeRead(envelope, request));
  }
  prepare(request: ReplicaPrepare, done: (answer: PrepareAnswer) => void): void {
    const waiting: Waiting = { kind: Kind.PREPARE, done };
    const envelope = this.#all.open(this.peer, waiting, this.#all.until(request.deadlineMs));
    if (envelope !== null) this.#all.send(this.peer, waiting, encodePrepare(envelope, request));
  }
  page(request: ReplicaPage, done: (answer: PageAnswer) => void): void {
    const waiting: Waiting = { kind: Kind.PAGE, done };
    const envelope = this.#all.open(this.peer, waiting, this.#all.until(request.deadlineMs));
    if (envelope !== null) this.#all.send(this.peer, waiting, encodePage(envelope, request));
  }
  tree(request: ReplicaTree, done: (answer: TreeAnswer) => void): void {
    const waiting: Waiting = { kind: Kind.TREE, done };
    const envelope = this.#all.open(this.peer, waiting, this.#all.until(request.deadlineMs));
    if (envelope !== null) this.#all.send(this.peer, waiting, encodeTree(envelope, request));
  }
  treeNodes(request: ReplicaTreeNodes, done: (answer: TreeNodesAnswer) => void): void {
    const waiting: Waiting = { kind: Kind.TREE_NODES, done, count: request.indexes.length };
    const envelope = this.#all.open(this.peer, waiting, limits.peerDefaultTimeoutMs);
    if (envelope !== null) this.#all.send(this.peer, waiting, encodeTreeNodes(envelope, request));
  }
  endTree(session: number): void {
    this.#all.tell(this.peer.node, session);
  }
  hint(target: NodeNumber, request: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const waiting: Waiting = { kind: Kind.HINT, done };
    const envelope = this.#all.open(this.peer, waiting, this.#all.until(request.deadlineMs));
    if (envelope !== null) this.#all.send(this.peer, waiting, encodeHint(envelope, target, request));
  }
}
