/**
 * How many connections a front end of this process takes. A process that runs out of descriptors accepts nothing more and opens no
 * table either: uWebSockets.js then tries the same connection again and again, without a word. So connections end where the descriptors
 * do that are left beside tables, logs and other nodes, and further ones get their 503.
 */
import { limits } from '../base/limits.ts';
import type { OpenFiles } from '../vfs/open-files.ts';

export interface ConnectionLimits {
  readonly connectionsMax: number;
  /** Of these, over WebSocket. */
  readonly wsConnectionsMax: number;
  /** Beyond connectionsMax: answered 503. */
  readonly connectionsRefusedMax: number;
}

const FULL: ConnectionLimits = {
  connectionsMax: limits.connectionsMax,
  wsConnectionsMax: limits.wsConnectionsMax,
  connectionsRefusedMax: limits.connectionsRefusedMax,
};
/** Of the connections that there is room for, those that may be told that there is none. */
const REFUSED_SHARE = 1 / 8;
const WS_SHARE = limits.wsConnectionsMax / limits.connectionsMax;

/** `files` as they are when the shards are open; null where there is no limit. `warning` is '' where all fit. */
export function connectionLimitsOf(
  files: OpenFiles | null,
  frontends: number,
): { readonly each: ConnectionLimits; readonly warning: string } {
  if (files === null) return { each: FULL, warning: '' };
  const { max, open } = files;
  const reserved = Math.max(limits.descriptorsReserved, open);
  const needed = open + reserved + frontends * (FULL.connectionsMax + FULL.connectionsRefusedMax);
  if (max >= needed) return { each: FULL, warning: '' };
  const free = Math.max(0, max - open);
  // Where little is left, connections get half of it.
  const room = Math.floor((free - Math.min(reserved, Math.floor(free / 2))) / frontends);
  const connectionsRefusedMax = atLeastOne(Math.min(FULL.connectionsRefusedMax, room * REFUSED_SHARE));
  const connectionsMax = atLeastOne(Math.min(FULL.connectionsMax, room - connectionsRefusedMax));
  const wsConnectionsMax = atLeastOne(connectionsMax * WS_SHARE);
  const warning =
    `this process may have ${max} open files (ulimit -n), and ${frontends} x ${FULL.connectionsMax} connections beside tables, logs and ` +
    `other nodes need ${needed}: each front end takes ${connectionsMax}, ${wsConnectionsMax} of them over WebSocket, and answers further ones 503`;
  return { each: { connectionsMax, wsConnectionsMax, connectionsRefusedMax }, warning };
}

const atLeastOne = (count: number): number => Math.max(1, Math.floor(count));
