/** Which simulations have machines with connections and addresses. */
import { Random } from '../../src/base/random.ts';
import { type ConnectionDefect, isConnectionDefect } from './connection-defects.ts';
import type { Defect } from './defects.ts';

/** Messages alone (sim-network.ts), or connections and addresses too (connection-network.ts). */
export type NetworkKind = 'messages' | 'connections';

export interface ConnectionPlan {
  readonly hasConnections: boolean;
  readonly defect: ConnectionDefect | null;
  readonly otherDefect: Defect | null;
}

/** Of the seeds for which nothing else is said. */
const CONNECTIONS_CHANCE = 0.3;

/** The seed decides, from a generator of its own, where neither a defect nor the caller does. */
export function planConnections(
  seed: number,
  planted: Defect | ConnectionDefect | null,
  network: NetworkKind | null,
): ConnectionPlan {
  const defect = planted !== null && isConnectionDefect(planted) ? planted : null;
  const otherDefect = planted !== null && !isConnectionDefect(planted) ? planted : null;
  const isDrawn = planted === null && new Random(~seed).chance(CONNECTIONS_CHANCE);
  const hasConnections = network === null ? defect !== null || isDrawn : network === 'connections';
  return { hasConnections, defect, otherDefect };
}
