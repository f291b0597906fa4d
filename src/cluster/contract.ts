/**
 * What the parts of the cluster say to each other. Everything in src/cluster takes messages, time and chance from
 * outside and gives back messages and storage requests: it opens no file or socket, reads no clock, draws no
 * randomness. The same code runs on sockets (src/peer) and in the simulator (test/sim).
 * Why it is so: docs/decisions/0009-replication.md.
 *
 * 1. A callback `done` is called exactly once, never before the call has returned.
 * 2. Bytes passed in belong to the callee from then on; bytes passed to `done` to the receiver.
 */
import type { Clock, MonotonicMs } from '../base/clock.ts';
import type { ConsistencyCode } from '../base/consistency.ts';
import type { Random } from '../base/random.ts';
import type { LocalReads } from '../shard/contract.ts';
import type { Documents } from './documents.ts';
import type { RingMap } from './ring-map.ts';

/** First 32 bits of a node's id, never 0: its origin in versions, and its name in messages. Unique in a cluster. */
export type NodeNumber = number;
/** One connection with one node, as long as the process lives; never used again. */
export type ConnectionId = number;
/** Whichever there is, or all that there are: connections have ids from 1. */
export const ANY_CONNECTION: ConnectionId = 0;

export { Consistency, type ConsistencyCode } from '../base/consistency.ts';
export type { Documents, RemovableDocuments } from './documents.ts';

/** A round of Paxos for one key, ordered by (version, origin). What it accepts has exactly this version and origin. */
export interface Ballot {
  readonly version: number;
  readonly origin: NodeNumber;
}

// ---------------------------------------------------------------------------------------------- one replica

export const WriteMode = {
  /**
   * A write of a coordinator, plain or the second round of Paxos. Taken where its version is above the one held and
   * above what was promised, or equal to a promise of the same origin; the very record that is held is OK again.
   */
  FRESH: 1,
  /**
   * A copy of what another replica took: repair, hint, stream. Taken where it is newer in the order of
   * compareRecordAge than what is held and not below a promise; OK without effect where it is not newer.
   */
  MERGE: 2,
  /**
   * MERGE by a node that takes over a vnode, also below a promise: for what a replica holds that is part of every quorum. Whoever
   * was promised a ballot by a quorum has heard of it from there, or will. Never between nodes.
   */
  FILL: 3,
} as const;
export type WriteModeCode = (typeof WriteMode)[keyof typeof WriteMode];

export interface ReplicaWrite {
  /** One encoded record (src/base/record.ts), any keyspace: token, key, version and origin are inside. */
  readonly record: Uint8Array;
  /** A second record of the same token that becomes durable with it or not at all; null for none. */
  readonly also: Uint8Array | null;
  readonly mode: WriteModeCode;
  /** Work is dropped with TIMEOUT after it. */
  readonly deadlineMs: MonotonicMs;
}

export interface WriteAnswer {
  /** OK: durable. STALE_VERSION: nothing was written, see `beat`; STALE_RING. Others: Status and PeerStatus of src/base/status.ts. */
  readonly status: number;
  /** STALE_VERSION: the highest version held or promised. Otherwise 0. */
  readonly beat: number;
  /** STALE_VERSION: refused because of a promise alone, not because of a newer record. */
  readonly barred: boolean;
  /**
   * MERGE, OK: what this replica holds where that is newer than what came, for the sender to take in turn; a tombstone
   * of the same version where the record was refused as a resurrection. FRESH, STALE_VERSION: the head of the newer
   * record held, durably, where nobody can have been shown what came, nor will be (src/shard/shown-versions.ts). Otherwise null.
   */
  readonly newer: Uint8Array | null;
  readonly message: string;
}

export interface ReplicaRead {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly keyspace: number;
  readonly key: Uint8Array;
  /** The record with an empty value: to compare versions. */
  readonly headOnly: boolean;
  readonly deadlineMs: MonotonicMs;
}

