/** The vectors of docs/websocket.md: what is sent, and what comes back. */
import { head, type Item } from './ws-client.ts';

export const FIRST_VERSION = 1_764_000_000_000_001;
/** What the server's clock shows, milliseconds since 1970. */
export const NOW_MS = 1_764_000_000_000;
const bytes = (text: string): Uint8Array => Buffer.from(text);
const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

export interface Vector {
  readonly name: string;
  /** What is sent, where this client would write it so. */
  readonly request?: Item;
  /** What is sent otherwise: its bytes in hex, and how it reads. */
  readonly hex?: string;
  readonly says?: string;
  readonly answer: Item;
}

const ok = (id: number, version: number): Item => ({ ids: [id], statuses: [0], versions: [version] });

export const vectors: readonly Vector[] = [
  {
    name: 'put, alone',
    request: { ids: [1], ops: 1, keys: ['a'], values: [bytes('one')] },
    answer: ok(1, FIRST_VERSION),
  },
  {
    name: 'get',
    request: { ids: [2], ops: 2, keys: [bytes('a')] },
    answer: { ids: [2], statuses: [0], versions: [FIRST_VERSION], values: [bytes('one')] },
  },
  {
    name: 'get of an absent key, under the largest id',
    request: { ids: [Number.MAX_SAFE_INTEGER], ops: [2], keys: [hex('00ff')] },
    answer: { ids: [Number.MAX_SAFE_INTEGER], statuses: [1] },
  },
  {
    name: 'put of an empty value, get and delete in one message',
    request: {
      ids: [4, 300, 70_000],
      ops: [1, 2, 3],
      keys: ['b', 'a', 'é'],
      values: [bytes(''), null, null],
    },
    answer: {
      ids: [4, 300, 70_000],
      statuses: [0, 0, 0],
      versions: [FIRST_VERSION + 1, FIRST_VERSION, FIRST_VERSION + 2],
      values: [null, bytes('one'), null],
    },
  },
  {
    name: 'put where the version is another',
    request: { ids: [5], ops: [1], keys: ['a'], values: [bytes('two')], versions: [7] },
    answer: {
      ids: [5],
      statuses: [2],
      versions: [FIRST_VERSION],
      messages: [
        `the write demands version 7 and the current version is ${FIRST_VERSION}; nothing was written`,
      ],
    },
  },
  {
    name: 'put where the version is this, with every option',
    request: {
      ids: [6],
      ops: [1],
      keys: ['a'],
      values: [bytes('two')],
      versions: [FIRST_VERSION],
      ttls: [60.5],
      consistency: [3],
      sloppy: [false],
      timeouts: [1000],
      idempotencyKeys: ['once'],
    },
    answer: ok(6, FIRST_VERSION + 3),
  },
  {
    name: 'get of a record that expires: 60.5 s are 61',
    request: { ids: [7], ops: 2, keys: ['a'], consistency: 1 },
    answer: { ids: [7], statuses: [0], versions: [FIRST_VERSION + 3], ttls: [61], values: [bytes('two')] },
  },
  {
    name: 'delete of a key that must be live',
    request: { ids: [8], ops: 3, keys: ['none'], exists: true },
    answer: {
      ids: [8],
      statuses: [2],
      versions: [0],
      messages: ['the write demands an existing key and the key is absent; nothing was written'],
    },
  },
  {
    name: 'an unknown op is the mistake of its request alone',
    request: { ids: [9], ops: [9], keys: ['a'] },
    answer: { ids: [9], statuses: [3], messages: ['op 9 is none of 1 (put), 2 (get), 3 (delete), 4 (ping)'] },
  },
  {
    name: 'other forms of the same: long lengths, a float of 16 bits for an op, undefined, tag 64, a float of 64 bits for a version',
    hex:
      'b90005 63696473 9a00000001 1b000000000000000a 636f7073 f93c00 646b657973 81 d840 4161' +
      '6676616c756573 81 43783378 68 76657273696f6e73 81 f7',
    says: '{"ids": [10], "ops": 1.0, "keys": [64(h\'61\')], "values": [h\'783378\'], "versions": [undefined]}',
    answer: ok(10, FIRST_VERSION + 4),
  },
  {
    name: 'a version as a float of 64 bits, as JavaScript libraries write it',
    hex: `a4 63696473 810b 636f7073 03 646b657973 816161 6876657273696f6e73 81 fb${doubleHex(FIRST_VERSION + 4)}`,
    says: `{"ids": [11], "ops": 3, "keys": ["a"], "versions": [${FIRST_VERSION + 4}.0]}`,
    answer: ok(11, FIRST_VERSION + 5),
  },
  {
    name: 'ping: nothing but a sign of life',
    request: { ids: [12], ops: 4, keys: [Buffer.alloc(0)] },
    answer: { ids: [12], statuses: [0] },
  },
];

