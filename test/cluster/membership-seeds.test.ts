import { Encoder } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { Membership } from '../../src/cluster/membership.ts';
import { testSeed } from '../seed.ts';
import { MemoryDocuments } from './gossip-network.ts';
import { ManualTimers } from './manual-timers.ts';

const seed = testSeed();
/** As long as a dial that hangs takes to be given up: src/peer. */
const DIAL_MS = limits.peerHandshakeMs;
const HOUR_MS = 3_600_000;

/** A node alone whose dials all hang, with room for so many at a time; how often each address got it. */
async function alone(room: number, seeds: readonly string[], ring: ReadonlyMap<number, string>) {
  const timers = new ManualTimers();
  const documents = new MemoryDocuments();
  // Each has told another address than that in the ring.
  const told = [...ring.keys()].map((number) => [number, `elsewhere-${number}:1`]);
  documents.save('addresses', new Encoder({ useRecords: false }).encode(told), () => undefined);
  const underWay = new Map<string, number>();
  const dialled = new Map<string, number>();
  const sendTo = (address: string): boolean => {
    const nowMs = timers.clock.monotonicMs();
    for (const [other, endMs] of underWay) if (endMs <= nowMs) underWay.delete(other);
    if (underWay.has(address)) return true;
    if (underWay.size >= room) return false;
    underWay.set(address, nowMs + DIAL_MS);
    dialled.set(address, (dialled.get(address) ?? 0) + 1);
    return true;
  };
  const nothing = (): void => undefined;
  const network = {
    send: () => false,
    sendTo,
    features: () => FEATURES,
    setAddress: nothing,
    forget: nothing,
  };
  const { clock } = timers;
  const membership = new Membership(
    { self: 1, clock, timers, random: new Random(seed), documents, log: nothing, network },
    { address: 'n1:1', seeds },
    { onLiveness: nothing, onFacts: nothing },
  );
  await new Promise<void>((resolve, reject) => {
    membership.start((error) => (error === null ? resolve() : reject(error)));
  });
  membership.expect([...ring].map(([number, address]) => ({ number, address })));
  timers.advance(HOUR_MS);
  membership.stop();
  return dialled;
}

describe(`a node alone that knows more addresses than there is room for, seed ${seed},`, () => {
  const seeds = ['n2:1', 'n3:1', 'n4:1', 'n5:1', 'n6:1', 'n7:1'];

  it('asks each of its seeds, wherever it is in the list', async () => {
    const dialled = await alone(2, ['n1:1', ...seeds], new Map());
    expect([...dialled.keys()].sort()).toEqual(seeds);
    // Each in its turn: an hour has room for as many dials of each.
    const fair = (2 * HOUR_MS) / DIAL_MS / seeds.length;
    expect(Math.min(...dialled.values())).toBeGreaterThan(fair / 3);
  });

  it('asks at the addresses of the ring as well, where its seeds alone would fill that room', async () => {
    const ring = new Map([
      [8, 'n8:1'],
      [9, 'n9:1'],
    ]);
    const dialled = await alone(2, seeds, ring);
    expect([...dialled.keys()].sort()).toEqual([...seeds, ...ring.values()]);
  });

  it('asks its seeds, where the addresses of the ring alone would fill it', async () => {
    const ring = new Map(Array.from({ length: 6 }, (_, i) => [i + 10, `n${i + 10}:1`] as const));
    const dialled = await alone(2, ['n2:1'], ring);
    expect([...dialled.keys()].sort()).toEqual([...ring.values(), 'n2:1']);
  });
});
