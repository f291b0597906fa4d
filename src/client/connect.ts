/** Makes a client of its options and checks these. */
import { systemClock } from '../base/clock.ts';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Random, systemSeed } from '../base/random.ts';
import { Caller } from './caller.ts';
import { Client } from './client.ts';
import { Hedge } from './hedge.ts';
import { HttpLink } from './http-link.ts';
import { ClientNode, NodePool } from './node-pool.ts';
import type { Platform } from './platform.ts';
import { Router } from './router.ts';
import type { ConnectOptions, HedgeOptions } from './types.ts';
import { WsLink, webSocketUrl } from './ws-link.ts';

const CONNECTIONS_DEFAULT = 64;
const CONNECTIONS_MAX = 4096;
const RETRIES_DEFAULT = 4;
const RETRIES_MAX = 100;

export function connectOn(platform: Platform, options: ConnectOptions): Client {
  const { nodes: urls, transport = 'http', routing = 'token', tls, hedge } = options;
  const { discover = platform.reachesAll } = options;
  const { connections = CONNECTIONS_DEFAULT, retries = RETRIES_DEFAULT } = options;
  const { timeoutMs = limits.requestTimeoutMsDefault } = options;
  oneOf('transport', transport, ['ws', 'http']);
  oneOf('routing', routing, ['token', 'any']);
  if (typeof discover !== 'boolean')
    throw new BadRequestError(`discover ${JSON.stringify(discover)} is not true or false`);
  within('nodes', urls.length, 1, limits.clientNodesMax);
  within('connections', connections, 1, CONNECTIONS_MAX);
  within('retries', retries, 0, RETRIES_MAX);
  within('timeoutMs', timeoutMs, 1, limits.requestTimeoutMsMax);
  if (hedge !== undefined) checkHedge(hedge);
  const checked = urls.map(checkedUrl);
  if (new Set(checked.map(({ href }) => href)).size < urls.length)
    throw new BadRequestError(`nodes ${urls.join(', ')}: one is there twice`);
  const { clock = systemClock, random = new Random(systemSeed()) } = options;
  const make = (text: string, isNamed: boolean): ClientNode => {
    const url = checkedUrl(text);
    const base = url.href.replace(/\/+$/, '');
    const http = new HttpLink(base, platform.httpNode(url, connections, tls), clock, random, platform.soon);
    const kv =
      transport === 'http' ? http : new WsLink(webSocketUrl(url), { platform, clock, random, tls, http });
    return new ClientNode(base, kv, http, isNamed);
  };
  const pool = new NodePool(urls, make);
  const router = new Router(pool, {
    clock,
    byToken: routing === 'token',
    discovers: discover,
    tokenHi: platform.tokenHi,
  });
  return new Client(
    new Caller(pool, router, {
      clock,
      random,
      timeoutMs,
      retries,
      hedge: hedge === undefined ? null : new Hedge(hedge),
    }),
  );
}

/** ws: and wss: stand for http: and https:. */
function checkedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text.replace(/^ws(s?):/i, 'http$1:')) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new BadRequestError(`${JSON.stringify(text)} is not a URL such as http://127.0.0.1:8080`);
  if (url.search !== '' || url.hash !== '' || url.username !== '')
    throw new BadRequestError(`${JSON.stringify(text)}: a node's URL has no user, query or fragment`);
  return url;
}

function checkHedge({ afterMs = 'p95', share = limits.clientHedgeShareDefault }: HedgeOptions): void {
  if (afterMs !== 'p95' && !(afterMs > 0 && afterMs <= limits.requestTimeoutMsMax))
    throw new BadRequestError(
      `hedge.afterMs ${afterMs} is not 'p95' or from 0 to ${limits.requestTimeoutMsMax}`,
    );
  if (!(share > 0 && share <= limits.clientHedgeShareMax))
    throw new BadRequestError(
      `hedge.share ${share} is not above 0 and at most ${limits.clientHedgeShareMax}`,
    );
}

function oneOf(name: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value))
    throw new BadRequestError(`${name} ${JSON.stringify(value)} is none of ${allowed.join(', ')}`);
}
function within(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new BadRequestError(`${name} ${value} is not a whole number from ${min} to ${max}`);
}