export interface ReadAnswer {
  /** OK also where nothing is held. */
  readonly status: number;
  /** The encoded record, tombstones and expired ones included; null where nothing is held. */
  readonly record: Uint8Array | null;
  readonly message: string;
}

export interface ReplicaPrepare {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly key: Uint8Array;
  readonly ballot: Ballot;
  readonly deadlineMs: MonotonicMs;
}

export interface PrepareAnswer {
  /** OK: promised, durably: nothing below the ballot is taken any more. STALE_VERSION: see `beat`. */
  readonly status: number;
  readonly beat: number;
  /** The user record held at the moment of the promise, or null. */
  readonly record: Uint8Array | null;
  /** The record of KEYSPACE_OUTCOMES held for the key, or null. */
  readonly outcomes: Uint8Array | null;
  readonly message: string;
}

/** Records of all states in order (token, keyspace, key), from one replica, from (tokenHi, tokenLo, keyspace, key). */
export interface ReplicaPage {
  /** Ends of the token range, inclusive. */
  readonly firstHi: number;
  readonly firstLo: number;
  readonly lastHi: number;
  readonly lastLo: number;
  /** Go on after this place; null from the start of the range. */
  readonly after: PagePlace | null;
  /** KEYSPACE_USER only, or all. */
  readonly userOnly: boolean;
  /** Only user keys that start with these bytes; empty for all. */
  readonly prefix: Uint8Array;
  readonly headOnly: boolean;
  readonly recordsMax: number;
  readonly bytesMax: number;
  readonly deadlineMs: MonotonicMs;
}
export interface PagePlace {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly keyspace: number;
  readonly key: Uint8Array;
}
export interface PageAnswer {
  readonly status: number;
  /** Encoded records one after another. */
  readonly records: Uint8Array;
  /** Where to go on; null at the end of the range. A page may be empty and not the last. */
  readonly next: PagePlace | null;
  readonly message: string;
}

/**
 * A hash tree over each vnode asked for, built from a snapshot and kept under `session` until `endTree`, or until the
 * replica needs the room (limits.treeSessionsMax). Levels have 1, 16, 256 and 4096 nodes; a node covers an equal part
 * of the vnode's tokens, and its hash is the sum modulo 2^64 of XXH64 over (keyspace, key, version, origin, flags) of
 * its records. Dead records (tombstone, expired) that died before `ignoreDeadBeforeMs` do not count, and expired ones of other
 * keyspaces than the user's never.
 */
export interface ReplicaTree {
  readonly session: number;
  readonly vnodes: readonly number[];
  readonly ignoreDeadBeforeMs: number;
  readonly deadlineMs: MonotonicMs;
}
export interface TreeAnswer {
  readonly status: number;
  /** Records counted. */
  readonly records: number;
  /** The later of what was asked and of this replica's own `now - gc_grace`: what died before it was left out. */
  readonly ignoredDeadBeforeMs: number;
  readonly message: string;
}
export interface ReplicaTreeNodes {
  readonly session: number;
  readonly vnode: number;
  /** 0 to 3. */
  readonly level: number;
  /** Ascending, within the level. */
  readonly indexes: readonly number[];
}
export interface TreeNodesAnswer {
  /** NOT_FOUND: the session is not kept (any more). OVERLOADED, between others: the tree is being built, or waits for its turn. */
  readonly status: number;
  /** 8 bytes, little-endian, for each index. */
  readonly hashes: Uint8Array;
  readonly message: string;
}

/** One replica of this or of another node: both look the same to a coordinator. */
export interface Replica {
  write(request: ReplicaWrite, done: (answer: WriteAnswer) => void): void;
  read(request: ReplicaRead, done: (answer: ReadAnswer) => void): void;
  prepare(request: ReplicaPrepare, done: (answer: PrepareAnswer) => void): void;
  page(request: ReplicaPage, done: (answer: PageAnswer) => void): void;
  tree(request: ReplicaTree, done: (answer: TreeAnswer) => void): void;
  treeNodes(request: ReplicaTreeNodes, done: (answer: TreeNodesAnswer) => void): void;
  endTree(session: number): void;
  /** Keeps a write for `target`, durably: OK, OVERLOADED where hints for it are at their bound, DISK_FULL. */
  hint(target: NodeNumber, request: ReplicaWrite, done: (answer: WriteAnswer) => void): void;
}

