/**
 * The decoder of the messages between nodes. Their bytes are untrusted: each field is checked against its type and its
 * bounds, and MessageError names the first fault. What comes out are views of the message (message-bytes.ts, invariant 3):
 * they keep the whole message alive, so whoever keeps bytes for longer than a request copies them.
 * Not checked here: that a token is that of its key, and that versions are no forged ones: the replica does that.
 */
import { type MonotonicMs, msAfter } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { decodePlain, MessageError, type Plain } from './message-bytes.ts';
import { Fields, UINT32_MAX } from './message-fields.ts';
import { Kind, type Message } from './message-kinds.ts';

const fields = new Fields();
const ENVELOPE = 5;
const ANSWER = 3;
const STATUS_MAX = 255;
const LEVEL_MAX = 3;
const HASH_BYTES = 8;

/** Decodes one message of a peer; deadlines are set from `nowMs`, this process's time. Throws MessageError. */
export function decodeMessage(bytes: Uint8Array, nowMs: MonotonicMs): Message {
  const kind = fields.begin(bytes);
  if (!isCount(kind)) throw new MessageError('a message does not begin with its kind');
  if (!KNOWN.has(kind)) throw new UnknownKindError(kind, decodePlain(bytes) as readonly Plain[]);
  const message = decodeOf(kind, nowMs);
  fields.end();
  return message;
}

function decodeOf(kind: number, nowMs: MonotonicMs): Message {
  if (kind >= Kind.WRITE_ANSWER) return decodeAnswer(kind);
  if (kind >= Kind.WRITE) return decodeRequest(kind, nowMs);
  switch (kind) {
    case Kind.GOSSIP:
      fields.start('gossip', 2);
      return { kind, payload: fields.plain() };
    case Kind.RING_AGREEMENT:
      fields.start('ring agreement', 2);
      return { kind, payload: fields.plain() };
    case Kind.RING:
      fields.start('ring', 2);
      return { kind, ring: fields.bytes('ring', 1, limits.peerMessageBytesMax) };
    default:
      throw unlisted(kind);
  }
}

