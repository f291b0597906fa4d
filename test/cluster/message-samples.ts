/** One message of each kind, with the name that docs/peer-protocol.md gives its test vector. */

import { msAfter } from '../../src/base/clock.ts';
import { recordBytes, writeRecord } from '../../src/base/record.ts';
import type * as contract from '../../src/cluster/contract.ts';
import { WriteMode } from '../../src/cluster/contract.ts';
import { Kind } from '../../src/cluster/message-kinds.ts';
import * as m from '../../src/cluster/messages.ts';
import { monotonic } from '../base/clocks.ts';

export function recordOf(key: string, value: string, version: number, flags = 0, tokenLo = 2): Uint8Array {
  const [keyBytes, valueBytes] = [Buffer.from(key), Buffer.from(value)];
  const bytes = new Uint8Array(recordBytes(keyBytes.length, valueBytes.length));
  writeRecord(bytes, 0, {
    tokenHi: 1,
    tokenLo,
    keyspace: 0,
    key: keyBytes,
    value: valueBytes,
    version,
    origin: 0xa1b2c3d4,
    flags,
    expiresMs: 0,
  });
  return bytes;
}

/** Of the monotonic clock of who decodes. */
export const NOW_MS = monotonic(5000);
export const envelope = { generation: 3, id: 70_000, ring: 12, remainingMs: 500 };
const deadlineMs = msAfter(NOW_MS, 500);
const record = recordOf('k', 'value', 1_700_000_000_000_001);
const also = recordOf('k', '', 5, 1);
const key = Buffer.from('k');
export const place = { tokenHi: 1, tokenLo: 0xffff_ffff, keyspace: 2, key };

export const write: contract.ReplicaWrite = { record, also, mode: WriteMode.FRESH, deadlineMs };
const merge: contract.ReplicaWrite = { record, also: null, mode: WriteMode.MERGE, deadlineMs };
export const read: contract.ReplicaRead = {
  tokenHi: 1,
  tokenLo: 2,
  keyspace: 0,
  key,
  headOnly: true,
  deadlineMs,
};
const prepare: contract.ReplicaPrepare = {
  tokenHi: 1,
  tokenLo: 2,
  key,
  ballot: { version: 9_007_199_254_740_991, origin: 7 },
  deadlineMs,
};
const page: contract.ReplicaPage = {
  firstHi: 0,
  firstLo: 0,
  lastHi: 0xffff_ffff,
  lastLo: 0xffff_ffff,
  after: place,
  userOnly: true,
  prefix: Buffer.from('us'),
  headOnly: false,
  recordsMax: 100,
  bytesMax: 65_536,
  deadlineMs,
};
const tree: contract.ReplicaTree = { session: 5, vnodes: [0, 1023], ignoreDeadBeforeMs: 17, deadlineMs };
const treeNodes: contract.ReplicaTreeNodes = { session: 5, vnode: 1023, level: 1, indexes: [0, 3, 15] };
const writeAnswer: contract.WriteAnswer = {
  status: 64,
  beat: 1_700_000_000_000_002,
  barred: true,
  newer: record,
  message: 'beaten',
};
const readAnswer: contract.ReadAnswer = { status: 0, record, message: '' };
const prepareAnswer: contract.PrepareAnswer = { status: 0, beat: 0, record, outcomes: null, message: '' };
const pageAnswer: contract.PageAnswer = {
  status: 0,
  records: Buffer.concat([record, also]),
  next: place,
  message: '',
};
const treeAnswer: contract.TreeAnswer = {
  status: 0,
  records: 1_000_000,
  ignoredDeadBeforeMs: 5,
  message: '',
};
const treeNodesAnswer: contract.TreeNodesAnswer = { status: 0, hashes: Buffer.alloc(24, 0x5a), message: '' };
const ring = Buffer.from('0102', 'hex');
const { generation, id } = envelope;
const answerTo = { generation, id };