/** The replica of this node. */
export interface LocalReplica extends Replica {
  /**
   * Dead records of a vnode with this version or a higher one are kept, whatever their age; 0 keeps all, as it is until this is
   * called. Infinity: their age alone decides, as on a node that is alone. It need be said once: it holds over restarts
   * of shards, though not of the node.
   */
  setPurgeBefore(vnode: number, version: number): void;
  /** Deleted records that came back from another replica and were refused. */
  readonly resurrections: number;
  /** Reads, by where they found the record; missing where the replica does not tell. */
  readonly readsFrom?: Readonly<LocalReads>;
}

// ------------------------------------------------------------------------------------------------ hints

/** A part of the hints for one node: what is delivered, or lost, and then discarded together. */
export interface HintPart {
  readonly target: NodeNumber;
  /** Tells parts apart, in one life of the node. */
  readonly position: number;
}
export interface HintBatch extends HintPart {
  readonly writes: readonly { readonly record: Uint8Array; readonly also: Uint8Array | null }[];
  /** Bytes beside them that cannot be read: hints for any vnode may be among them. */
  readonly bytesDamaged: number;
}
/** Hints that are not handed out any more, because they are too old. */
export interface HintLoss extends HintPart {
  /** Those that could be read, and the high words of the tokens of what was written. */
  readonly hints: number;
  readonly tokens: readonly number[];
  /** There were others, or none could be read: for any vnode of the target. */
  readonly isDamaged: boolean;
}

/**
 * Hints on this node's disk, oldest first for each target as far as they can be delivered. Bounds: limits.hintBytesMax,
 * limits.hintAgeMsMax. A part goes only by `discard`: what is lost of it is marked for repair before that, durably.
 */
export interface HintStore {
  /** OK: durable. OVERLOADED, DISK_FULL, UNAVAILABLE, TIMEOUT, BAD_REQUEST: not kept. */
  add(target: NodeNumber, write: ReplicaWrite, done: (answer: WriteAnswer) => void): void;
  /** Targets with hints, and their bytes. */
  targets(): ReadonlyMap<NodeNumber, number>;
  /** The next part for a target, until it is discarded; null where there is none that can be handed out now. */
  next(target: NodeNumber, done: (batch: HintBatch | null, error: Error | null) => void): void;
  /** It could not be delivered: the other parts of its target come first. */
  postpone(part: HintPart): void;
  /** It never comes back, also not after a crash (where it does, delivery is idempotent, and expiry too). */
  discard(part: HintPart): void;
  /** Stops handing out what is older than limits.hintAgeMsMax; tells of each part once, and again after a restart. */
  expire(nowMs: number): readonly HintLoss[];
}

// ---------------------------------------------------------------------------------- what the outside gives

/** Messages to other nodes: unreliable, unordered, bounded. */
export interface Network {
  /**
   * False: refused at once (no address, not connected, queue full, `over` is no more), nothing will arrive. What waits for an answer hears
   * of the loss of the connection that it asked over, and perhaps of no other: answers go `over` that one.
   */
  send(to: NodeNumber, message: Uint8Array, over?: ConnectionId): boolean;
  /**
   * To whoever listens there: the way to a seed whose number is not known. `anew`: over a connection that is made for it, in place of
   * the one that is there; the address may lead to another node by now.
   */
  sendTo(address: string, message: Uint8Array, anew?: boolean): boolean;
  /** Tells where a node listens: host:port of its peer listener. */
  setAddress(node: NodeNumber, address: string): void;
  /** Bits of features.ts that a node has, by its last hello; 0 where none came. */
  features(node: NodeNumber): number;
  forget(node: NodeNumber): void;
}

