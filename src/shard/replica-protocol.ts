/**
 * How requests of the Replica interface (src/cluster/contract.ts) and their answers pass the rings between the peer worker and a
 * shard, in the records of shard-protocol.ts.
 *
 * Request fields used, by op:
 *   REPLICA_WRITE  value: record, then `also`; limit: length of the record; condition: WriteMode
 *   REPLICA_READ   key, token; snapshot: keyspace; withValues: not the head only
 *   PREPARE        key, token; version and snapshot: version and origin of the ballot
 *   others         value: JSON
 *
 * Answers OK and STALE_VERSION have this body, or none where all of it would be empty; every other status a message:
 *
 *   offset size field
 *        0    1 flags: 1 barred, 2 a place follows (PAGE)
 *        1    1 keyspace of the place
 *        2    2 length of the place's key
 *        4    4 length of the first bytes
 *        8    8 number, float: beat; TREE: records
 *       16    8 second number, float: TREE: ignoredDeadBeforeMs
 *       24    4 tokenHi of the place
 *       28    4 tokenLo
 *       32    k key of the place, then the first bytes (record, newer, records, hashes), then the second (outcomes)
 */
import { assert } from '../base/assert.ts';
import { copyRange } from '../base/bytes.ts';
import type { PagePlace } from '../cluster/contract.ts';

export const REPLICA_REPLY_BYTES = 32;
const FLAG_BARRED = 1;
const FLAG_PLACE = 2;
const NO_BYTES = new Uint8Array(0);

export interface ReplicaReply {
  readonly barred: boolean;
  readonly number: number;
  readonly second: number;
  readonly place: PagePlace | null;
  /** Empty for none. */
  readonly first: Uint8Array;
  readonly last: Uint8Array;
}

export const emptyReply: ReplicaReply = {
  barred: false,
  number: 0,
  second: 0,
  place: null,
  first: NO_BYTES,
  last: NO_BYTES,
};

export function encodeReplicaReply(reply: ReplicaReply): Uint8Array {
  const { barred, number, second, place, first, last } = reply;
  const key = place?.key ?? NO_BYTES;
  const bytes = new Uint8Array(REPLICA_REPLY_BYTES + key.length + first.length + last.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, (barred ? FLAG_BARRED : 0) | (place === null ? 0 : FLAG_PLACE));
  view.setUint8(1, place?.keyspace ?? 0);
  view.setUint16(2, key.length, true);
  view.setUint32(4, first.length, true);
  view.setFloat64(8, number, true);
  view.setFloat64(16, second, true);
  view.setUint32(24, place?.tokenHi ?? 0, true);
  view.setUint32(28, place?.tokenLo ?? 0, true);
  bytes.set(key, REPLICA_REPLY_BYTES);
  bytes.set(first, REPLICA_REPLY_BYTES + key.length);
  bytes.set(last, REPLICA_REPLY_BYTES + key.length + first.length);
  return bytes;
}

/** The bytes given are copied: they lie in a ring. */
export function decodeReplicaReply(from: Uint8Array, start: number, length: number): ReplicaReply {
  if (length === 0) return emptyReply;
  assert(length >= REPLICA_REPLY_BYTES, 'replica reply: shorter than its header');
  const bytes = copyRange(from, start, start + length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  const flags = view.getUint8(0);
  const keyLength = view.getUint16(2, true);
  const firstAt = REPLICA_REPLY_BYTES + keyLength;
  const lastAt = firstAt + view.getUint32(4, true);
  assert(lastAt <= bytes.length, 'replica reply: lengths beyond its end');
  const hasPlace = (flags & FLAG_PLACE) !== 0;
  return {
    barred: (flags & FLAG_BARRED) !== 0,
    number: view.getFloat64(8, true),
    second: view.getFloat64(16, true),
    place: hasPlace
      ? {
          tokenHi: view.getUint32(24, true),
          tokenLo: view.getUint32(28, true),
          keyspace: view.getUint8(1),
          key: bytes.subarray(REPLICA_REPLY_BYTES, firstAt),
        }
      : null,
    first: bytes.subarray(firstAt, lastAt),
    last: bytes.subarray(lastAt),
  };
}

/** JSON of a PAGE, its keys in base64. */
export interface PageQuery {
  readonly firstHi: number;
  readonly firstLo: number;
  readonly lastHi: number;
  readonly lastLo: number;
  readonly after: {
    readonly hi: number;
    readonly lo: number;
    readonly keyspace: number;
    readonly key: string;
  } | null;
  readonly userOnly: boolean;
  readonly prefix: string;
  readonly headOnly: boolean;
  readonly recordsMax: number;
  readonly bytesMax: number;
}
