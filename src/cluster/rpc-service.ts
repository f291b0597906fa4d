/**
 * Answers what other nodes ask of this node's replica. Owned by the thread of the coordinator; pure.
 *
 * 1. A request from a node with an older ring is not begun: STALE_RING, and the ring. One from a node with a newer ring is
 *    served, and `onNewerRing` is called first, so that this node gets that ring too.
 * 2. Requests in work are bounded by peerRequestsMax and, in bytes of records, by peerRequestBytesMax for each peer:
 *    beyond it OVERLOADED, not begun.
 * 3. A request whose time is up is not begun, and an answer whose caller has given up is not sent.
 * 4. An answer goes over the connection that its request came over, and is lost with it: of that loss the caller hears. Another connection
 *    with it may be one that the caller has lost already, or has not agreed to yet: a loss that ends no call.
 * 5. Trees that were asked for over a connection that was lost are built no further, and their answers are not kept.
 * 6. Every other request gets an answer, also one that comes before there is a service (refuseRequest).
 */
import type { MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import {
  ANY_CONNECTION,
  type ClusterWorld,
  type ConnectionId,
  type NodeNumber,
  type Replica,
} from './contract.ts';
import { decodeMessage, UnknownKindError } from './message-decode.ts';
import { isRequest, Kind, type RequestMessage } from './message-kinds.ts';
import {
  encodePageAnswer,
  encodePrepareAnswer,
  encodeReadAnswer,
  encodeRefused,
  encodeStaleRing,
  encodeTreeAnswer,
  encodeTreeNodesAnswer,
  encodeWriteAnswer,
  encodeWrittenAnswer,
} from './messages.ts';
import { nodeName } from './node-name.ts';

export interface ReplicaServiceOptions {
  readonly world: ClusterWorld;
  readonly replica: Replica;
  /** Number of this node's ring now; 0 where it has none. */
  readonly ringNumber: () => number;
  /** encodeRing of this node's ring; asked for only where it has one. */
  readonly ringBytes: () => Uint8Array;
  /** A node has a newer ring than this one: fetch it. Called for each such request: the callee limits what it does. */
  readonly onNewerRing: (from: NodeNumber, number: number) => void;
  /** CoordinatorCore.askWritten. */
  readonly askWritten: (version: number, done: (version: number) => void) => void;
}

export interface ReplicaServiceCounts {
  requests: number;
  staleRing: number;
  overloaded: number;
  /** Came with no time left. */
  expired: number;
  /** Answers that were too late, or that the network refused. */
  unsent: number;
}

/** What this node does for one other node. */
interface Caller {
  readonly node: NodeNumber;
  requests: number;
  bytes: number;
  /** By the monotonic clock: when it was sent the ring. */
  ringSentAt: number;
  /** Sessions of trees that it has begun and not ended, and the connections that they were asked for over. */
  readonly trees: Map<number, ConnectionId>;
  /** Trees in work. */
  readonly treeWorks: Set<Work>;
}

/** A request in work. */
interface Work {
  readonly caller: Caller;
  readonly generation: number;
  readonly id: number;
  readonly bytes: number;
  readonly expiresAt: number;
  /** The connection that it came over. */
  readonly over: ConnectionId;
  /** Of a tree: that connection was lost. */
  isLost: boolean;
}

export class ReplicaService {
  readonly counts: ReplicaServiceCounts = {
    requests: 0,
    staleRing: 0,
    overloaded: 0,
    expired: 0,
    unsent: 0,
  };
  readonly #world: ClusterWorld;
  readonly #options: ReplicaServiceOptions;
  readonly #callers = new Map<NodeNumber, Caller>();
  #inWork = 0;

  constructor(options: ReplicaServiceOptions) {
    this.#options = options;
    this.#world = options.world;
  }

  /** Requests in work for all peers. */
  get inWork(): number {
    return this.#inWork;
  }

  /**
   * A connection with a node was lost, or all: it waits for nothing that it asked over it. What builds trees for it would keep others waiting
   * for as long as that takes, and again for each of its restarts.
   */
  disconnected(node: NodeNumber, lost: ConnectionId): void {
    const caller = this.#callers.get(node);
    if (caller === undefined) return;
    const isLost = (over: ConnectionId): boolean => lost === ANY_CONNECTION || over === lost;
    for (const work of caller.treeWorks) if (isLost(work.over)) work.isLost = true;
    const ended = [...caller.trees].filter(([, over]) => isLost(over));
    for (const [session] of ended) caller.trees.delete(session);
    for (const [session] of ended) this.#options.replica.endTree(session);
  }
  /** The node left the cluster. Its requests in work end without an answer to it being missed. */
  forget(node: NodeNumber): void {
    this.disconnected(node, ANY_CONNECTION);
    this.#callers.delete(node);
  }

  /** Takes a request of `from` that came `over` a connection. */
  receive(from: NodeNumber, message: RequestMessage, over: ConnectionId): void {
    this.counts.requests++;
    if (message.remainingMs === 0) {
      this.counts.expired++;
      return;
    }
    const own = this.#options.ringNumber();
    const caller = this.#callerOf(from);
    if (message.kind === Kind.END_TREE) {
      caller.trees.delete(message.request.session);
      this.#options.replica.endTree(message.request.session);
      return;
    }
    if (message.ring < own) {
      this.#refuseStale(caller, message, over);
      return;
    }
    if (message.ring > own) this.#options.onNewerRing(from, message.ring);
    const bytes = bulkOf(message);
    if (
      caller.requests >= limits.peerRequestsMax ||
      (caller.requests > 0 && caller.bytes + bytes > limits.peerRequestBytesMax)
    ) {
      this.counts.overloaded++;
      const what =
        caller.requests >= limits.peerRequestsMax
          ? `${caller.requests} requests; the limit is ${limits.peerRequestsMax}`
          : `requests of ${caller.bytes} bytes and ${bytes} more; the limit is ${limits.peerRequestBytesMax}`;
      this.#send(
        caller,
        encodeRefused(
          message.generation,
          message.id,
          Status.OVERLOADED,
          `node ${nodeName(this.#world.self)} works on ${what}`,
        ),
        over,
      );
      return;
    }
    caller.requests++;
    caller.bytes += bytes;
    this.#inWork++;
    this.#run(message, {
      caller,
      generation: message.generation,
      id: message.id,
      bytes,
      expiresAt: this.#world.clock.monotonicMs() + message.remainingMs,
      over,
      isLost: false,
    });
  }

  #callerOf(node: NodeNumber): Caller {
    let caller = this.#callers.get(node);
    if (caller === undefined) {
      const ringSentAt = Number.NEGATIVE_INFINITY;
      caller = { node, requests: 0, bytes: 0, ringSentAt, trees: new Map(), treeWorks: new Set() };
      this.#callers.set(node, caller);
    }
    return caller;
  }

  #refuseStale(caller: Caller, message: RequestMessage, over: ConnectionId): void {
    this.counts.staleRing++;
    const now = this.#world.clock.monotonicMs();
    const again = now - caller.ringSentAt >= limits.peerRingAgainMs;
    const ring = again ? this.#options.ringBytes() : null;
    const sent = this.#send(caller, encodeStaleRing(message.generation, message.id, ring), over);
    if (again && sent) caller.ringSentAt = now;
  }

  #run(message: Exclude<RequestMessage, { kind: typeof Kind.END_TREE }>, work: Work): void {
    const { replica } = this.#options;
    const { generation, id } = work;
    switch (message.kind) {
      case Kind.WRITE:
        replica.write(message.request, (answer) => {
          if (this.#end(work))
            this.#send(work.caller, encodeWriteAnswer(Kind.WRITE_ANSWER, generation, id, answer), work.over);
        });
        break;
      case Kind.WRITTEN:
        this.#options.askWritten(message.request.version, (as) => {
          if (this.#end(work)) this.#send(work.caller, encodeWrittenAnswer(generation, id, as), work.over);
        });
        break;
      case Kind.HINT:
        replica.hint(message.target, message.request, (answer) => {
          if (this.#end(work))
            this.#send(work.caller, encodeWriteAnswer(Kind.HINT_ANSWER, generation, id, answer), work.over);
        });
        break;
      case Kind.READ:
        replica.read(message.request, (answer) => {
          if (this.#end(work)) this.#send(work.caller, encodeReadAnswer(generation, id, answer), work.over);
        });
        break;
      case Kind.PREPARE:
        replica.prepare(message.request, (answer) => {
          if (this.#end(work))
            this.#send(work.caller, encodePrepareAnswer(generation, id, answer), work.over);
        });
        break;
      case Kind.PAGE:
        replica.page(message.request, (answer) => {
          if (this.#end(work)) this.#send(work.caller, encodePageAnswer(generation, id, answer), work.over);
        });
        break;
      case Kind.TREE:
        this.#noteTree(work, message.request.session);
        replica.tree(message.request, (answer) =>
          this.#sendTree(work, encodeTreeAnswer(generation, id, answer)),
        );
        break;
      case Kind.TREE_NODES:
        replica.treeNodes(message.request, (answer) => {
          if (this.#end(work))
            this.#send(work.caller, encodeTreeNodesAnswer(generation, id, answer), work.over);
        });
        break;
    }
  }

  #noteTree(work: Work, session: number): void {
    const { trees, treeWorks } = work.caller;
    treeWorks.add(work);
    trees.set(session, work.over);
    const [oldest] = trees.keys();
    // The replica keeps no more either.
    if (trees.size > limits.treeSessionsMax && oldest !== undefined) trees.delete(oldest);
  }

  /** Takes a request out of work: true where its caller still waits. */
  #end(work: Work): boolean {
    work.caller.requests--;
    work.caller.treeWorks.delete(work);
    work.caller.bytes -= work.bytes;
    this.#inWork--;
    if (this.#world.clock.monotonicMs() < work.expiresAt) return true;
    this.counts.unsent++;
    return false;
  }

  /** Its caller waits for up to half an hour: what finds no room now is sent later. */
  #sendTree(work: Work, answer: Uint8Array): void {
    const { clock, network, timers } = this.#world;
    const isLate = clock.monotonicMs() + limits.peerAnswerAgainMs >= work.expiresAt;
    if (isLate || work.isLost || network.send(work.caller.node, answer, work.over)) this.#end(work);
    else timers.after(limits.peerAnswerAgainMs, () => this.#sendTree(work, answer));
  }

  #send(caller: Caller, message: Uint8Array, over: ConnectionId): boolean {
    const sent = this.#world.network.send(caller.node, message, over);
    if (!sent) this.counts.unsent++;
    return sent;
  }
}

/**
 * Answers a message that came, `over` a connection, while this node serves nothing: a request is refused, or else its caller would wait until its deadline,
 * for a tree half an hour in which nothing else is repaired. Others are dropped. Throws MessageError where it is malformed.
 */
export function refuseRequest(
  { self, clock, network }: Pick<ClusterWorld, 'self' | 'clock' | 'network'>,
  from: NodeNumber,
  bytes: Uint8Array,
  reason: string,
  over: ConnectionId,
): void {
  const call = callOf(bytes, clock.monotonicMs());
  if (call === null) return;
  const text = `node ${nodeName(self)} serves no requests: ${reason}`;
  network.send(from, encodeRefused(call.generation, call.id, Status.UNAVAILABLE, text), over);
}
/** Who waits for an answer to a message, whether this build knows its kind or not. */
function callOf(bytes: Uint8Array, nowMs: MonotonicMs): UnknownKindError['call'] {
  try {
    const message = decodeMessage(bytes, nowMs);
    return isRequest(message) && message.kind !== Kind.END_TREE ? message : null;
  } catch (error) {
    if (error instanceof UnknownKindError) return error.call;
    throw error;
  }
}
/** Why a node refuses requests that come before it has its shards, or knows its generation. */
export const NODE_STARTS = 'it is starting';

/** Bytes that a request keeps in memory while it is worked on. */
function bulkOf(message: RequestMessage): number {
  if (message.kind !== Kind.WRITE && message.kind !== Kind.HINT) return 0;
  const { record, also } = message.request;
  return record.length + (also === null ? 0 : also.length);
}
