/**
 * Bytes between the nodes of a cluster for one GET and one PUT of a client: the messages of src/cluster, encoded, in frames of
 * src/peer. Each message is taken to have a frame of its own; under load they share frames, and a request takes up to 16 bytes less a
 * message. TCP, IP and TLS come on top.
 */
import { MONOTONIC_ZERO } from '../base/clock.ts';
import { recordBytes } from '../base/record.ts';
import { Status } from '../base/status.ts';
import { WriteMode } from '../cluster/contract.ts';
import { type Envelope, Kind } from '../cluster/message-kinds.ts';
import { encodeRead, encodeReadAnswer, encodeWrite, encodeWriteAnswer } from '../cluster/messages.ts';
import { FRAME_HEADER_BYTES, MESSAGE_LENGTH_BYTES } from '../peer/frame.ts';

export interface WireShape {
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly replicas: number;
  /** Replicas that a GET asks. */
  readonly readReplicas: number;
  /** The coordinator is one of the replicas, as in a cluster of as many nodes, or where clients find their way. */
  readonly isReplica: boolean;
}

const MS = 5000;
/** Of a node that has run for a while: an id of 32 bits, as tokens are. */
const envelope: Envelope = { generation: 3, id: 0xffff_ffff, ring: 100, remainingMs: MS };
const TOKEN_HALF = 0xffff_ffff;

const framed = (message: Uint8Array): number => FRAME_HEADER_BYTES + MESSAGE_LENGTH_BYTES + message.length;

/** One replica at another node is asked for a record, or for its head, and answers. */
function readBytes(keyBytes: number, valueBytes: number, headOnly: boolean): number {
  const key = new Uint8Array(keyBytes);
  const read = {
    tokenHi: TOKEN_HALF,
    tokenLo: TOKEN_HALF,
    keyspace: 0,
    key,
    headOnly,
    deadlineMs: MONOTONIC_ZERO,
  };
  const record = new Uint8Array(recordBytes(keyBytes, headOnly ? 0 : valueBytes));
  const answer = { status: Status.OK, record, message: '' };
  const { generation, id } = envelope;
  return framed(encodeRead(envelope, read)) + framed(encodeReadAnswer(generation, id, answer));
}

/** One replica at another node is sent a record, and acknowledges it. */
function writeBytes(keyBytes: number, valueBytes: number): number {
  const record = new Uint8Array(recordBytes(keyBytes, valueBytes));
  const write = { record, also: null, mode: WriteMode.FRESH, deadlineMs: MONOTONIC_ZERO };
  const answer = { status: Status.OK, beat: 0, barred: false, newer: null, message: '' };
  const { generation, id } = envelope;
  return (
    framed(encodeWrite(envelope, write)) +
    framed(encodeWriteAnswer(Kind.WRITE_ANSWER, generation, id, answer))
  );
}

export function wireBytesOf(shape: WireShape): { readonly get: number; readonly put: number } {
  const { isReplica, keyBytes, readReplicas, replicas, valueBytes } = shape;
  // The coordinator asks itself first, and for the whole record.
  const whole = isReplica ? 0 : readBytes(keyBytes, valueBytes, false);
  return {
    get: whole + (readReplicas - 1) * readBytes(keyBytes, valueBytes, true),
    put: (isReplica ? replicas - 1 : replicas) * writeBytes(keyBytes, valueBytes),
  };
}
