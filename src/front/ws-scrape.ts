/** The WebSocket protocol on the metrics page. */
import { statusName } from '../base/status.ts';
import { type Family, histogramSamples, type MetricType, type Sample } from './metric-samples.ts';
import { CLOSE_REASONS, WS_METRIC_OPS, WS_STATUSES, type WsMetrics } from './ws-metrics.ts';

const SECONDS = 'ringkv_ws_request_seconds';

export function wsFamilies(metrics: WsMetrics, frontend: number): Family[] {
  const one = (value: number): Sample[] => [{ labels: { frontend }, value }];
  const family = (name: string, type: MetricType, help: string, samples: readonly Sample[]): Family => ({
    name: `ringkv_ws_${name}`,
    type,
    help,
    samples,
  });
  const counter = (name: string, help: string, value: number): Family =>
    family(name, 'counter', help, one(value));
  const gauge = (name: string, help: string, value: number): Family =>
    family(name, 'gauge', help, one(value));
  const requests = WS_METRIC_OPS.flatMap((op, index) =>
    WS_STATUSES.map((status) => ({
      labels: { frontend, op, status: statusName(status) },
      value: metrics.requests(index, status),
    })),
  ).filter(({ value }) => value > 0);
  const closed = CLOSE_REASONS.map((reason) => ({
    labels: { frontend, reason },
    value: metrics.closed[reason],
  }));
  const seconds = WS_METRIC_OPS.flatMap((op, index) =>
    histogramSamples(
      SECONDS,
      { frontend, op },
      (bucket) => metrics.bucket(index, bucket),
      metrics.sumMs(index),
    ),
  );
  return [
    family(
      'requests_total',
      'counter',
      'Requests answered over WebSocket, by operation and status.',
      requests,
    ),
    family('request_seconds', 'histogram', 'From the message of a request to its answer.', seconds),
    counter('requests_aborted_total', 'Requests whose client was gone before the answer.', metrics.aborted),
    gauge('requests_in_flight', 'Requests at the shards or the coordinator.', metrics.inFlight),
    gauge('connections', 'Open WebSocket connections.', metrics.connections),
    gauge('connections_closing', 'Those that were closed with a frame just now.', metrics.closing),
    gauge('connections_paused', 'Those whose requests are refused until their client reads.', metrics.paused),
    counter('connections_refused_total', 'Upgrades refused beyond the limit.', metrics.connectionsRefused),
    family('connections_closed_total', 'counter', 'Connections that ended, by reason.', closed),
    counter('messages_received_total', 'Messages of requests.', metrics.messagesIn),
    counter('messages_sent_total', 'Messages of answers.', metrics.messagesOut),
    counter('received_bytes_total', 'Bytes of messages of requests.', metrics.bytesIn),
    counter('sent_bytes_total', 'Bytes of messages of answers.', metrics.bytesOut),
    gauge('answers_bytes', 'Bytes of answers that wait for clients to read.', metrics.bufferedBytes),
  ];
}
