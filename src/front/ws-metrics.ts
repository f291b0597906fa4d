/** Counters of the WebSocket protocol, written on the front-end thread and read at a scrape. */
import { Status } from '../base/status.ts';
import { BUCKETS_MS } from './metrics.ts';
import { WsOp } from './ws-wire.ts';

/** Index is the op's number, put, get, delete, ping, minus 1; the last takes ops that are none. */
export const WS_METRIC_OPS = ['put', 'get', 'delete', 'ping', 'unknown'] as const;
const STATUS_COUNT = Math.max(...Object.values(Status)) + 2;
/** Takes every status that has no name. */
const STATUS_OTHER = STATUS_COUNT - 1;
export const WS_STATUSES: readonly number[] = Array.from({ length: STATUS_COUNT }, (_, status) => status);
const BUCKETS = BUCKETS_MS.length + 1;
export const CLOSE_REASONS = [
  'client',
  'malformed',
  'policy',
  'unread',
  'silent',
  'going_away',
  'lost',
] as const;
export type CloseReason = (typeof CLOSE_REASONS)[number];

export class WsMetrics {
  connections = 0;
  /** Connections that were closed with a frame and whose sockets may still be there, and what those hold: ws-closing.ts. */
  closing = 0;
  closingBytes = 0;
  connectionsRefused = 0;
  /** Connections whose requests are refused because their client does not read. */
  paused = 0;
  /** Requests that are at the shards, or the coordinator. */
  inFlight = 0;
  /** Requests whose client was gone before the answer. */
  aborted = 0;
  /** Bytes of answers that wait for clients to read. */
  bufferedBytes = 0;
  messagesIn = 0;
  messagesOut = 0;
  bytesIn = 0;
  bytesOut = 0;
  readonly closed: Record<CloseReason, number> = {
    client: 0,
    malformed: 0,
    policy: 0,
    unread: 0,
    silent: 0,
    going_away: 0,
    lost: 0,
  };
  readonly #requests = new Float64Array(WS_METRIC_OPS.length * STATUS_COUNT);
  readonly #buckets = new Float64Array(WS_METRIC_OPS.length * BUCKETS);
  readonly #sumMs = new Float64Array(WS_METRIC_OPS.length);

  count(op: number, status: number, tookMs: number): void {
    const known = op === WsOp.PUT || op === WsOp.GET || op === WsOp.DELETE || op === WsOp.PING;
    const index = known ? op - 1 : WS_METRIC_OPS.length - 1;
    const place = index * STATUS_COUNT + Math.min(status, STATUS_OTHER);
    (this.#requests[place] as number)++;
    let bucket = 0;
    while (bucket < BUCKETS_MS.length && tookMs > (BUCKETS_MS[bucket] as number)) bucket++;
    (this.#buckets[index * BUCKETS + bucket] as number)++;
    (this.#sumMs[index] as number) += tookMs;
  }

  requests(op: number, status: number): number {
    return this.#requests[op * STATUS_COUNT + status] as number;
  }
  /** Requests in the bucket with this index; BUCKETS_MS.length is that of the rest. */
  bucket(op: number, index: number): number {
    return this.#buckets[op * BUCKETS + index] as number;
  }
  sumMs(op: number): number {
    return this.#sumMs[op] as number;
  }
}
