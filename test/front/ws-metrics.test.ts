import { describe, expect, it } from 'vitest';
import { Status } from '../../src/base/status.ts';
import { BUCKETS_MS } from '../../src/front/metrics.ts';
import { CLOSE_REASONS, WsMetrics } from '../../src/front/ws-metrics.ts';
import { wsFamilies } from '../../src/front/ws-scrape.ts';
import { WsOp } from '../../src/front/ws-wire.ts';

/** Value by name and labels, as the metrics page shows them. */
function shown(metrics: WsMetrics): Map<string, number> {
  const families = wsFamilies(metrics, 3);
  return new Map(
    families.flatMap(({ name, samples }) =>
      samples.map((sample) => {
        const { labels, value } = sample;
        const { frontend, ...others } = labels as Readonly<Record<string, unknown>>;
        expect(frontend).toBe(3);
        const own = sample.metricName ?? name;
        return [`${own} ${Object.values(others).join(' ')}`.trim(), value] as const;
      }),
    ),
  );
}

describe('the metrics of WebSocket', () => {
  it('have each counter under its own name', () => {
    const metrics = new WsMetrics();
    const names = {
      connections: 'connections',
      closing: 'connections_closing',
      connectionsRefused: 'connections_refused_total',
      paused: 'connections_paused',
      inFlight: 'requests_in_flight',
      aborted: 'requests_aborted_total',
      bufferedBytes: 'answers_bytes',
      messagesIn: 'messages_received_total',
      messagesOut: 'messages_sent_total',
      bytesIn: 'received_bytes_total',
      bytesOut: 'sent_bytes_total',
    } as const;
    const fields = Object.keys(names) as (keyof typeof names)[];
    for (const [at, field] of fields.entries()) metrics[field] = 100 + at;
    for (const [at, reason] of CLOSE_REASONS.entries()) metrics.closed[reason] = 10 + at;
    const page = shown(metrics);
    for (const [at, field] of fields.entries())
      expect([field, page.get(`ringkv_ws_${names[field]}`)]).toEqual([field, 100 + at]);
    for (const [at, reason] of CLOSE_REASONS.entries())
      expect(page.get(`ringkv_ws_connections_closed_total ${reason}`)).toBe(10 + at);
  });

  it('count each op by its status, and what has no name among the unknown', () => {
    const metrics = new WsMetrics();
    for (const op of Object.values(WsOp))
      for (let n = 0; n < op; n++) metrics.count(op, Status.OVERLOADED, 1);
    metrics.count(9, Status.BAD_REQUEST, 1);
    metrics.count(1.5, Status.BAD_REQUEST, 1);
    metrics.count(WsOp.PUT, 200, 1);
    const page = shown(metrics);
    const requests = new Map([...page].filter(([name]) => name.startsWith('ringkv_ws_requests_total')));
    const other = Math.max(...Object.values(Status)) + 1;
    expect(requests).toEqual(
      new Map([
        ['ringkv_ws_requests_total put OVERLOADED', 1],
        [`ringkv_ws_requests_total put UNKNOWN_${other}`, 1],
        ['ringkv_ws_requests_total get OVERLOADED', 2],
        ['ringkv_ws_requests_total delete OVERLOADED', 3],
        ['ringkv_ws_requests_total ping OVERLOADED', 4],
        ['ringkv_ws_requests_total unknown BAD_REQUEST', 2],
      ]),
    );
  });

  it('put what took as long as a bucket reaches into it, and the rest into the last', () => {
    const metrics = new WsMetrics();
    const longest = BUCKETS_MS.at(-1) as number;
    for (const ms of BUCKETS_MS) {
      metrics.count(WsOp.GET, Status.OK, ms);
      metrics.count(WsOp.GET, Status.OK, ms + 0.001);
      metrics.count(WsOp.DELETE, Status.OK, ms);
    }
    const counts = Array.from({ length: BUCKETS_MS.length + 1 }, (_, bucket) => metrics.bucket(1, bucket));
    expect(counts).toEqual([1, ...BUCKETS_MS.slice(1).map(() => 2), 1]);
    expect(metrics.bucket(0, 0)).toBe(0);
    const sum = BUCKETS_MS.reduce((total, ms) => total + ms, 0);
    expect(metrics.sumMs(2)).toBeCloseTo(sum, 6);
    metrics.count(WsOp.DELETE, Status.OK, 2 * longest);
    const page = shown(metrics);
    expect(page.get('ringkv_ws_request_seconds_count delete')).toBe(BUCKETS_MS.length + 1);
    expect(page.get('ringkv_ws_request_seconds_sum delete')).toBeCloseTo((sum + 2 * longest) / 1000, 6);
  });
});
