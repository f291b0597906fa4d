/**
 * Encoders of the messages between nodes; src/cluster/message-decode.ts reads them. Pure: no clock, nothing kept. The order of fields
 * is that of docs/peer-protocol.md, where each message has a test vector. Bytes passed in are copied; the result is the caller's.
 */

import { limits } from '../base/limits.ts';
import type {
  NodeNumber,
  PageAnswer,
  PagePlace,
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
import { encodePlain, type Plain } from './message-bytes.ts';
import { type Envelope, Kind } from './message-kinds.ts';

/** A message of membership: plain data, which the receiver checks. */
export function encodeGossip(payload: unknown): Uint8Array {
  return encodePlain([Kind.GOSSIP, payload]);
}
/** A message of ring agreement and topology: plain data, which the receiver checks. */
export function encodeRingAgreement(payload: unknown): Uint8Array {
  return encodePlain([Kind.RING_AGREEMENT, payload]);
}
/** Announces a ring: bytes of encodeRing. */
export function encodeRingAnnouncement(ring: Uint8Array): Uint8Array {
  return encodePlain([Kind.RING, ring]);
}

const place = (at: PagePlace | null): Plain =>
  at === null ? null : [at.tokenHi, at.tokenLo, at.keyspace, at.key];

export function encodeWrite(call: Envelope, write: ReplicaWrite): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  return encodePlain([Kind.WRITE, generation, id, ring, remainingMs, write.mode, write.record, write.also]);
}
/** Under which version the receiver wrote what it gave this one. */
export function encodeWritten(call: Envelope, version: number): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  return encodePlain([Kind.WRITTEN, generation, id, ring, remainingMs, version]);
}
export function encodeWrittenAnswer(generation: number, id: number, version: number): Uint8Array {
  return encodePlain([Kind.WRITTEN_ANSWER, generation, id, version]);
}
export function encodeRead(call: Envelope, read: ReplicaRead): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  const { tokenHi, tokenLo, keyspace, headOnly, key } = read;
  return encodePlain([
    Kind.READ,
    generation,
    id,
    ring,
    remainingMs,
    tokenHi,
    tokenLo,
    keyspace,
    headOnly,
    key,
  ]);
}
export function encodePrepare(call: Envelope, prepare: ReplicaPrepare): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  const { tokenHi, tokenLo, ballot, key } = prepare;
  return encodePlain([
    Kind.PREPARE,
    generation,
    id,
    ring,
    remainingMs,
    tokenHi,
    tokenLo,
    ballot.version,
    ballot.origin,
    key,
  ]);
}
export function encodePage(call: Envelope, page: ReplicaPage): Uint8Array {
  return encodePlain([
    Kind.PAGE,
    call.generation,
    call.id,
    call.ring,
    call.remainingMs,
    page.firstHi,
    page.firstLo,
    page.lastHi,
    page.lastLo,
    page.userOnly,
    page.headOnly,
    page.recordsMax,
    page.bytesMax,
    page.prefix,
    place(page.after),
  ]);
}
export function encodeTree(call: Envelope, tree: ReplicaTree): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  const { session, ignoreDeadBeforeMs, vnodes } = tree;
  return encodePlain([Kind.TREE, generation, id, ring, remainingMs, session, ignoreDeadBeforeMs, vnodes]);
}
export function encodeTreeNodes(call: Envelope, nodes: ReplicaTreeNodes): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  const { session, vnode, level, indexes } = nodes;
  return encodePlain([Kind.TREE_NODES, generation, id, ring, remainingMs, session, vnode, level, indexes]);
}
export function encodeEndTree(call: Envelope, session: number): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  return encodePlain([Kind.END_TREE, generation, id, ring, remainingMs, session]);
}
export function encodeHint(call: Envelope, target: NodeNumber, write: ReplicaWrite): Uint8Array {
  const { generation, id, ring, remainingMs } = call;
  const { mode, record, also } = write;
  return encodePlain([Kind.HINT, generation, id, ring, remainingMs, target, mode, record, also]);
}

/** Characters that 1,024 bytes of UTF-8 always hold: a message tells, it carries no data. */
const text = (message: string): string =>
  message.length <= limits.peerTextCharactersMax
    ? message
    : `${message.slice(0, limits.peerTextCharactersMax - 3)}...`;

export function encodeWriteAnswer(
  kind: typeof Kind.WRITE_ANSWER | typeof Kind.HINT_ANSWER,
  generation: number,
  id: number,
  answer: WriteAnswer,
): Uint8Array {
  const { status, beat, barred, newer, message } = answer;
  return encodePlain([kind, generation, id, status, beat, barred, newer, text(message)]);
}
export function encodeReadAnswer(generation: number, id: number, answer: ReadAnswer): Uint8Array {
  return encodePlain([Kind.READ_ANSWER, generation, id, answer.status, answer.record, text(answer.message)]);
}
export function encodePrepareAnswer(generation: number, id: number, answer: PrepareAnswer): Uint8Array {
  const { status, beat, record, outcomes, message } = answer;
  return encodePlain([Kind.PREPARE_ANSWER, generation, id, status, beat, record, outcomes, text(message)]);
}
export function encodePageAnswer(generation: number, id: number, answer: PageAnswer): Uint8Array {
  const { status, records, next, message } = answer;
  return encodePlain([Kind.PAGE_ANSWER, generation, id, status, records, place(next), text(message)]);
}
export function encodeTreeAnswer(generation: number, id: number, answer: TreeAnswer): Uint8Array {
  const { status, records, ignoredDeadBeforeMs, message } = answer;
  return encodePlain([Kind.TREE_ANSWER, generation, id, status, records, ignoredDeadBeforeMs, text(message)]);
}
export function encodeTreeNodesAnswer(generation: number, id: number, answer: TreeNodesAnswer): Uint8Array {
  const { status, hashes, message } = answer;
  return encodePlain([Kind.TREE_NODES_ANSWER, generation, id, status, hashes, text(message)]);
}
/** `ring`: bytes of encodeRing, or null where this peer got them a moment ago. */
export function encodeStaleRing(generation: number, id: number, ring: Uint8Array | null): Uint8Array {
  return encodePlain([Kind.STALE_RING, generation, id, ring]);
}
/** The request was not begun. */
export function encodeRefused(generation: number, id: number, status: number, message: string): Uint8Array {
  return encodePlain([Kind.REFUSED, generation, id, status, text(message)]);
}
