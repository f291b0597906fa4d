/**
 * Nodes of other clusters that know the addresses of this one, and whom its old addresses come to lead to. They dial, greet with the
 * product's own transport, and send what they can. Nothing of it may reach anybody.
 */
import { Random } from '../../src/base/random.ts';
import { encodeRingAgreement } from '../../src/cluster/messages.ts';
import type { Cluster } from './cluster.ts';
import { STRANGERS } from './connection-faults.ts';
import { CLUSTER_NAME, type ConnectionNetwork, type Party } from './connection-network.ts';
import { ProcessLife } from './process-life.ts';
import { SimClock } from './sim-clock.ts';

const ASK_US = 1_000_000;
const PORT = 7000;
/** One is of a cluster with this one's name. */
const CLUSTERS = [
  { name: CLUSTER_NAME, id: 'f'.repeat(32) },
  { name: 'other', id: 'e'.repeat(32) },
] as const;

export class Strangers {
  readonly #cluster: Cluster;
  readonly #network: ConnectionNetwork;
  readonly #random: Random;
  readonly #parties: readonly Party[];
  #isEnded = false;

  constructor(cluster: Cluster, network: ConnectionNetwork, random: Random) {
    this.#cluster = cluster;
    this.#network = network;
    this.#random = random;
    const { scheduler } = cluster.site;
    this.#parties = STRANGERS.map((machine, at) => {
      const clock = new SimClock(scheduler);
      const { name, id } = CLUSTERS[at] as (typeof CLUSTERS)[number];
      const self = (random.uint32() | 1) >>> 0;
      const nodeId = self.toString(16).padStart(8, '0') + 'd'.repeat(24);
      const hears = {
        onMessage: () => undefined,
        // One of this cluster's name may find a node that knows no id yet, for as long as that is so.
        onConnected: (node: number) => {
          if (name !== CLUSTER_NAME)
            network.breach(
              'nothing of another cluster gets past the hello',
              `${machine} is connected with ${node}`,
            );
        },
        onDisconnected: () => undefined,
      };
      const life = new ProcessLife(scheduler, clock);
      const log = (): void => undefined;
      const process = {
        self,
        nodeId,
        generation: 1,
        clusterId: id,
        machine,
        address: `${machine}:${PORT}`,
        life,
        clock: clock.ofProcess(),
        hears,
        log,
      };
      const party = network.join({ ...process, random: new Random(random.uint32()) }, name, at + 1);
      void party.transport.listen(machine, PORT);
      return party;
    });
  }

  start(): void {
    this.#ask();
  }
  end(): void {
    this.#isEnded = true;
    for (const { transport } of this.#parties) void transport.close();
  }

  #ask(): void {
    if (this.#isEnded) return;
    const { present } = this.#cluster;
    const party = this.#random.pick(this.#parties);
    const { number, address } = this.#random.pick(present);
    party.transport.setAddress(number, address);
    const message = encodeRingAgreement({ kind: 'ring-fetch', have: 0 });
    this.#network.send(party, number, message);
    party.transport.sendTo(this.#random.pick(present).address, message);
    this.#cluster.site.scheduler.after(ASK_US, () => this.#ask());
  }
}
