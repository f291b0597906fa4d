/**
 * /v1/cluster and what lies under it: questions about the cluster and changes of it, which the coordinator answers.
 * Front-end thread; what is asked and answered is JSON, and passes through here as it is.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import { Op, type ShardReply } from '../shard/contract.ts';
import { bodyTooLarge } from './bodies.ts';
import type { Exchange } from './exchange.ts';
import type { FrontState } from './front-state.ts';
import { parseJsonObject } from './json.ts';
import { Kind } from './kv.ts';
import { checkEncoding, JSON_TYPE, mediaTypeOf } from './media.ts';
import { Metric } from './metrics.ts';
import { queryPairs, RequestOptions, readTimeout } from './request-options.ts';
import { messageOf } from './requests.ts';
import { Run } from './run.ts';

const KEY_PATH = '/v1/cluster/key/';
const CLUSTER_PATH = '/v1/cluster/';
/** Changes that an operator may ask for, each a POST to /v1/cluster/NAME with its parameters as a JSON object. */
export const CLUSTER_CHANGES = [
  'join',
  'decommission',
  'replace',
  'reweigh',
  'repair',
  'drain',
  'undo',
] as const;

export class ClusterRoutes {
  readonly #state: FrontState;
  readonly #options = new RequestOptions();
  constructor(state: FrontState) {
    this.#state = state;
  }

  status(res: HttpResponse, req: HttpRequest, head: boolean): void {
    this.#ask(res, req, head, () => ({ ask: 'status' }));
  }
  ring(res: HttpResponse, req: HttpRequest, head: boolean): void {
    this.#ask(res, req, head, () => ({ ask: 'ring' }));
  }
  /** Where a key lives and what its replicas hold. */
  key(res: HttpResponse, req: HttpRequest, head: boolean): void {
    this.#ask(res, req, head, () => {
      const key = this.#state.keys.decode(req.getUrl(), KEY_PATH.length);
      return { ask: 'key', key: Buffer.from(key).toString('base64') };
    });
  }

  #ask(res: HttpResponse, req: HttpRequest, head: boolean, question: () => object): void {
    const state = this.#state;
    const startMs = state.clock.monotonicMs();
    try {
      queryPairs(req.getQuery() ?? '', []);
      this.#options.reset();
      readTimeout(req.getHeader('x-ringkv-timeout'), this.#options);
      new ClusterRun(state, startMs, head, this.#options.timeoutMs, question()).begin(res);
    } catch (error) {
      state.refuse(res, error, Metric.OTHER, startMs, head);
    }
  }

  /**
   * A body of JSON is asked for even where it is `{}`: a page of another origin cannot send that type without the
   * browser asking first, so no web page can change a cluster that its reader reaches.
   */
  change(res: HttpResponse, req: HttpRequest): void {
    const state = this.#state;
    const { heads } = state;
    const startMs = state.clock.monotonicMs();
    try {
      heads.read(req);
      queryPairs(req.getQuery() ?? '', []);
      const mediaType = mediaTypeOf(heads.contentType, [JSON_TYPE], '');
      checkEncoding(heads.contentEncoding);
      const limit = limits.clusterChangeBytesMax;
      if (heads.contentLength > limit) throw bodyTooLarge(heads.contentLength, limit);
      const exchange = state.begin(res, Kind.CLUSTER, Metric.OTHER, startMs, false);
      if (exchange === null) return;
      try {
        readTimeout(heads.timeout, exchange.options);
      } catch (error) {
        state.drop(exchange);
        throw error;
      }
      exchange.mediaType = mediaType;
      exchange.answerType = req.getUrl().slice(CLUSTER_PATH.length);
      state.bodies.begin(exchange, limit, startMs);
      res.onData(exchange.onData);
    } catch (error) {
      state.refuse(res, error, Metric.OTHER, startMs, false);
    }
  }

  /** The whole body of a change is in `exchange.body`. The run takes the response over from the exchange. */
  takeBody(exchange: Exchange): void {
    const { res, answerType, startMs, options } = exchange;
    if (res === null) return;
    const fields = exchange.body.length === 0 ? {} : parseJsonObject(exchange.body);
    if ('do' in fields || 'ask' in fields)
      throw new BadRequestError(`unknown field ${'do' in fields ? 'do' : 'ask'}`);
    const run = new ClusterRun(this.#state, startMs, false, options.timeoutMs, { ...fields, do: answerType });
    this.#state.drop(exchange);
    run.begin(res);
  }
}

class ClusterRun extends Run {
  readonly #question: Uint8Array;
  constructor(state: FrontState, startMs: number, head: boolean, timeoutMs: number, question: object) {
    super(state, Metric.OTHER, startMs, head, timeoutMs);
    this.#question = Buffer.from(JSON.stringify(question));
  }

  protected override next(): void {
    if (this.inFlight > 0) return;
    const request = this.state.requests.blank();
    request.op = Op.CLUSTER;
    request.value = this.#question;
    request.deadlineMs = this.deadlineMs;
    const status = this.send(0);
    if (status !== Status.OK) this.fail(status, '');
  }

  protected override take(reply: ShardReply): void {
    if (reply.status !== Status.OK) {
      this.fail(reply.status, messageOf(reply));
      return;
    }
    const body = Buffer.from(reply.bytes.subarray(reply.start, reply.start + reply.length));
    this.answer((res) => {
      this.state.answers.endJson(res, 200, body, this.head);
      return 200;
    });
  }
}
