/**
 * The HTTP and WebSocket front end of one thread, on uWebSockets.js. Everything here runs on the thread that called startFront.
 * uWebSockets.js is loaded by the first call, so that `setHeadLimit` can come before it.
 */
import type { us_listen_socket } from 'uWebSockets.js';
import { ListenError } from '../base/errors.ts';
import type { Front, FrontOptions } from './contract.ts';
import { FrontState } from './front-state.ts';
import { addRoutes } from './routes.ts';
import { WebSockets } from './ws.ts';

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
  const webSockets = new WebSockets(state);
  addRoutes(app, state, webSockets);
  const socket = await listen(app, options.host, options.port, options.sharedPort);
  const port = uws.us_socket_local_port(socket);
  const sweep = setInterval(() => {
    state.sweep();
    webSockets.sweep();
  }, SWEEP_MS);
  let closing: Promise<void> | null = null;
  return {
    port,
    close: (graceMs) => {
      closing ??= (async () => {
        uws.us_listen_socket_close(socket);
        webSockets.stop();
        await drained(state, graceMs);
        clearInterval(sweep);
        webSockets.closeAll();
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
  while (state.busy + state.wsMetrics.inFlight > 0 && state.clock.monotonicMs() < endMs)
    await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
}