export interface Timers {
  /** Calls `run` once after about `ms`; the result takes it back. */
  after(ms: number, run: () => void): () => void;
}

export interface ClusterWorld {
  readonly self: NodeNumber;
  readonly clock: Clock;
  readonly random: Random;
  readonly timers: Timers;
  readonly network: Network;
  readonly documents: Documents;
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void;
}

// ------------------------------------------------------------------------- what a coordinator must know

/** Ring and liveness as this node sees them now. */
export interface ClusterView {
  readonly self: NodeNumber;
  readonly ring: RingMap;
  /** Whether it is worth asking; this node is always up. */
  isUp(node: NodeNumber): boolean;
  /** The replica at a node: the local one for self. */
  replica(node: NodeNumber): Replica;
  /** Asks the node that gave a version what became of it: CoordinatorCore.askWritten. 0: or no answer. */
  askWriter(
    node: NodeNumber,
    version: number,
    deadlineMs: MonotonicMs,
    done: (version: number) => void,
  ): void;
}

/** What a client asks for. */
export interface ClientWrite {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly key: Uint8Array;
  /** null deletes. */
  readonly value: Uint8Array | null;
  /** Milliseconds since 1970 at which it expires; 0 never. */
  readonly expiresMs: number;
  readonly consistency: ConsistencyCode;
  /** undefined: as the level has it (true for ONE and QUORUM, false for ALL and SERIAL). */
  readonly sloppy: boolean | undefined;
  /** NONE, VERSION or EXISTS of src/shard/contract.ts; not NONE: the write runs at SERIAL. */
  readonly condition: number;
  readonly version: number;
  /** Empty: none. With one the write runs at SERIAL. */
  readonly idempotencyKey: Uint8Array;
  readonly fingerprintHi: number;
  readonly fingerprintLo: number;
  readonly deadlineMs: MonotonicMs;
}
export interface ClientWriteAnswer {
  /** OK, VERSION_MISMATCH, UNAVAILABLE, TIMEOUT, OVERLOADED, DISK_FULL, BAD_REQUEST. */
  readonly status: number;
  /** OK: of the record. VERSION_MISMATCH: the current one, 0 where absent. */
  readonly version: number;
  /** Acknowledged with the help of stand-ins. */
  readonly sloppy: boolean;
  /** UNAVAILABLE and TIMEOUT: replicas needed, up and answered, and whether anything may have been written. */
  readonly message: string;
}

export interface ClientRead {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly key: Uint8Array;
  readonly consistency: ConsistencyCode;
  readonly deadlineMs: MonotonicMs;
}
export interface ClientReadAnswer {
  readonly status: number;
  /** OK: the encoded live record. NOT_FOUND: null. */
  readonly record: Uint8Array | null;
  readonly message: string;
}

/** A page of live user records in token order, over all vnodes from `after` on. */
export interface ClientScan {
  readonly after: PagePlace | null;
  readonly prefix: Uint8Array;
  readonly headOnly: boolean;
  readonly recordsMax: number;
  readonly bytesMax: number;
  readonly consistency: ConsistencyCode;
  readonly deadlineMs: MonotonicMs;
}
export interface ClientScanAnswer {
  readonly status: number;
  readonly records: Uint8Array;
  readonly next: PagePlace | null;
  readonly message: string;
}

// ------------------------------------------------------------------------------------------- membership

export type Liveness = 'up' | 'suspect' | 'down' | 'left';

/** What gossip knows of a node. A restart raises `generation`: news of an older one never counts. */
export interface MemberState {
  readonly number: NodeNumber;
  readonly generation: number;
  readonly address: string;
  readonly liveness: Liveness;
  /** Small facts that the node tells of itself (src/cluster/facts.ts), e.g. its ring, its progress, its url. */
  readonly facts: ReadonlyMap<string, string | number>;
}

export interface MembershipListener {
  onLiveness(node: NodeNumber, liveness: Liveness): void;
  onFacts(node: NodeNumber): void;
}
