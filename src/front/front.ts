/**
 * The HTTP front end of one thread, on uWebSockets.js. Everything here runs on the thread that called startFront.
 * uWebSockets.js is loaded by the first call, so that `setHeadLimit` can come before it.
 */
import type { HttpRequest, HttpResponse, us_listen_socket } from 'uWebSockets.js';
import { ListenError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ShardReply } from '../shard/contract.ts';
import type { Front, FrontOptions } from './contract.ts';
import type { Exchange } from './exchange.ts';
import { FrontState } from './front-state.ts';
import { KeyValue, Kind } from './kv.ts';
import { Metric } from './metrics.ts';
import { HttpError, notFoundPath } from './outcome.ts';

/** us_listen options of uWebSockets.js, whose types name them and whose module does not. */
const LISTEN_SHARED = 0;
const LISTEN_EXCLUSIVE = 1;
const SWEEP_MS = 1000;
const DRAIN_POLL_MS = 5;

type Uws = typeof import('uWebSockets.js');
const loadUws = (): Promise<Uws> => import('uWebSockets.js');

/**
 * Starts to serve. Rejects with a ListenError that names host and port where they cannot be listened on. With
 * `sharedPort` a port of 0 is of no use to the others: ask `probePort` first.
 */
export async function startFront(options: FrontOptions): Promise<Front> {
  const uws = await loadUws();
  const app = uws.App();
  const state = new FrontState(options);
  addRoutes(app, state);
  const socket = await listen(app, options.host, options.port, options.sharedPort);
  const sweep = setInterval(() => state.sweep(), SWEEP_MS);
  let closing: Promise<void> | null = null;
  return {
    port: uws.us_socket_local_port(socket),
    close: (graceMs) => {
      closing ??= (async () => {
        uws.us_listen_socket_close(socket);
        await drained(state, graceMs);
        clearInterval(sweep);
        app.close();
      })();
      return closing;
    },
  };
}

type App = ReturnType<Uws['App']>;
/** The types of uWebSockets.js lack the form with a host and options. */
interface ExclusiveListen {
  listen(host: string, port: number, options: number, done: (socket: us_listen_socket | false) => void): App;
}

function listen(app: App, host: string, port: number, shared: boolean): Promise<us_listen_socket> {
  return new Promise((resolve, reject) => {
    const options = shared ? LISTEN_SHARED : LISTEN_EXCLUSIVE;
    (app as unknown as ExclusiveListen).listen(host, port, options, (socket) => {
      if (socket === false)
        reject(
          new ListenError(
            `cannot listen on ${host}:${port}: the port is taken, or the host is not an address of this machine`,
          ),
        );
      else resolve(socket);
    });
  });
}

/**
 * Listens on a port for itself alone and gives it up again: its number, a free one where `port` is 0. For the
 * node, before several front ends share the port, for shared listening succeeds beside other processes that share.
 */
export async function probePort(host: string, port: number): Promise<number> {
  const uws = await loadUws();
  const app = uws.App();
  const socket = await listen(app, host, port, false);
  const taken = uws.us_socket_local_port(socket);
  uws.us_listen_socket_close(socket);
  app.close();
  return taken;
}

/** Resolves when no request is in flight, or graceMs have passed. */
async function drained(state: FrontState, graceMs: number): Promise<void> {
  const endMs = state.clock.monotonicMs() + graceMs;
  while (state.busy > 0 && state.clock.monotonicMs() < endMs)
    await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
}

type Handler = (res: HttpResponse, req: HttpRequest) => void;

function addRoutes(app: App, state: FrontState): void {
  const kv = new KeyValue(state);
  state.setRoutes({
    takeBody: (exchange) => kv.takeBody(exchange),
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
  app.any('/*', (res, req) => {
    const startMs = state.clock.monotonicMs();
    const head = req.getCaseSensitiveMethod() === 'HEAD';
    state.refuse(res, notFoundPath(req.getUrl()), Metric.OTHER, startMs, head);
  });
}

function notAllowed(state: FrontState, allow: string): Handler {
  return (res, req) => {
    const startMs = state.clock.monotonicMs();
    const method = req.getCaseSensitiveMethod();
    if (method === 'OPTIONS') {
      res.writeStatus('204 No Content');
      res.writeHeader('Allow', allow);
      state.answers.endEmpty(res);
      state.metrics.count(Metric.OTHER, 204, startMs);
      return;
    }
    const message = `${method} is not allowed here; allowed are ${allow}`;
    const error = new HttpError(405, 'METHOD_NOT_ALLOWED', message, allow);
    state.refuse(res, error, Metric.OTHER, startMs, method === 'HEAD');
  };
}

/** Closes connections beyond the limit as they come. */
function boundConnections(app: App, state: FrontState): void {
  const { metrics } = state;
  const limit = (res: HttpResponse, change: number): void => {
    metrics.connections += change;
    if (change > 0 && metrics.connections > limits.connectionsMax) {
      metrics.connectionsRefused++;
      res.close();
    }
  };
  app.filter(limit as Parameters<App['filter']>[0]);
}
