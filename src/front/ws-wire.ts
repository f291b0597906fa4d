/**
 * The words and numbers of the WebSocket protocol, as docs/websocket.md lists them: a test holds both to each other. Never
 * give a number another meaning.
 */
import { Consistency } from '../base/consistency.ts';
import { limits } from '../base/limits.ts';
import { Op } from '../shard/contract.ts';

export const WS_PATH = '/v1/ws';
/**
 * The path again for each size of connection: uWebSockets.js has one route for a pattern, and asks the next one that matches
 * where a route yields.
 */
export const WS_PATTERNS = [WS_PATH, '/v1/:path', '/:version/ws'] as const;
export const SUB_PROTOCOL = 'ringkv.v1';

/** PING asks for a sign of life and nothing else. */
export const WsOp = { PUT: Op.PUT, GET: Op.GET, DELETE: Op.DELETE, PING: 4 } as const;
export const WsConsistency = Consistency;

/** Columns of a message of requests. `ids`, `ops` and `keys` are always there. */
export const REQUEST_COLUMNS = [
  'ids',
  'ops',
  'keys',
  'values',
  'versions',
  'exists',
  'ttls',
  'consistency',
  'sloppy',
  'timeouts',
  'idempotencyKeys',
] as const;
export type RequestColumn = (typeof REQUEST_COLUMNS)[number];

/** Columns of a message of answers, in the order in which they are written. `limits` is in the first message alone. */
export const ANSWER_COLUMNS = [
  'ids',
  'statuses',
  'versions',
  'ttls',
  'sloppy',
  'messages',
  'values',
  'limits',
] as const;

export const CloseCode = {
  /** The node stops. */
  GOING_AWAY: 1001,
  /** Not what docs/websocket.md describes. */
  MALFORMED: 1007,
  /** What it describes, and beyond a limit. */
  POLICY: 1008,
} as const;
export type CloseCodeNumber = (typeof CloseCode)[keyof typeof CloseCode];

/** Longest message that a client may send: it holds the longest value whatever the settings are. */
export const messageBytesMax = (maxKeyBytes: number, maxValueBytes: number): number =>
  Math.max(limits.wsMessageBytesMax, maxKeyBytes + maxValueBytes + limits.wsMessageOverheadBytes);
