/**
 * GET /metrics: the front end's own counters, from each shard by STATS the engine's, and what the peer worker counts (scrape-cluster.ts). Front-end thread. With
 * several front ends a scrape is answered by one of them, for itself and all shards: the label `frontend` says which.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { Status } from '../base/status.ts';
import { Op, type ShardReply } from '../shard/contract.ts';
import type { FrontState } from './front-state.ts';
import { kept } from './keep-alive.ts';
import { negotiate } from './media.ts';
import { histogramSamples, type MetricType, readSamples, type Sample } from './metric-samples.ts';
import { METRIC_NAMES, Metric, STATUSES } from './metrics.ts';
import { queryPairs } from './request-options.ts';
import { messageOf } from './requests.ts';
import { Run } from './run.ts';
import { clusterFamilies } from './scrape-cluster.ts';
import { wsFamilies } from './ws-scrape.ts';

const TEXT = 'text/plain';
const OPEN_METRICS = 'application/openmetrics-text';
/** Shards that do not answer a scrape in this time are down for it. */
const SCRAPE_TIMEOUT_MS = 2000;
const STATS_DEPTH_MAX = 3;
/** The tag of the question to the coordinator, among those of the shards. */
const COORDINATOR = -1;
export function scrape(state: FrontState, res: HttpResponse, req: HttpRequest, head: boolean): void {
  const startMs = state.clock.monotonicMs();
  try {
    queryPairs(req.getQuery() ?? '', []);
    const type = negotiate(req.getHeader('accept'), [TEXT, OPEN_METRICS]);
    new ScrapeRun(state, startMs, head, type === OPEN_METRICS).begin(res);
  } catch (error) {
    state.refuse(res, error, Metric.OTHER, startMs, head);
  }
}

class ScrapeRun extends Run {
  readonly #stats: (Readonly<Record<string, unknown>> | null)[];
  #cluster: Readonly<Record<string, unknown>> = {};
  readonly #open: boolean;
  #asked = false;

  constructor(state: FrontState, startMs: number, head: boolean, open: boolean) {
    super(state, Metric.OTHER, startMs, head, SCRAPE_TIMEOUT_MS);
    this.#stats = new Array<null>(state.requests.client.shards).fill(null);
    this.#open = open;
  }

  protected override next(): void {
    if (!this.#asked) {
      this.#asked = true;
      for (const shard of this.#stats.keys()) {
        const request = this.state.requests.blank();
        request.op = Op.STATS;
        request.shard = shard;
        request.deadlineMs = this.deadlineMs;
        this.send(shard);
      }
      const request = this.state.requests.blank();
      request.op = Op.CLUSTER;
      request.value = Buffer.from(JSON.stringify({ ask: 'metrics' }));
      request.deadlineMs = this.deadlineMs;
      this.send(COORDINATOR);
    }
    if (this.inFlight === 0) this.#finish();
  }

  protected override take(reply: ShardReply, shard: number): void {
    if (reply.status !== Status.OK) return;
    const stats: unknown = JSON.parse(messageOf(reply));
    if (typeof stats !== 'object' || stats === null) return;
    if (shard === COORDINATOR) this.#cluster = stats as Record<string, unknown>;
    else this.#stats[shard] = stats as Record<string, unknown>;
  }

