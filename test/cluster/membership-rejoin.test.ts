import { describe, expect, it } from 'vitest';
import { CorruptionError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import type { Contact } from '../../src/cluster/membership-contacts.ts';
import { testSeed } from '../seed.ts';
import { GossipNetwork, type GossipNode, MemoryDocuments } from './gossip-network.ts';

const seed = testSeed();
const addressOf = (number: number): string => `10.0.0.${number}:9080`;
const ringOf = (count: number): Contact[] =>
  Array.from({ length: count }, (_, i) => ({ number: i + 1, address: addressOf(i + 1) }));

/** Nodes whose disks outlive them. None has seeds unless a test gives them. */
class Machines {
  readonly network = new GossipNetwork({ seed, lossChance: 0.05 });
  readonly ring: readonly Contact[];
  readonly #disks = new Map<number, MemoryDocuments>();
  readonly running = new Map<number, GossipNode>();

  constructor(count: number) {
    this.ring = ringOf(count);
  }
  start(number: number, address = addressOf(number), seeds: readonly string[] = []): GossipNode {
    const documents = this.#disks.get(number) ?? new MemoryDocuments();
    this.#disks.set(number, documents);
    const node = this.network.start({ number, address, seeds, documents, ring: this.ring });
    this.running.set(number, node);
    return node;
  }
  startAll(): void {
    for (const { number } of this.ring) this.start(number);
  }
  kill(number: number): void {
    const node = this.running.get(number);
    if (node !== undefined) this.network.kill(node);
    this.running.delete(number);
  }
  killAll(): void {
    for (const number of [...this.running.keys()]) this.kill(number);
  }
  whole(msMax: number): Promise<number> {
    return this.network.until(() => this.network.isWhole, msMax);
  }
}

describe(`members of a ring after a restart, seed ${seed},`, () => {
  it('find each other without seeds when all of them went down', async () => {
    const machines = new Machines(9);
    machines.startAll();
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
    machines.killAll();
    machines.startAll();
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
  });

  it('are found whenever they come', async () => {
    const machines = new Machines(3);
    machines.start(1);
    await machines.network.advance(120_000);
    machines.start(3);
    expect(await machines.whole(5000)).toBeGreaterThan(0);
    await machines.network.advance(120_000);
    machines.start(2);
    expect(await machines.whole(5000)).toBeGreaterThan(0);
  });

  it('are asked as soon as a connection with them is there', async () => {
    const network = new GossipNetwork({ seed, lossChance: 0, latencyMsMax: 2 });
    const node = network.start({ number: 1, address: addressOf(1), seeds: [], ring: ringOf(2) });
    const other = network.start({ number: 2, address: addressOf(2), seeds: [] });
    await network.advance(0);
    node.membership.onConnected(2);
    await network.advance(50);
    expect([node.membership.isUp(2), other.membership.isUp(1)]).toEqual([true, true]);
  });

  it('find a node that came back at another address, and are found by it', async () => {
    const machines = new Machines(4);
    machines.startAll();
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
    machines.killAll();
    for (const number of [1, 2, 4]) machines.start(number);
    machines.start(3, '10.0.1.3:9080');
    // A message of its life before may still come, and tell the old one for a moment.
    const isKnown = (): boolean =>
      [1, 2, 4].every(
        (number) => machines.running.get(number)?.membership.member(3)?.address === '10.0.1.3:9080',
      );
    const found = await machines.network.until(() => machines.network.isWhole && isKnown(), 10_000);
    expect(found).toBeGreaterThan(0);
  });

  it('remember addresses to which all of them moved, one after another', async () => {
    const machines = new Machines(3);
    const movedTo = (number: number): string => `10.0.1.${number}:9080`;
    machines.startAll();
    for (const number of [1, 2, 3]) {
      expect(await machines.whole(10_000)).toBeGreaterThanOrEqual(0);
      // Until its own disk has the addresses of those before it: one that dies sooner has moved at once with them.
      await machines.network.advance(2 * limits.addressesSaveMs);
      machines.kill(number);
      machines.start(number, movedTo(number));
    }
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
    await machines.network.advance(2 * limits.addressesSaveMs);
    machines.killAll();
    for (const number of [1, 2, 3]) machines.start(number, movedTo(number));
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
    // And back to where the ring says that they are.
    machines.killAll();
    machines.startAll();
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
  });

  it('need seeds only where all of them have moved at once', async () => {
    const machines = new Machines(3);
    machines.startAll();
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
    machines.killAll();
    const movedTo = (number: number): string => `10.0.1.${number}:9080`;
    for (const number of [1, 2, 3]) machines.start(number, movedTo(number));
    expect(await machines.whole(60_000)).toBe(-1);
    machines.killAll();
    for (const number of [1, 2, 3]) machines.start(number, movedTo(number), [movedTo(1)]);
    expect(await machines.whole(10_000)).toBeGreaterThan(0);
  });

  it('that hear nobody any more ask whoever listens now where another did', async () => {
    const network = new GossipNetwork({ seed });
    const ring = ringOf(3);
    const alone = network.start({ number: 3, address: '10.0.1.3:9080', seeds: [], ring });
    const others = [1, 2].map((number) =>
      network.start({ number, address: addressOf(number), seeds: [], ring }),
    );
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThan(0);
    for (const node of others) network.kill(node);
    const isDown = (number: number): boolean => !alone.membership.isUp(number);
    expect(await network.until(() => isDown(1) && isDown(2), 120_000)).toBeGreaterThan(0);
    // They are back with new disks, one at the other's place, and know the third where the ring says, where it is not.
    network.start({ number: 1, address: addressOf(2), seeds: [], ring });
    network.start({ number: 2, address: '10.0.1.2:9080', seeds: [addressOf(2)], ring });
    expect(await network.until(() => network.isWhole, 60_000)).toBeGreaterThan(0);
  });

  it('do not take another node for the one whose address it has now', async () => {
    const machines = new Machines(3);
    machines.start(1);
    machines.start(2);
    const stranger = machines.network.start({ number: 77, address: addressOf(3), seeds: [] });
    await machines.network.advance(30_000);
    expect(machines.running.get(1)?.membership.isUp(2)).toBe(true);
    expect(machines.running.get(1)?.membership.isUp(3)).toBe(false);
    expect([...stranger.membership.members()].length).toBe(1);
  });

  it('are asked a few at a time, and no more once they are heard of', async () => {
    const { network, start } = newQuiet();
    const node = start(ringOf(500));
    await network.advance(60_000);
    const rounds = 60_000 / limits.gossipIntervalMs / 0.9;
    expect(network.messages).toBeGreaterThan(limits.contactsAskedMax);
    expect(network.messages).toBeLessThan((rounds + 2) * limits.contactsAskedMax);
    node.membership.stop();
    const stopped = network.messages;
    await network.advance(60_000);
    expect(network.messages).toBe(stopped);
  });

  it('that left the ring are not looked for', async () => {
    const { network, start } = newQuiet();
    const node = start(ringOf(3));
    await network.advance(5000);
    expect(network.messages).toBeGreaterThan(0);
    node.membership.expect([]);
    const before = network.messages;
    await network.advance(60_000);
    expect(network.messages).toBe(before);
  });

  it('keep nothing on disk while addresses are those of the ring', async () => {
    const documents = new MemoryDocuments();
    const network = new GossipNetwork({ seed });
    network.start({ number: 1, address: addressOf(1), seeds: [], documents, ring: ringOf(2) });
    network.start({ number: 2, address: addressOf(2), seeds: [], ring: ringOf(2) });
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThan(0);
    await network.advance(60_000);
    expect(documents.load('addresses')).toBe(null);
  });

  it('say so where the document of addresses is none', () => {
    const documents = new MemoryDocuments();
    documents.save('addresses', Uint8Array.from([0x82, 0x01, 0x02]), () => undefined);
    const network = new GossipNetwork({ seed });
    expect(() => network.start({ number: 1, address: addressOf(1), seeds: [], documents })).toThrow(
      CorruptionError,
    );
  });
});

function newQuiet(): {
  readonly network: GossipNetwork;
  readonly start: (ring: readonly Contact[]) => GossipNode;
} {
  const network = new GossipNetwork({ seed });
  return {
    network,
    start: (ring) => network.start({ number: 1, address: addressOf(1), seeds: [], ring }),
  };
}
