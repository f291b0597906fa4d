/**
 * Asks seeds for the ring of their cluster over connections of its own, which end with the answer: they greet without the id of this
 * node's own cluster, which its other connections bear. Peer worker.
 */
import type { Timers } from '../cluster/contract.ts';
import type { RingMap } from '../cluster/ring-map.ts';
import { RingProbe } from '../cluster/ring-probe.ts';
import { Transport, type TransportOptions } from './transport.ts';

export type AskingOptions = Omit<
  TransportOptions,
  'clusterId' | 'onMessage' | 'onConnected' | 'onDisconnected'
>;

/** Rejects with UnavailableError, which names what came of each seed. */
export async function askRing(
  options: AskingOptions,
  timers: Timers,
  seeds: readonly string[],
): Promise<RingMap> {
  const transport: Transport = new Transport({
    ...options,
    clusterId: '',
    onMessage: (_, message) => probe.receive(message),
    onConnected: () => undefined,
    onDisconnected: () => undefined,
  });
  const world = { clock: options.clock, timers, network: transport };
  const probe = new RingProbe(world, seeds, () => transport.seedStandings());
  try {
    return await probe.ring();
  } finally {
    await transport.close();
  }
}