  #finish(): void {
    const text = new Exposition(this.#open).text(this.state, this.#stats, this.#cluster);
    this.answer((res) => {
      res.writeHeader('Content-Type', kept(contentTypeOf(this.#open)));
      this.state.answers.end(res, Buffer.from(text), this.head);
      return 200;
    });
  }
}

const contentTypeOf = (open: boolean): string =>
  open
    ? 'application/openmetrics-text; version=1.0.0; charset=utf-8'
    : 'text/plain; version=0.0.4; charset=utf-8';

/** The text formats of Prometheus 0.0.4 and OpenMetrics 1.0. */
class Exposition {
  readonly #open: boolean;
  readonly #lines: string[] = [];
  constructor(open: boolean) {
    this.#open = open;
  }

  text(
    state: FrontState,
    stats: readonly (Readonly<Record<string, unknown>> | null)[],
    cluster: Readonly<Record<string, unknown>>,
  ): string {
    this.#front(state);
    for (const { name, type, help, samples } of wsFamilies(state.wsMetrics, state.options.frontend ?? 0))
      this.#add(name, type, help, samples);
    this.#shards(stats);
    for (const { name, type, help, samples } of clusterFamilies(cluster, state.clock.nowMs()))
      this.#add(name, type, help, samples);
    if (this.#open) this.#lines.push('# EOF');
    return `${this.#lines.join('\n')}\n`;
  }

  #add(name: string, type: MetricType, help: string, samples: readonly Sample[]): void {
    if (samples.length === 0) return;
    // OpenMetrics names the family of a counter without the suffix that its samples have.
    const family = this.#open && type === 'counter' ? name.replace(/_total$/, '') : name;
    this.#lines.push(`# HELP ${family} ${help}`, `# TYPE ${family} ${type}`);
    for (const { labels, value, metricName } of samples) {
      const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`);
      const shown = pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
      this.#lines.push(`${metricName ?? name}${shown} ${value}`);
    }
  }

  #front(state: FrontState): void {
    const { metrics, options } = state;
    const frontend = options.frontend ?? 0;
    const one = (value: number): Sample[] => [{ labels: { frontend }, value }];
    const requests = METRIC_NAMES.flatMap((op, index) =>
      STATUSES.map((status) => ({
        labels: { frontend, op, status },
        value: metrics.requests(index, status),
      })),
    );
    this.#add(
      'ringkv_http_requests_total',
      'counter',
      'Requests answered, by operation and HTTP status.',
      requests.filter(({ value }) => value > 0),
    );
    this.#add(
      'ringkv_http_request_seconds',
      'histogram',
      'From the parsed head of a request to its answer.',
      METRIC_NAMES.flatMap((op, index) =>
        histogramSamples(
          'ringkv_http_request_seconds',
          { frontend, op },
          (bucket) => metrics.bucket(index, bucket),
          metrics.sumMs(index),
        ),
      ),
    );
    this.#add(
      'ringkv_http_requests_aborted_total',
      'counter',
      'Requests whose client was gone before the answer.',
      one(metrics.aborted),
    );
    this.#add('ringkv_http_requests_in_flight', 'gauge', 'Requests not answered yet.', one(state.busy));
    this.#add('ringkv_http_connections', 'gauge', 'Open connections.', one(metrics.connections));
    this.#add(
      'ringkv_http_connections_refused_total',
      'counter',
      'Connections closed as they came, beyond the limit.',
      one(metrics.connectionsRefused),
    );
    this.#add(
      'ringkv_http_bodies_bytes',
      'gauge',
      'Bytes held for bodies that arrive and batches that are worked on.',
      one(state.bodies.heldBytes),
    );
    this.#add(
      'ringkv_http_answers_bytes',
      'gauge',
      'Bytes of answers that wait for clients to read.',
      one(state.answers.heldBytes),
    );
    this.#add(
      'ringkv_shard_requests_in_flight',
      'gauge',
      'Requests of this front end at the shards.',
      one(state.requests.inFlight),
    );
    const { localReads, admission } = state.requests.client;
    if (admission !== null) {
      this.#add(
        'ringkv_coordinator_admission_limit',
        'gauge',
        'Requests for data that this front end may have at the coordinator now.',
        one(admission.limit),
      );
      this.#add(
        'ringkv_coordinator_admitted',
        'gauge',
        'Requests for data of this front end at the coordinator.',
        one(admission.inFlight),
      );
      this.#add(
        'ringkv_coordinator_admitted_bytes',
        'gauge',
        'Bytes of their keys and values.',
        one(admission.bytes),
      );
      this.#add(
        'ringkv_coordinator_overloaded_total',
        'counter',
        'Requests for data refused with OVERLOADED before they were begun: more would not have been answered in time.',
        one(admission.refused),
      );
    }
    this.#add(
      'ringkv_local_reads_total',
      'counter',
      'Reads that this front end looked for in shared memory, by what held them: memtables, the record cache, or neither, so that the shard was asked.',
      readSamples(localReads, { frontend }),
    );
  }

  #shards(stats: readonly (Readonly<Record<string, unknown>> | null)[]): void {
    const up = stats.map((one, shard) => ({ labels: { shard }, value: one === null ? 0 : 1 }));
    this.#add('ringkv_shard_up', 'gauge', 'Whether the shard answered this scrape.', up);
    const families = new Map<string, Sample[]>();
    stats.forEach((one, shard) => {
      if (one === null) return;
      for (const [name, value] of numbersOf(one, 'ringkv_shard', STATS_DEPTH_MAX))
        families.set(name, [...(families.get(name) ?? []), { labels: { shard }, value }]);
    });
    for (const [name, samples] of families) this.#add(name, 'gauge', 'From the shard.', samples);
  }
}

/** The finite numbers of a shard's figures, named by their path; true and false are 1 and 0. */
function* numbersOf(
  figures: object,
  prefix: string,
  depth: number,
): Generator<[name: string, value: number]> {
  for (const [key, value] of Object.entries(figures)) {
    const snake = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/[^a-z0-9_]/g, '_');
    const name = `${prefix}_${snake}`;
    if (typeof value === 'number' && Number.isFinite(value)) yield [name, value];
    else if (typeof value === 'boolean') yield [name, value ? 1 : 0];
    else if (typeof value === 'object' && value !== null && depth > 1)
      yield* numbersOf(value, name, depth - 1);
  }
}
