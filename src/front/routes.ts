/** Which path goes where, and the short answers that need no file of their own. Front-end thread. */
import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import { OverloadedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { ShardReply } from '../shard/contract.ts';
import { Batches } from './batch.ts';
import { CLUSTER_CHANGES, ClusterRoutes } from './cluster-routes.ts';
import type { Exchange } from './exchange.ts';
import type { FrontState } from './front-state.ts';
import { kept } from './keep-alive.ts';
import { KeyValue, Kind } from './kv.ts';
import { Metric } from './metrics.ts';
import { HttpError, notFoundPath } from './outcome.ts';
import { queryPairs } from './request-options.ts';
import { Scans } from './scan.ts';
import { scrape } from './scrape.ts';
import type { WebSockets } from './ws.ts';
import { placesTaken } from './ws-closing.ts';
import { isUpgrade, upgradeRequired } from './ws-handshake.ts';
import { WS_PATH } from './ws-wire.ts';

type Handler = (res: HttpResponse, req: HttpRequest) => void;
type ReadHandler = (res: HttpResponse, req: HttpRequest, head: boolean) => void;

const ROOT = {
  name: 'RingKV',
  documentation: 'docs/http-api.md and docs/openapi.json of the package',
  paths: [
    '/v1/kv/{key}',
    '/v1/batch',
    '/v1/scan',
    '/v1/ws',
    '/v1/cluster',
    '/healthz',
    '/readyz',
    '/metrics',
  ],
};

export function addRoutes(app: TemplatedApp, state: FrontState, webSockets: WebSockets): void {
  const kv = new KeyValue(state);
  const batches = new Batches(state);
  const scans = new Scans(state);
  const cluster = new ClusterRoutes(state);
  state.setRoutes({
    takeBody: (exchange) => {
      if (exchange.kind === Kind.BATCH) batches.takeBody(exchange);
      else if (exchange.kind === Kind.CLUSTER) cluster.takeBody(exchange);
      else kv.takeBody(exchange);
    },
    takeReply: (exchange: Exchange, reply: ShardReply) => {
      if (exchange.kind !== Kind.GET) return kv.answerWrite(exchange, reply);
      kv.answerRead(exchange, reply);
      return false;
    },
  });
  boundConnections(app, state);
  app.get('/v1/kv/*', (res, req) => kv.read(res, req, false));
  app.head('/v1/kv/*', (res, req) => kv.read(res, req, true));
  app.put('/v1/kv/*', (res, req) => kv.put(res, req));
  app.del('/v1/kv/*', (res, req) => kv.delete(res, req));
  app.any('/v1/kv/*', notAllowed(state, 'GET, HEAD, PUT, DELETE, OPTIONS'));
  app.post('/v1/batch', (res, req) => batches.post(res, req));
  app.any('/v1/batch', notAllowed(state, 'POST, OPTIONS'));
  const read = (path: string, handler: ReadHandler): void => {
    app.get(path, (res, req) => handler(res, req, false));
    app.head(path, (res, req) => handler(res, req, true));
    app.any(path, notAllowed(state, 'GET, HEAD, OPTIONS'));
  };
  read('/v1/scan', (res, req, head) => scans.get(res, req, head));
  read('/v1/cluster/key/*', (res, req, head) => cluster.key(res, req, head));
  read('/v1/cluster/ring', (res, req, head) => cluster.ring(res, req, head));
  read('/v1/cluster', (res, req, head) => cluster.status(res, req, head));
  for (const change of CLUSTER_CHANGES) {
    app.post(`/v1/cluster/${change}`, (res, req) => cluster.change(res, req));
    app.any(`/v1/cluster/${change}`, notAllowed(state, 'POST, OPTIONS'));
  }
  webSockets.addTo(app);
  app.get(WS_PATH, (res, req) => {
    // For a connection of another size.
    if (isUpgrade(req)) {
      req.setYield(true);
      return;
    }
    const error = upgradeRequired('a request without an upgrade');
    state.refuse(res, error, Metric.OTHER, state.clock.monotonicMs(), false);
  });
  app.any(WS_PATH, notAllowed(state, 'GET, OPTIONS'));
  read('/metrics', (res, req, head) => scrape(state, res, req, head));
  read(
    '/',
    document(state, () => ROOT),
  );
  read(
    '/healthz',
    document(state, () => ({ status: 'ok' })),
  );
  read('/readyz', readiness(state));
  app.any('/*', (res, req) => {
    const head = req.getCaseSensitiveMethod() === 'HEAD';
    state.refuse(res, notFoundPath(req.getUrl()), Metric.OTHER, state.clock.monotonicMs(), head);
  });
}

function document(state: FrontState, describe: () => unknown): ReadHandler {
  return (res, req, head) => {
    const startMs = state.clock.monotonicMs();
    try {
      queryPairs(req.getQuery() ?? '', []);
      state.answers.endJson(res, 200, Buffer.from(JSON.stringify(describe())), head);
      state.metrics.count(Metric.OTHER, 200, startMs);
    } catch (error) {
      state.refuse(res, error, Metric.OTHER, startMs, head);
    }
  };
}

function readiness(state: FrontState): ReadHandler {
  const ready = document(state, () => ({ status: 'ready' }));
  return (res, req, head) => {
    const reason = state.options.notReady();
    if (reason === '') {
      ready(res, req, head);
      return;
    }
    const startMs = state.clock.monotonicMs();
    const http = state.answers.fail(res, Status.UNAVAILABLE, reason, -1, head);
    state.metrics.count(Metric.OTHER, http, startMs);
  };
}

function notAllowed(state: FrontState, allow: string): Handler {
  return (res, req) => {
    const startMs = state.clock.monotonicMs();
    const method = req.getCaseSensitiveMethod();
    if (method === 'OPTIONS') {
      res.writeStatus('204 No Content');
      res.writeHeader('Allow', kept(allow));
      state.answers.endEmpty(res);
      state.metrics.count(Metric.OTHER, 204, startMs);
      return;
    }
    const message = `${method} is not allowed here; allowed are ${allow}`;
    const error = new HttpError(405, 'METHOD_NOT_ALLOWED', message, allow);
    state.refuse(res, error, Metric.OTHER, startMs, method === 'HEAD');
  };
}

/**
 * Connections beyond the limit are told so, whatever they ask for, and end. A few of them at a time: each stays until its client has
 * read that, or for 8 to 12 s. What comes beyond those is closed without a word.
 */
function boundConnections(app: TemplatedApp, state: FrontState): void {
  const { metrics, wsMetrics, options } = state;
  const { connectionsMax = limits.connectionsMax, connectionsRefusedMax = limits.connectionsRefusedMax } =
    options;
  const limit = (res: HttpResponse, change: number): void => {
    metrics.connections += change;
    if (change < 0) return;
    const taken = placesTaken(
      { connections: metrics.connections, closing: wsMetrics.closing },
      connectionsMax,
    );
    if (taken <= connectionsMax) return;
    metrics.connectionsRefused++;
    if (taken > connectionsMax + connectionsRefusedMax) {
      res.close();
      return;
    }
    const closing = wsMetrics.closing === 0 ? '' : ` and ${wsMetrics.closing} are closing`;
    const error = new OverloadedError(
      `${metrics.connections - 1} connections are open${closing}; the limit is ${connectionsMax}; nothing was done`,
    );
    state.answers.refuse(res, error, false, true);
  };
  app.filter(limit as Parameters<TemplatedApp['filter']>[0]);
}
