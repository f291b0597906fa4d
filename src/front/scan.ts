/**
 * GET /v1/scan: live records of all shards in order of (token, key). Front-end thread. Each shard gives pages in
 * that order; a record goes out when every shard is known to have none before it. Bounded by the limit asked for,
 * by limits.scanPageBytesMax of answer, and by limits.scanPagesMax pages, after which the cursor alone is progress.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  comparePlace,
  compareRecordPlaces,
  expiresMsAt,
  isDeadAt,
  KEYSPACE_USER,
  keyAt,
  recordBytesAt,
  recordFault,
  tokenHiAt,
  tokenLoAt,
  valueAt,
  versionAt,
} from '../base/record.ts';
import { Status } from '../base/status.ts';
import { Op, type ShardReply } from '../shard/contract.ts';
import type { FrontState } from './front-state.ts';
import { keyMember } from './key-text.ts';
import { Metric } from './metrics.ts';
import { short } from './outcome.ts';
import { secondsLeft } from './record-answer.ts';
import { RequestOptions, rawQueryPairs, readTimeout } from './request-options.ts';
import { messageOf } from './requests.ts';
import { Run } from './run.ts';
import { decodeCursor, encodeCursor, type ScanPlace } from './scan-cursor.ts';

const START: ScanPlace = { tokenHi: 0, tokenLo: 0, key: new Uint8Array(0) };
/** More than a shard's share of the limit is asked for, so that a second page is seldom needed. */
const PAGE_SLACK = 16;

interface ScanQuery {
  limit: number;
  prefix: Uint8Array;
  values: boolean;
  from: ScanPlace | null;
}

export class Scans {
  readonly #state: FrontState;
  readonly #options = new RequestOptions();
  #inFlight = 0;

  constructor(state: FrontState) {
    this.#state = state;
  }

  get(res: HttpResponse, req: HttpRequest, head: boolean): void {
    const state = this.#state;
    const startMs = state.clock.monotonicMs();
    try {
      state.heads.read(req);
      this.#options.reset();
      readTimeout(state.heads.timeout, this.#options);
      const query = parseQuery(req.getQuery() ?? '', state.options.maxKeyBytes);
      if (this.#inFlight === limits.scansInFlightMax) {
        const message = `${this.#inFlight} scans are in flight; the limit is ${limits.scansInFlightMax}`;
        state.metrics.count(
          Metric.SCAN,
          state.answers.fail(res, Status.OVERLOADED, message, -1, head),
          startMs,
        );
        return;
      }
      this.#inFlight++;
      const onEnd = (): void => {
        this.#inFlight--;
      };
      new ScanRun(state, query, startMs, head, this.#options.timeoutMs, onEnd).begin(res);
    } catch (error) {
      state.refuse(res, error, Metric.SCAN, startMs, head);
    }
  }
}

function parseQuery(query: string, keyBytesMax: number): ScanQuery {
  const parsed: ScanQuery = { limit: limits.scanLimitDefault, prefix: START.key, values: false, from: null };
  for (const [name, bytes] of rawQueryPairs(query, ['limit', 'cursor', 'prefix', 'values'])) {
    const text = Buffer.from(bytes).toString('latin1');
    if (name === 'prefix') {
      if (bytes.length > keyBytesMax)
        throw new BadRequestError(`a prefix of ${bytes.length} bytes; the limit is ${keyBytesMax}`);
      parsed.prefix = bytes;
    } else if (name === 'cursor') parsed.from = decodeCursor(text, keyBytesMax);
    else if (name === 'limit') {
      parsed.limit = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
      if (parsed.limit < 1 || parsed.limit > limits.scanLimitMax)
        throw new BadRequestError(`limit ${short(text)} is not a number from 1 to ${limits.scanLimitMax}`);
    } else if (text === 'true' || text === 'false') parsed.values = text === 'true';
    else throw new BadRequestError(`values ${short(text)} is neither true nor false`);
  }
  return parsed;
}

/** Where the scan stands in one shard. */
class ShardPages {
  bytes = new Uint8Array(0);
  view = new DataView(this.bytes.buffer);
  offset = 0;
  /** Everything up to here has been looked at, once `bytes` is used up. null: nothing yet. */
  place: ScanPlace | null;
  done = false;
  waiting = false;
  constructor(from: ScanPlace | null) {
    this.place = from;
  }
  /** Whether a record stands at `offset`. */
  get ready(): boolean {
    return this.offset < this.bytes.length;
  }
  fill(reply: ShardReply): string {
    this.bytes = new Uint8Array(reply.bytes.subarray(reply.start, reply.start + reply.length));
    this.view = new DataView(this.bytes.buffer);
    this.offset = 0;
    this.done = reply.done;
    if (!reply.done)
      this.place = { tokenHi: reply.tokenHi, tokenLo: reply.tokenLo, key: new Uint8Array(reply.key) };
    let fault = '';
    for (let at = 0; fault === '' && at < this.bytes.length; at += recordBytesAt(this.view, at))
      fault = recordFault(this.bytes, at, this.bytes.length);
    return fault;
  }
}

class ScanRun extends Run {
  readonly #query: ScanQuery;
  readonly #shards: ShardPages[];
  readonly #onEnd: () => void;
  readonly #entries: string[] = [];
  readonly #pageLimit: number;
  #last: ScanPlace | null = null;
  #bytes = 0;
  #pages = 0;

  constructor(
    state: FrontState,
    query: ScanQuery,
    startMs: number,
    head: boolean,
    timeoutMs: number,
    onEnd: () => void,
  ) {
    super(state, Metric.SCAN, startMs, head, timeoutMs);
    const { scanSources: shards } = state.requests.client;
    this.#query = query;
    this.#onEnd = onEnd;
    this.#shards = Array.from({ length: shards }, () => new ShardPages(query.from));
    this.#pageLimit = Math.min(query.limit, Math.ceil(query.limit / shards) + PAGE_SLACK);
  }

  protected override next(): void {
    if (this.inFlight > 0) return;
    if (this.#pages === 0) {
      for (const shard of this.#shards.keys()) this.#fetch(shard);
      return;
    }
    for (;;) {
      const least = this.#least();
      const behind = this.#behind();
      if (least === null && behind === null) {
        this.#finish(null);
        return;
      }
      if (this.#entries.length === this.#query.limit || this.#bytes >= limits.scanPageBytesMax) {
        this.#finish(this.#last);
        return;
      }
      if (behind !== null && (least === null || !isAtOrBefore(least, behind.place))) {
        if (this.#pages < limits.scanPagesMax) this.#fetchDrained();
        else this.#finish(behind.place);
        return;
      }
      if (least !== null) this.#emit(least);
    }
  }

  /** The shard whose next record comes first. */
  #least(): ShardPages | null {
    let least: ShardPages | null = null;
    for (const pages of this.#shards)
      if (pages.ready && (least === null || isBefore(pages, least))) least = pages;
    return least;
  }

  /** Of the shards that have to be asked for more, the one that has been looked at least far. */
  #behind(): ShardPages | null {
    let behind: ShardPages | null = null;
    for (const pages of this.#shards)
      if (!pages.ready && !pages.done && (behind === null || comparePlaces(pages.place, behind.place) < 0))
        behind = pages;
    return behind;
  }

  #fetchDrained(): void {
    this.#shards.forEach((pages, shard) => {
      if (!pages.ready && !pages.done) this.#fetch(shard);
    });
  }

  #fetch(shard: number): void {
    if (this.ended) return;
    if (this.state.requests.client.scanSources !== this.#shards.length) {
      this.fail(
        Status.OVERLOADED,
        'the node became part of a cluster while the scan ran; nothing is lost, repeat it',
      );
      return;
    }
    const from = this.#shards[shard]?.place ?? null;
    const request = this.state.requests.blank();
    request.op = Op.SCAN;
    request.shard = shard;
    request.tokenHi = from?.tokenHi ?? 0;
    request.tokenLo = from?.tokenLo ?? 0;
    request.key = from?.key ?? START.key;
    request.exclusive = from !== null;
    request.value = this.#query.prefix;
    request.limit = this.#pageLimit;
    request.withValues = this.#query.values;
    request.deadlineMs = this.deadlineMs;
    this.#pages++;
    const status = this.send(shard);
    if (status !== Status.OK) this.fail(status, this.state.requests.refusal);
  }

