/** /v1/cluster, /v1/cluster/ring and /v1/cluster/key/{key} of a node that is alone. Front-end thread. */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { Status } from '../base/status.ts';
import { hashToken, shardOf, token, vnodeOf } from '../base/token.ts';
import { Op, type ShardReply } from '../shard/contract.ts';
import type { FrontState } from './front-state.ts';
import { keyMember } from './key-text.ts';
import { Metric } from './metrics.ts';
import { secondsLeft } from './record-answer.ts';
import { queryPairs, RequestOptions, readTimeout } from './request-options.ts';
import { messageOf } from './requests.ts';
import { Run } from './run.ts';

const KEY_PATH = '/v1/cluster/key/';
const UNNAMED = { nodeId: 'local', clusterName: 'ringkv' };

/** The number of the ring map: it has not changed since the node was made. */
const RING_NUMBER = 1;

export function describeCluster(state: FrontState, port: number): unknown {
  const { nodeId, clusterName } = state.options.node ?? UNNAMED;
  const { host, notReady } = state.options;
  const reason = notReady();
  const { shards, vnodes } = state.requests.client;
  const condition = reason === '' ? { state: 'up' } : { state: 'down', reason };
  return {
    clusterName,
    ring: RING_NUMBER,
    replicas: 1,
    nodes: [{ nodeId, host, port, ...condition, shards, vnodes }],
  };
}

/** Vnodes as ranges, first to last, inclusive, with the node that owns them. */
export function describeRing(state: FrontState): unknown {
  const { nodeId } = state.options.node ?? UNNAMED;
  const { vnodes } = state.requests.client;
  return {
    ring: RING_NUMBER,
    vnodes,
    replicas: 1,
    ranges: [{ first: 0, last: vnodes - 1, nodes: [nodeId] }],
  };
}

/** Where a key lives and what its replica holds. */
export class KeyPlaces {
  readonly #state: FrontState;
  readonly #options = new RequestOptions();
  constructor(state: FrontState) {
    this.#state = state;
  }

  get(res: HttpResponse, req: HttpRequest, head: boolean): void {
    const state = this.#state;
    const startMs = state.clock.monotonicMs();
    try {
      queryPairs(req.getQuery() ?? '', []);
      this.#options.reset();
      readTimeout(req.getHeader('x-ringkv-timeout'), this.#options);
      const key = state.keys.decode(req.getUrl(), KEY_PATH.length);
      new KeyRun(state, startMs, head, this.#options.timeoutMs, new Uint8Array(key)).begin(res);
    } catch (error) {
      state.refuse(res, error, Metric.OTHER, startMs, head);
    }
  }
}

class KeyRun extends Run {
  readonly #key: Uint8Array;
  readonly #hi: number;
  readonly #lo: number;
  constructor(state: FrontState, startMs: number, head: boolean, timeoutMs: number, key: Uint8Array) {
    super(state, Metric.OTHER, startMs, head, timeoutMs);
    this.#key = key;
    hashToken(key);
    this.#hi = token.hi;
    this.#lo = token.lo;
  }

  protected override next(): void {
    const request = this.state.requests.blank();
    request.op = Op.GET;
    request.key = this.#key;
    request.tokenHi = this.#hi;
    request.tokenLo = this.#lo;
    request.deadlineMs = this.deadlineMs;
    const status = this.send(0);
    if (status !== Status.OK) this.fail(status, '');
  }

  /** A replica that cannot tell is part of the answer, not the end of it. */
  protected override take(reply: ShardReply): void {
    const { nodeId } = this.state.options.node ?? UNNAMED;
    const { vnodes, shards } = this.state.requests.client;
    const hex = (word: number): string => word.toString(16).padStart(8, '0');
    const place = {
      token: hex(this.#hi) + hex(this.#lo),
      vnode: vnodeOf(this.#hi, vnodes),
      shard: shardOf(this.#hi, vnodes, shards),
      replicas: [{ nodeId, ...this.#held(reply) }],
    };
    const member = JSON.parse(`{${keyMember(this.#key)}}`) as object;
    this.answerJson({ ...member, ...place });
  }

  #held(reply: ShardReply): object {
    if (reply.status === Status.NOT_FOUND) return { state: 'absent' };
    if (reply.status !== Status.OK) return { state: 'error', message: messageOf(reply) };
    const { version, expiresMs, length } = reply;
    const ttl = expiresMs === 0 ? {} : { ttl: secondsLeft(expiresMs, this.state.clock.nowMs()) };
    return { state: 'live', version, bytes: length, ...ttl };
  }
}
