/**
 * Lists of seeds as operators write them, for nodes that have nothing else to find their cluster by: the addresses of nodes that are there;
 * those behind addresses of machines that are there and where no node is any more; or one name for all nodes, which leads to one after another of them, and so to the
 * node itself at times.
 */
import type { Random } from '../../src/base/random.ts';
import type { Cluster } from './cluster.ts';
import type { ConnectionDefect } from './connection-defects.ts';

import type { TcpNetwork } from './tcp-network.ts';

export const SEED_LISTS = ['addresses', 'gone-first', 'one-name'] as const;
export type SeedList = (typeof SEED_LISTS)[number];
/** Refused: where a dial hangs it keeps its place, in a table that simulations make shorter than a list of seeds may be. */
const GONE_PORTS = [7001, 7002];
const NAME = 'all';
const TURN_US = 700_000;

/** Three nodes in ten are told so; a defect of seeds shows only by the list that it is of. */
export function seedListOf(random: Random, defect: ConnectionDefect | null): SeedList {
  const drawn = random.pick<SeedList>(['addresses', 'addresses', 'addresses', ...SEED_LISTS]);
  if (defect === 'dead-seeds-fill') return 'gone-first';
  return defect === 'seed-given-up' ? 'one-name' : drawn;
}

/** `addresses`: of nodes that are there. */
export function seedsBy(list: SeedList, addresses: readonly string[]): readonly string[] {
  if (addresses.length === 0 || list === 'addresses') return addresses;
  if (list === 'one-name') return [`${NAME}:7000`];
  const [host] = (addresses[0] as string).split(':');
  return [...GONE_PORTS.map((port) => `${host}:${port}`), ...addresses];
}

/** The name leads to each machine in turn from now on, whether it runs or not: to the one that makes the cluster last. */
export function turnName(tcp: TcpNetwork, cluster: Cluster, turn = 0): void {
  const { machines } = cluster;
  const machine = machines[machines.length - 1 - (turn % machines.length)];
  if (machine !== undefined) tcp.assign(NAME, tcp.host(machine.name));
  cluster.site.scheduler.after(TURN_US, () => turnName(tcp, cluster, turn + 1));
}
