import { Encoder } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { Membership } from '../../src/cluster/membership.ts';
import { Claim, encodeGossip } from '../../src/cluster/membership-messages.ts';
import { testSeed } from '../seed.ts';
import { MemoryDocuments } from './gossip-network.ts';
import { ManualTimers } from './manual-timers.ts';

const seed = testSeed();
/** As long as a dial that hangs takes to be given up: src/peer. */
const DIAL_MS = limits.peerHandshakeMs;
const HOUR_MS = 3_600_000;
/** Often enough to answer each probe. */
const HEARD_MS = limits.probeTimeoutMs / 2;
const nothing = (): void => undefined;

/** Node 1, and when it dialled which addresses: all dials hang, and there is room for so many at a time. */
class Seeking {
  readonly timers = new ManualTimers();
  readonly #documents = new MemoryDocuments();
  readonly #room: number;
  readonly #underWay = new Map<string, number>();
  readonly dialled = new Map<string, number[]>();
  readonly membership: Membership;

  /** `ring`: members, each of which has told another address than that in the ring. */
  constructor(room: number, seeds: readonly string[], ring: ReadonlyMap<number, string> = new Map()) {
    this.#room = room;
    const told = [...ring.keys()].map((number) => [number, `elsewhere-${number}:1`]);
    this.#documents.save('addresses', new Encoder({ useRecords: false }).encode(told), nothing);
    const { timers } = this;
    this.membership = new Membership(
      {
        self: 1,
        clock: timers.clock,
        timers,
        random: new Random(seed),
        documents: this.#documents,
        log: nothing,
        network: {
          send: () => false,
          sendTo: (address) => this.#dial(address),
          features: () => FEATURES,
          setAddress: nothing,
          forget: nothing,
        },
      },
      { address: 'n1:1', seeds },
      { onLiveness: nothing, onFacts: nothing },
    );
    this.membership.expect([...ring].map(([number, address]) => ({ number, address })));
  }
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.membership.start((error) => (error === null ? resolve() : reject(error)));
    });
  }
  /** Says that it is there. */
  hear(number: number, address: string): void {
    const facts = {
      generation: 1,
      incarnation: 0,
      claim: Claim.UP,
      accuser: 0,
      version: 0,
      base: 0,
      facts: [],
    };
    this.membership.receive(number, encodeGossip({ kind: 'news', news: [{ number, address, ...facts }] }));
  }

  #dial(address: string): boolean {
    const nowMs = this.timers.clock.monotonicMs();
    for (const [other, endMs] of this.#underWay) if (endMs <= nowMs) this.#underWay.delete(other);
    if (this.#underWay.has(address)) return true;
    if (this.#underWay.size >= this.#room) return false;
    this.#underWay.set(address, nowMs + DIAL_MS);
    this.dialled.set(address, [...(this.dialled.get(address) ?? []), nowMs]);
    return true;
  }
}

describe(`a node that knows more addresses than there is room for, seed ${seed},`, () => {
  const seeds = ['n2:1', 'n3:1', 'n4:1', 'n5:1', 'n6:1', 'n7:1'];

  it('asks each of its seeds while it is alone, wherever it is in the list', async () => {
    const node = new Seeking(2, ['n1:1', ...seeds]);
    await node.start();
    node.timers.advance(HOUR_MS);
    expect([...node.dialled.keys()].sort()).toEqual(seeds);
    // So many dials an hour has room for, for each.
    const fair = (2 * HOUR_MS) / DIAL_MS / seeds.length;
    for (const times of node.dialled.values()) expect(times.length).toBeGreaterThan(fair / 3);
  });

  it('asks at the addresses of the ring as well, where its seeds alone would fill that room', async () => {
    const ring = new Map([
      [8, 'n8:1'],
      [9, 'n9:1'],
    ]);
    const node = new Seeking(2, seeds, ring);
    await node.start();
    node.timers.advance(HOUR_MS);
    expect([...node.dialled.keys()].sort()).toEqual([...seeds, ...ring.values()]);
  });

  it('asks each seed at which no member is up, now and then, where it is not alone', async () => {
    const node = new Seeking(2, seeds);
    await node.start();
    const hearFor = (ms: number): void => {
      for (let gone = 0; gone < ms; gone += HEARD_MS) {
        node.hear(2, 'n2:1');
        node.timers.advance(HEARD_MS);
      }
    };
    hearFor(DIAL_MS);
    node.dialled.clear();
    hearFor(HOUR_MS);
    expect([...node.dialled.keys()].sort()).toEqual(seeds.slice(1));
    const all = [...node.dialled.values()].flat().sort((a, b) => a - b);
    // Two at a time.
    for (const [i, atMs] of all.entries())
      if (i >= 2) expect(atMs - (all[i - 2] ?? atMs)).toBeGreaterThanOrEqual(limits.seedIntervalMs);
  });
});
