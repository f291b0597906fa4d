/**
 * Calls to replicas of other nodes that wait for an answer, and what each kind is answered with where none comes. Owned by the
 * thread of the coordinator. A call is one object; it leaves the table exactly once.
 */
import type {
  NodeNumber,
  PageAnswer,
  PrepareAnswer,
  ReadAnswer,
  TreeAnswer,
  TreeNodesAnswer,
  WriteAnswer,
} from './contract.ts';
import { type AnswerMessage, Kind, type WrittenAnswer } from './message-kinds.ts';

type Done<A> = (answer: A) => void;

/** Kind of the request, its callback, and for nodes of a tree how many were asked for. */
export type Waiting =
  | { readonly kind: typeof Kind.WRITE | typeof Kind.HINT; readonly done: Done<WriteAnswer> }
  | { readonly kind: typeof Kind.WRITTEN; readonly done: Done<WrittenAnswer> }
  | { readonly kind: typeof Kind.READ; readonly done: Done<ReadAnswer> }
  | { readonly kind: typeof Kind.PREPARE; readonly done: Done<PrepareAnswer> }
  | { readonly kind: typeof Kind.PAGE; readonly done: Done<PageAnswer> }
  | { readonly kind: typeof Kind.TREE; readonly done: Done<TreeAnswer> }
  | {
      readonly kind: typeof Kind.TREE_NODES;
      readonly done: Done<TreeNodesAnswer>;
      readonly count: number;
    };

export interface PeerCalls {
  readonly node: NodeNumber;
  waiting: number;
}

export class Call {
  readonly peer: PeerCalls;
  readonly waiting: Waiting;
  readonly timeoutMs: number;
  /** By the monotonic clock: a clock that is set ends no call early. */
  readonly expiresAt: number;
  constructor(peer: PeerCalls, waiting: Waiting, timeoutMs: number, expiresAt: number) {
    this.peer = peer;
    this.waiting = waiting;
    this.timeoutMs = timeoutMs;
    this.expiresAt = expiresAt;
  }
}

const NO_BYTES = new Uint8Array(0);

/** Ends a call without its replica's answer. */
export function failCall(waiting: Waiting, status: number, message: string): void {
  switch (waiting.kind) {
    case Kind.WRITE:
    case Kind.HINT:
      waiting.done({ status, beat: 0, barred: false, newer: null, message });
      break;
    case Kind.WRITTEN:
      waiting.done({ version: 0 });
      break;
    case Kind.READ:
      waiting.done({ status, record: null, message });
      break;
    case Kind.PREPARE:
      waiting.done({ status, beat: 0, record: null, outcomes: null, message });
      break;
    case Kind.PAGE:
      waiting.done({ status, records: NO_BYTES, next: null, message });
      break;
    case Kind.TREE:
      waiting.done({ status, records: 0, ignoredDeadBeforeMs: 0, message });
      break;
    case Kind.TREE_NODES:
      waiting.done({ status, hashes: NO_BYTES, message });
      break;
  }
}

/** Whether an answer is one to this kind of request, so that nobody gets what he did not ask for. */
export function isAnswerTo(waiting: Waiting, message: AnswerMessage): boolean {
  if (message.kind === Kind.STALE_RING || message.kind === Kind.REFUSED) return true;
  if (message.kind !== waiting.kind + (Kind.WRITE_ANSWER - Kind.WRITE)) return false;
  if (message.kind !== Kind.TREE_NODES_ANSWER || waiting.kind !== Kind.TREE_NODES) return true;
  return message.answer.status !== 0 || message.answer.hashes.length === 8 * waiting.count;
}

/** Hands out an answer for which isAnswerTo holds. */
export function answerCall(waiting: Waiting, message: AnswerMessage): void {
  switch (message.kind) {
    case Kind.WRITE_ANSWER:
    case Kind.HINT_ANSWER:
      if (waiting.kind === Kind.WRITE || waiting.kind === Kind.HINT) waiting.done(message.answer);
      break;
    case Kind.WRITTEN_ANSWER:
      if (waiting.kind === Kind.WRITTEN) waiting.done(message.answer);
      break;
    case Kind.READ_ANSWER:
      if (waiting.kind === Kind.READ) waiting.done(message.answer);
      break;
    case Kind.PREPARE_ANSWER:
      if (waiting.kind === Kind.PREPARE) waiting.done(message.answer);
      break;
    case Kind.PAGE_ANSWER:
      if (waiting.kind === Kind.PAGE) waiting.done(message.answer);
      break;
    case Kind.TREE_ANSWER:
      if (waiting.kind === Kind.TREE) waiting.done(message.answer);
      break;
    case Kind.TREE_NODES_ANSWER:
      if (waiting.kind === Kind.TREE_NODES) waiting.done(message.answer);
      break;
  }
}