/** Name, bytes, and what decoding must give. */
export const samples: readonly (readonly [name: string, bytes: Uint8Array, decoded: object])[] = [
  ['gossip', m.encodeGossip([1, 'a', { b: null }]), { kind: Kind.GOSSIP, payload: [1, 'a', { b: null }] }],
  [
    'ring agreement',
    m.encodeRingAgreement({ kind: 'ring-fetch', have: 4 }),
    { kind: Kind.RING_AGREEMENT, payload: { kind: 'ring-fetch', have: 4 } },
  ],
  ['ring', m.encodeRingAnnouncement(ring), { kind: Kind.RING, ring }],
  ['write', m.encodeWrite(envelope, write), { kind: Kind.WRITE, ...envelope, request: write }],
  ['read', m.encodeRead(envelope, read), { kind: Kind.READ, ...envelope, request: read }],
  ['prepare', m.encodePrepare(envelope, prepare), { kind: Kind.PREPARE, ...envelope, request: prepare }],
  ['page', m.encodePage(envelope, page), { kind: Kind.PAGE, ...envelope, request: page }],
  ['tree', m.encodeTree(envelope, tree), { kind: Kind.TREE, ...envelope, request: tree }],
  [
    'tree nodes',
    m.encodeTreeNodes(envelope, treeNodes),
    { kind: Kind.TREE_NODES, ...envelope, request: treeNodes },
  ],
  [
    'end of tree',
    m.encodeEndTree(envelope, 5),
    { kind: Kind.END_TREE, ...envelope, request: { session: 5 } },
  ],
  ['hint', m.encodeHint(envelope, 9, merge), { kind: Kind.HINT, ...envelope, target: 9, request: merge }],
  [
    'written',
    m.encodeWritten(envelope, 1_700_000_000_000_000),
    { kind: Kind.WRITTEN, ...envelope, request: { version: 1_700_000_000_000_000 } },
  ],
  [
    'write answer',
    m.encodeWriteAnswer(Kind.WRITE_ANSWER, generation, id, writeAnswer),
    { kind: Kind.WRITE_ANSWER, ...answerTo, answer: writeAnswer },
  ],
  [
    'read answer',
    m.encodeReadAnswer(generation, id, readAnswer),
    { kind: Kind.READ_ANSWER, ...answerTo, answer: readAnswer },
  ],
  [
    'prepare answer',
    m.encodePrepareAnswer(generation, id, prepareAnswer),
    { kind: Kind.PREPARE_ANSWER, ...answerTo, answer: prepareAnswer },
  ],
  [
    'page answer',
    m.encodePageAnswer(generation, id, pageAnswer),
    { kind: Kind.PAGE_ANSWER, ...answerTo, answer: pageAnswer },
  ],
  [
    'tree answer',
    m.encodeTreeAnswer(generation, id, treeAnswer),
    { kind: Kind.TREE_ANSWER, ...answerTo, answer: treeAnswer },
  ],
  [
    'tree nodes answer',
    m.encodeTreeNodesAnswer(generation, id, treeNodesAnswer),
    { kind: Kind.TREE_NODES_ANSWER, ...answerTo, answer: treeNodesAnswer },
  ],
  [
    'hint answer',
    m.encodeWriteAnswer(Kind.HINT_ANSWER, generation, id, { ...writeAnswer, newer: null }),
    { kind: Kind.HINT_ANSWER, ...answerTo, answer: { ...writeAnswer, newer: null } },
  ],
  [
    'written answer',
    m.encodeWrittenAnswer(generation, id, 1_700_000_000_000_001),
    { kind: Kind.WRITTEN_ANSWER, ...answerTo, answer: { version: 1_700_000_000_000_001 } },
  ],
  ['stale ring', m.encodeStaleRing(generation, id, ring), { kind: Kind.STALE_RING, ...answerTo, ring }],
  [
    'refused',
    m.encodeRefused(generation, id, 7, 'full'),
    { kind: Kind.REFUSED, ...answerTo, status: 7, message: 'full' },
  ],
];
