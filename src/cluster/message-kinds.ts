/**
 * Kinds and shapes of the messages between nodes, shared by their encoders and the decoder; byte by byte in
 * docs/peer-protocol.md. Numbers are part of the protocol: never reuse one.
 *
 * A request is [kind, generation, id, ring, remainingMs, ...]: `generation` and `id` name the call and come back in the
 * answer, `ring` is the number of the sender's ring (0: it has none), `remainingMs` is what is left of the deadline: clocks
 * of nodes disagree, so points in time never travel. An answer is [kind, generation, id, ...].
 */
import type {
  NodeNumber,
  PageAnswer,
  PrepareAnswer,
  ReadAnswer,
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
import type { Plain } from './message-bytes.ts';

export const Kind = {
  GOSSIP: 1,
  RING_AGREEMENT: 2,
  RING: 3,

  WRITE: 16,
  READ: 17,
  PREPARE: 18,
  PAGE: 19,
  TREE: 20,
  TREE_NODES: 21,
  END_TREE: 22,
  HINT: 23,
  WRITTEN: 24,

  WRITE_ANSWER: 32,
  READ_ANSWER: 33,
  PREPARE_ANSWER: 34,
  PAGE_ANSWER: 35,
  TREE_ANSWER: 36,
  TREE_NODES_ANSWER: 37,
  HINT_ANSWER: 39,
  WRITTEN_ANSWER: 40,
  STALE_RING: 48,
  REFUSED: 49,
} as const;

/** Who asks, and what of its ring and its time. */
export interface Envelope {
  /** Of the process that asks: answers to an earlier one are dropped. */
  readonly generation: number;
  readonly id: number;
  readonly ring: number;
  readonly remainingMs: number;
}

interface Call extends Envelope {
  /** Its `deadlineMs` is one of the process that decoded it. */
  readonly request: unknown;
}
interface WriteCall extends Call {
  readonly kind: typeof Kind.WRITE;
  readonly request: ReplicaWrite;
}
interface WrittenCall extends Call {
  readonly kind: typeof Kind.WRITTEN;
  readonly request: { readonly version: number };
}
interface ReadCall extends Call {
  readonly kind: typeof Kind.READ;
  readonly request: ReplicaRead;
}
interface PrepareCall extends Call {
  readonly kind: typeof Kind.PREPARE;
  readonly request: ReplicaPrepare;
}
interface PageCall extends Call {
  readonly kind: typeof Kind.PAGE;
  readonly request: ReplicaPage;
}
interface TreeCall extends Call {
  readonly kind: typeof Kind.TREE;
  readonly request: ReplicaTree;
}
interface TreeNodesCall extends Call {
  readonly kind: typeof Kind.TREE_NODES;
  readonly request: ReplicaTreeNodes;
}
/** One way: it has no answer. */
interface EndTreeCall extends Call {
  readonly kind: typeof Kind.END_TREE;
  readonly request: { readonly session: number };
}
interface HintCall extends Call {
  readonly kind: typeof Kind.HINT;
  readonly target: NodeNumber;
  readonly request: ReplicaWrite;
}
export type RequestMessage =
  | WriteCall
  | WrittenCall
  | ReadCall
  | PrepareCall
  | PageCall
  | TreeCall
  | TreeNodesCall
  | EndTreeCall
  | HintCall;

/** The version under which a majority of the replicas holds the write, or has held it; 0: none, or nobody knows any more. */
export interface WrittenAnswer {
  readonly version: number;
}

interface Answer {
  readonly generation: number;
  readonly id: number;
}
interface AnswerOf<K extends number, A> extends Answer {
  readonly kind: K;
  readonly answer: A;
}
/** The receiver's ring is newer: these are the bytes of encodeRing, or null where they were sent a moment ago. */
interface StaleRing extends Answer {
  readonly kind: typeof Kind.STALE_RING;
  readonly ring: Uint8Array | null;
}
/** The request was not begun. */
interface Refused extends Answer {
  readonly kind: typeof Kind.REFUSED;
  readonly status: number;
  readonly message: string;
}
export type AnswerMessage =
  | AnswerOf<typeof Kind.WRITE_ANSWER, WriteAnswer>
  | AnswerOf<typeof Kind.READ_ANSWER, ReadAnswer>
  | AnswerOf<typeof Kind.PREPARE_ANSWER, PrepareAnswer>
  | AnswerOf<typeof Kind.PAGE_ANSWER, PageAnswer>
  | AnswerOf<typeof Kind.TREE_ANSWER, TreeAnswer>
  | AnswerOf<typeof Kind.TREE_NODES_ANSWER, TreeNodesAnswer>
  | AnswerOf<typeof Kind.HINT_ANSWER, WriteAnswer>
  | AnswerOf<typeof Kind.WRITTEN_ANSWER, WrittenAnswer>
  | StaleRing
  | Refused;

/** Of membership, which checks the payload. */
export interface GossipMessage {
  readonly kind: typeof Kind.GOSSIP;
  readonly payload: Plain;
}
/** Of ring agreement and topology, which check the payload. */
export interface RingAgreementMessage {
  readonly kind: typeof Kind.RING_AGREEMENT;
  readonly payload: Plain;
}
/** The sender's ring: bytes of encodeRing. */
export interface RingAnnouncement {
  readonly kind: typeof Kind.RING;
  readonly ring: Uint8Array;
}

export type Message =
  | GossipMessage
  | RingAgreementMessage
  | RingAnnouncement
  | RequestMessage
  | AnswerMessage;

export function isRequest(message: Message): message is RequestMessage {
  return message.kind >= Kind.WRITE && message.kind <= Kind.WRITTEN;
}
export function isAnswer(message: Message): message is AnswerMessage {
  return message.kind >= Kind.WRITE_ANSWER;
}
