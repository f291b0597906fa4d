/** Which upgrade requests become WebSocket connections. Front-end thread. */
import type { HttpRequest } from 'uWebSockets.js';
import { BadRequestError } from '../base/errors.ts';
import { HttpError, short } from './outcome.ts';
import { queryPairs } from './request-options.ts';
import { SUB_PROTOCOL } from './ws-wire.ts';

const VERSION = '13';

/** What uWebSockets.js takes for an upgrade. */
const KEY_CHARACTERS = 24;
export const isUpgrade = (req: HttpRequest): boolean =>
  req.getHeader('sec-websocket-key').length === KEY_CHARACTERS;

/** Throws where the request is refused. */
export function checkUpgrade(req: HttpRequest): void {
  queryPairs(req.getQuery() ?? '', []);
  const version = req.getHeader('sec-websocket-version');
  if (version !== VERSION)
    throw upgradeRequired(`Sec-WebSocket-Version ${short(version)}; the version is ${VERSION}`);
  const offered = req.getHeader('sec-websocket-protocol');
  if (!offered.split(',').some((name) => name.trim() === SUB_PROTOCOL))
    throw new BadRequestError(
      `Sec-WebSocket-Protocol ${short(offered)} does not offer ${SUB_PROTOCOL}, the one that is spoken here`,
    );
  checkOrigin(req.getHeader('origin'), req.getHeader('host'));
}

/**
 * Browsers let every page open WebSocket connections anywhere, with no question asked beforehand, and name the page's
 * origin: pages of this server alone may. Other clients send none.
 */
function checkOrigin(origin: string, host: string): void {
  if (origin === '' || origin === `http://${host}` || origin === `https://${host}`) return;
  throw new HttpError(
    403,
    'BAD_REQUEST',
    `Origin ${short(origin)} is not this server, ${short(host)}: a page of another site may not connect`,
  );
}

/** For a request without the headers of an upgrade. */
export const upgradeRequired = (what: string): HttpError =>
  new HttpError(426, 'BAD_REQUEST', `${what}; connect with WebSocket and the sub-protocol ${SUB_PROTOCOL}`);