  protected override take(reply: ShardReply, shard: number): void {
    if (reply.status !== Status.OK) {
      this.fail(reply.status, messageOf(reply));
      return;
    }
    const fault = this.#shards[shard]?.fill(reply) ?? '';
    if (fault !== '') this.fail(Status.CORRUPTION, `a page of shard ${shard}: ${fault}`);
  }

  #emit(pages: ShardPages): void {
    const { view, bytes, offset } = pages;
    const nowMs = this.state.clock.nowMs();
    const key = keyAt(view, bytes, offset);
    if (!isDeadAt(view, offset, nowMs)) {
      const expiresMs = expiresMsAt(view, offset);
      const ttl = expiresMs === 0 ? '' : `,"ttl":${secondsLeft(expiresMs, nowMs)}`;
      const value = this.#query.values
        ? `,"value":"${Buffer.from(valueAt(view, bytes, offset)).toString('base64')}"`
        : '';
      const entry = `{${keyMember(key)}${value},"version":${versionAt(view, offset)}${ttl}}`;
      this.#entries.push(entry);
      this.#bytes += entry.length;
    }
    this.#last = { tokenHi: tokenHiAt(view, offset), tokenLo: tokenLoAt(view, offset), key };
    pages.offset += recordBytesAt(view, offset);
  }

  /** `after` is where the next scan goes on; null where there is nothing more. */
  #finish(after: ScanPlace | null): void {
    const cursor = after === null ? '' : `,"cursor":"${encodeCursor(after)}"`;
    const body = Buffer.from(`{"entries":[${this.#entries.join(',')}]${cursor}}`);
    this.answer((res) => {
      this.state.answers.endJson(res, 200, body, this.head);
      return 200;
    });
  }

  protected override release(): void {
    this.#onEnd();
  }
}

function isBefore(a: ShardPages, b: ShardPages): boolean {
  return compareRecordPlaces(a.view, a.bytes, a.offset, b.view, b.bytes, b.offset) < 0;
}
function isAtOrBefore(pages: ShardPages, place: ScanPlace | null): boolean {
  if (place === null) return false;
  const { tokenHi, tokenLo, key } = place;
  return comparePlace(pages.view, pages.bytes, pages.offset, tokenHi, tokenLo, KEYSPACE_USER, key) <= 0;
}
/** null comes before every place. */
function comparePlaces(a: ScanPlace | null, b: ScanPlace | null): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? -1 : 1;
  return a.tokenHi - b.tokenHi || a.tokenLo - b.tokenLo || Buffer.compare(a.key, b.key);
}