function doubleHex(value: number): string {
  const double = Buffer.alloc(8);
  double.writeDoubleBE(value);
  return double.toString('hex');
}

export interface Refusal {
  readonly name: string;
  /** In hex; null: a text message. */
  readonly hex: string | null;
  readonly code: 1007 | 1008;
  readonly reason: string;
}

const IDS = '63696473 8101';
const OPS = '636f7073 02';
const KEYS = '646b657973 816161';
const malformed = (name: string, text: string | null, reason: string): Refusal => ({
  name,
  hex: text,
  code: 1007,
  reason,
});

export const refusals: readonly Refusal[] = [
  malformed('a text message', null, 'a text message of 2 bytes; messages are binary'),
  malformed('nothing', '', 'the message ends before the message (at byte 0)'),
  malformed('an array', '80', 'the message is an array, not a map (at byte 0)'),
  malformed('a column that is missing', `a2 ${IDS} ${OPS}`, 'column keys is missing'),
  malformed('an unknown column', 'a1 636b6579 816161', 'unknown column "key"'),
  malformed('a column twice', `a4 ${IDS} ${OPS} ${OPS} ${KEYS}`, 'column ops is given twice'),
  malformed(
    'columns of different lengths',
    `a3 ${IDS} 636f7073 820202 ${KEYS}`,
    'ops has 2 elements and ids has 1',
  ),
  malformed(
    'a byte behind the item',
    `a3 ${IDS} ${OPS} ${KEYS} 00`,
    '1 bytes after the one item of the message (at byte 20)',
  ),
  malformed(
    'a message that ends early',
    `a3 ${IDS} ${OPS} 646b657973 8161`,
    'keys declares 1 bytes and the message has 0 more (at byte 19)',
  ),
  malformed(
    'an indefinite length',
    'bf ff',
    'the message has an indefinite length; lengths must be given (at byte 1)',
  ),
  malformed(
    'a tag',
    `a3 ${IDS} ${OPS} 646b657973 81 c2 4161`,
    'keys has tag 2; tags are not used here (at byte 19)',
  ),
  malformed(
    'a key that is a number',
    `a3 ${IDS} ${OPS} 646b657973 8101`,
    'keys is an integer, not a byte string (at byte 18)',
  ),
  malformed(
    'a text that is no UTF-8',
    `a3 ${IDS} ${OPS} 646b657973 8161ff`,
    'keys is a text of invalid UTF-8 (at byte 20)',
  ),
  malformed(
    'a negative id',
    `a3 63696473 8120 ${OPS} ${KEYS}`,
    'id -1 is not an integer from 0 to 9007199254740991',
  ),
  malformed('an id of null', `a3 63696473 81f6 ${OPS} ${KEYS}`, 'ids is null, not a number (at byte 6)'),
  malformed(
    'an infinite ttl',
    `a4 ${IDS} ${OPS} ${KEYS} 6474746c73 81f97c00`,
    'ttls is Infinity, which is no number (at byte 29)',
  ),
  {
    name: 'more requests than a message may have',
    hex: `a3 63696473 ${head(4, 1025).toString('hex')}`,
    code: 1008,
    reason: 'ids has 1025 elements; the limit is 1024 a message',
  },
  {
    name: 'an array that declares 2^64 - 1 elements',
    hex: 'a3 63696473 9bffffffffffffffff',
    code: 1008,
    reason: 'ids has 18446744073709552000 elements; the limit is 1024 a message',
  },
];

/** Diagnostic notation. */
export function diagnose(item: Item): string {
  if (item === null) return 'null';
  if (item instanceof Uint8Array) return `h'${Buffer.from(item).toString('hex')}'`;
  if (Array.isArray(item)) return `[${item.map(diagnose).join(', ')}]`;
  if (typeof item === 'object')
    return `{${Object.entries(item as Record<string, Item>)
      .map(([name, one]) => `"${name}": ${diagnose(one)}`)
      .join(', ')}}`;
  return JSON.stringify(item);
}