/** Of a later build, perhaps: the connection need not end for it. */
export class UnknownKindError extends MessageError {
  readonly kind: number;
  /** Who waits for an answer; null where it is no request, or not even one with an envelope. */
  readonly call: { readonly generation: number; readonly id: number } | null;
  constructor(kind: number, items: readonly Plain[]) {
    super(`a message of unknown kind ${kind}`);
    this.kind = kind;
    const [, generation, id] = items;
    const isCall = kind >= Kind.WRITE && kind < Kind.WRITE_ANSWER;
    this.call = isCall && isCount(generation) && isCount(id) ? { generation, id } : null;
  }
}
/** Kind and the switches below belong together. */
const unlisted = (kind: number): Error => new Error(`kind ${kind} has no decoder`);
const KNOWN: ReadonlySet<number> = new Set(Object.values(Kind));
const isCount = (value: Plain | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

function decodeRequest(kind: number, nowMs: MonotonicMs): Message {
  switch (kind) {
    case Kind.WRITE: {
      const { generation, id, ring, remainingMs } = startRequest('write', 3);
      const mode = fields.writeMode();
      const record = fields.record('record');
      const also = fields.also(record);
      const request = { record, also, mode, deadlineMs: msAfter(nowMs, remainingMs) };
      return { kind, generation, id, ring, remainingMs, request };
    }
    case Kind.WRITTEN: {
      const { generation, id, ring, remainingMs } = startRequest('written', 1);
      return { kind, generation, id, ring, remainingMs, request: { version: fields.version('version') } };
    }
    case Kind.READ: {
      const { generation, id, ring, remainingMs } = startRequest('read', 5);
      const request = {
        tokenHi: fields.integer('tokenHi', 0, UINT32_MAX),
        tokenLo: fields.integer('tokenLo', 0, UINT32_MAX),
        keyspace: fields.integer('keyspace', 0, 255),
        headOnly: fields.boolean('headOnly'),
        key: fields.key('key'),
        deadlineMs: msAfter(nowMs, remainingMs),
      };
      return { kind, generation, id, ring, remainingMs, request };
    }
    case Kind.PREPARE: {
      const { generation, id, ring, remainingMs } = startRequest('prepare', 5);
      const request = {
        tokenHi: fields.integer('tokenHi', 0, UINT32_MAX),
        tokenLo: fields.integer('tokenLo', 0, UINT32_MAX),
        ballot: {
          version: fields.version('ballot version'),
          origin: fields.integer('ballot origin', 0, UINT32_MAX),
        },
        key: fields.key('key'),
        deadlineMs: msAfter(nowMs, remainingMs),
      };
      return { kind, generation, id, ring, remainingMs, request };
    }
    case Kind.PAGE: {
      const { generation, id, ring, remainingMs } = startRequest('page', 10);
      const request = {
        firstHi: fields.integer('firstHi', 0, UINT32_MAX),
        firstLo: fields.integer('firstLo', 0, UINT32_MAX),
        lastHi: fields.integer('lastHi', 0, UINT32_MAX),
        lastLo: fields.integer('lastLo', 0, UINT32_MAX),
        userOnly: fields.boolean('userOnly'),
        headOnly: fields.boolean('headOnly'),
        recordsMax: fields.integer('recordsMax', 1, limits.peerPageRecordsMax),
        bytesMax: fields.integer('bytesMax', 1, limits.peerPageBytesMax),
        prefix: fields.bytes('prefix', 0, limits.keyBytesCeiling),
        after: fields.placeOrNull('after'),
        deadlineMs: msAfter(nowMs, remainingMs),
      };
      return { kind, generation, id, ring, remainingMs, request };
    }
    case Kind.TREE: {
      const { generation, id, ring, remainingMs } = startRequest('tree', 3);
      const request = {
        session: fields.integer('session', 0, Number.MAX_SAFE_INTEGER),
        ignoreDeadBeforeMs: fields.integer('ignoreDeadBeforeMs', 0, Number.MAX_SAFE_INTEGER),
        vnodes: fields.integers('vnodes', limits.vnodesMax, 0, limits.vnodesMax - 1),
        deadlineMs: msAfter(nowMs, remainingMs),
      };
      return { kind, generation, id, ring, remainingMs, request };
    }
    case Kind.TREE_NODES: {
      const { generation, id, ring, remainingMs } = startRequest('tree nodes', 4);
      const session = fields.integer('session', 0, Number.MAX_SAFE_INTEGER);
      const vnode = fields.integer('vnode', 0, limits.vnodesMax - 1);
      const level = fields.integer('level', 0, LEVEL_MAX);
      const indexes = fields.integers('indexes', limits.treeNodesMax, 0, 16 ** level - 1);
      for (let i = 1; i < indexes.length; i++)
        if ((indexes[i] as number) <= (indexes[i - 1] as number))
          throw fields.fault('indexes', `are not ascending: ${indexes[i]} after ${indexes[i - 1]}`);
      return { kind, generation, id, ring, remainingMs, request: { session, vnode, level, indexes } };
    }
    case Kind.END_TREE: {
      const { generation, id, ring, remainingMs } = startRequest('end of tree', 1);
      const session = fields.integer('session', 0, Number.MAX_SAFE_INTEGER);
      return { kind, generation, id, ring, remainingMs, request: { session } };
    }
    case Kind.HINT: {
      const { generation, id, ring, remainingMs } = startRequest('hint', 4);
      const target = fields.integer('target', 1, UINT32_MAX);
      const mode = fields.writeMode();
      const record = fields.record('record');
      const also = fields.also(record);
      const request = { record, also, mode, deadlineMs: msAfter(nowMs, remainingMs) };
      return { kind, generation, id, ring, remainingMs, target, request };
    }
    default:
      throw unlisted(kind);
  }
}

/** The envelope read last: one for all messages. */
const envelope = { generation: 0, id: 0, ring: 0, remainingMs: 0 };

function startRequest(what: string, more: number): typeof envelope {
  fields.start(what, ENVELOPE + more);
  envelope.generation = fields.integer('generation', 0, Number.MAX_SAFE_INTEGER);
  envelope.id = fields.integer('id', 0, Number.MAX_SAFE_INTEGER);
  envelope.ring = fields.integer('ring', 0, Number.MAX_SAFE_INTEGER);
  envelope.remainingMs = fields.integer('remainingMs', 0, limits.administrationMsMax);
  return envelope;
}

function startAnswer(what: string, more: number): typeof envelope {
  fields.start(what, ANSWER + more);
  envelope.generation = fields.integer('generation', 0, Number.MAX_SAFE_INTEGER);
  envelope.id = fields.integer('id', 0, Number.MAX_SAFE_INTEGER);
  return envelope;
}
const status = (): number => fields.integer('status', 0, STATUS_MAX);
const message = (): string => fields.text('message', limits.peerTextCharactersMax);

function decodeAnswer(kind: number): Message {
  switch (kind) {
    case Kind.WRITE_ANSWER:
    case Kind.HINT_ANSWER: {
      const { generation, id } = startAnswer('write answer', 5);
      const answer = {
        status: status(),
        beat: fields.version('beat'),
        barred: fields.boolean('barred'),
        newer: fields.recordOrNull('newer'),
        message: message(),
      };
      return { kind, generation, id, answer };
    }
    case Kind.WRITTEN_ANSWER: {
      const { generation, id } = startAnswer('written answer', 1);
      return { kind, generation, id, answer: { version: fields.version('version') } };
    }
    case Kind.READ_ANSWER: {
      const { generation, id } = startAnswer('read answer', 3);
      const answer = { status: status(), record: fields.recordOrNull('record'), message: message() };
      return { kind, generation, id, answer };
    }
    case Kind.PREPARE_ANSWER: {
      const { generation, id } = startAnswer('prepare answer', 5);
      const answer = {
        status: status(),
        beat: fields.version('beat'),
        record: fields.recordOrNull('record'),
        outcomes: fields.recordOrNull('outcomes'),
        message: message(),
      };
      return { kind, generation, id, answer };
    }
    case Kind.PAGE_ANSWER: {
      const { generation, id } = startAnswer('page answer', 4);
      const answer = {
        status: status(),
        records: fields.records('records'),
        next: fields.placeOrNull('next'),
        message: message(),
      };
      return { kind, generation, id, answer };
    }
    case Kind.TREE_ANSWER: {
      const { generation, id } = startAnswer('tree answer', 4);
      const answer = {
        status: status(),
        records: fields.integer('records', 0, Number.MAX_SAFE_INTEGER),
        ignoredDeadBeforeMs: fields.integer('ignoredDeadBeforeMs', 0, Number.MAX_SAFE_INTEGER),
        message: message(),
      };
      return { kind, generation, id, answer };
    }
    case Kind.TREE_NODES_ANSWER: {
      const { generation, id } = startAnswer('tree nodes answer', 3);
      const code = status();
      const hashes = fields.bytes('hashes', 0, limits.treeNodesMax * HASH_BYTES);
      if (hashes.length % HASH_BYTES !== 0)
        throw fields.fault('hashes', `has ${hashes.length} bytes, no multiple of ${HASH_BYTES}`);
      return { kind, generation, id, answer: { status: code, hashes, message: message() } };
    }
    case Kind.STALE_RING: {
      const { generation, id } = startAnswer('stale ring', 1);
      return { kind, generation, id, ring: fields.bytesOrNull('ring', 1, limits.peerMessageBytesMax) };
    }
    case Kind.REFUSED: {
      const { generation, id } = startAnswer('refused', 2);
      return { kind, generation, id, status: status(), message: message() };
    }
    default:
      throw unlisted(kind);
  }
}
