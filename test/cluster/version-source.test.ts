import { describe, expect, it } from 'vitest';
import { HybridClock, ManualClock } from '../../src/base/clock.ts';
import { CorruptionError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import type { ClusterWorld } from '../../src/cluster/contract.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { VersionSource } from '../../src/cluster/version-source.ts';
import { testSeed } from '../seed.ts';

/** A node whose saves end when the test says so, and whose documents survive it. */
class Node {
  readonly clock: ManualClock;
  readonly documents: Map<string, Uint8Array>;
  readonly waiting: (() => void)[] = [];
  readonly source: VersionSource;
  failures = 0;
  constructor(startMs: number, documents = new Map<string, Uint8Array>()) {
    this.clock = new ManualClock(startMs);
    this.documents = documents;
    const unused = (): never => {
      throw new Error('not used');
    };
    const world: ClusterWorld = {
      self: 1,
      clock: this.clock,
      random: new Random(1),
      timers: { after: unused },
      network: { send: unused, sendTo: unused, features: () => FEATURES, setAddress: unused, forget: unused },
      documents: {
        load: (name) => documents.get(name) ?? null,
        save: (name, bytes, done) =>
          this.waiting.push(() => {
            if (this.failures-- > 0) done(new Error('full'));
            else {
              documents.set(name, bytes);
              done(null);
            }
          }),
      },
      log: () => undefined,
    };
    this.source = new VersionSource(world, new HybridClock(this.clock));
  }
  saved(): void {
    for (const run of this.waiting.splice(0)) run();
  }
}

const seed = testSeed();
const { versionSlots } = limits;

describe(`the source of versions (seed ${seed})`, () => {
  it('gives none before its ceiling is on disk', () => {
    const node = new Node(1000);
    expect(node.source.next(0)).toBe(0);
    node.saved();
    expect(node.source.next(0)).toBeGreaterThanOrEqual(1_000_000);
  });
  it('gives rising versions without waiting while time goes by', () => {
    const node = new Node(1000);
    node.saved();
    let last = 0;
    for (let i = 0; i < 1000; i++) {
      const version = node.source.next(0);
      expect(version).toBeGreaterThan(last);
      last = version;
      node.clock.advanceMs(20);
      node.saved();
    }
  });
  it('never gives a version again after a crash with a clock that went back', () => {
    const first = new Node(5_000_000);
    first.saved();
    first.source.observe(9_000_000_000);
    expect(first.source.next(0)).toBe(0);
    first.saved();
    const given = first.source.next(0);
    expect(given).toBeGreaterThan(9_000_000_000);
    const second = new Node(1000, first.documents);
    second.source.observe(given - 1);
    second.saved();
    expect(second.source.next(0)).toBeGreaterThan(given);
  });
  it('waits where a version to beat lies above the ceiling', () => {
    const node = new Node(1000);
    node.saved();
    const ahead = 1_000_000 + 10 * limits.versionCeilingUs;
    node.source.observe(ahead);
    expect(node.source.next(0)).toBe(0);
    node.saved();
    expect(node.source.next(0)).toBeGreaterThan(ahead);
  });
  it('saves again after a failure', () => {
    const node = new Node(1000);
    node.failures = 1;
    node.saved();
    expect(node.source.next(0)).toBe(0);
    node.saved();
    expect(node.source.next(0)).toBeGreaterThan(0);
  });
  it('refuses a document of another format', () => {
    const documents = new Map([['versions', new Uint8Array(16).fill(9)]]);
    expect(() => new Node(1000, documents)).toThrow(CorruptionError);
  });
  it('gives versions of its slot alone, so that nodes that beat the same ones never give the same, over restarts too', () => {
    for (let round = 0; round < 20; round++) {
      const random = new Random(seed + round);
      // Of three neighbours and the last: clocks that differ by less than a slot, by seconds, or not at all.
      const slots = [0, 1, 2, versionSlots - 1];
      let nodes = slots.map(() => {
        const node = new Node(1_000_000 + random.pick([0, 0, 3, 4000]));
        node.saved();
        return node;
      });
      const givenBy = new Map<number, number>();
      const lastOf = slots.map(() => 0);
      let highest = 0;
      for (let step = 0; step < 2000; step++) {
        const at = random.below(slots.length);
        const slot = slots[at] as number;
        const node = nodes[at] as Node;
        const label = `round ${round}, step ${step}, slot ${slot}`;
        // What all that write one key meet: the highest, one just beside it, or one that nobody gave.
        if (random.chance(0.7)) node.source.observe(highest + random.pick([0, 0, -1, 1, random.below(100)]));
        if (random.chance(0.1)) for (const { clock } of nodes) clock.advanceMs(random.pick([0.001, 0.02, 5]));
        if (random.chance(0.01)) {
          node.saved();
          nodes = nodes.with(at, new Node(1_000_000, node.documents));
          continue;
        }
        const version = node.source.next(slot);
        node.saved();
        if (version === 0) continue;
        expect(version % versionSlots, label).toBe(slot);
        expect(version, label).toBeGreaterThan(lastOf[at] as number);
        expect(givenBy.get(version), label).toBeUndefined();
        givenBy.set(version, slot);
        lastOf[at] = version;
        highest = Math.max(highest, version);
      }
      expect(new Set(givenBy.values()).size).toBe(slots.length);
      expect(givenBy.size).toBeGreaterThan(1000);
    }
  });
  it('gives the next one of its slot, and leaves none out', () => {
    const node = new Node(1_000_000);
    node.saved();
    const first = node.source.next(5);
    expect(first - node.clock.nowUs()).toBe(
      (5 - (node.clock.nowUs() % versionSlots) + versionSlots) % versionSlots,
    );
    expect([node.source.next(5), node.source.next(5)]).toEqual([
      first + versionSlots,
      first + 2 * versionSlots,
    ]);
    // Whatever slot it had before: a ring that others joined may give it another.
    expect([node.source.next(6), node.source.next(4)]).toEqual([
      first + 2 * versionSlots + 1,
      first + 3 * versionSlots - 1,
    ]);
    node.source.observe(first + 100 * versionSlots);
    expect(node.source.next(5)).toBe(first + 101 * versionSlots);
    node.source.observe(first + 102 * versionSlots - 1);
    expect(node.source.next(5)).toBe(first + 102 * versionSlots);
  });
  it('gives none above its ceiling, though only the place of its slot lies above it', () => {
    const node = new Node(1_000_000);
    node.saved();
    // As in the document: the last that may be given.
    const ceiling = node.clock.nowUs() + limits.versionCeilingUs;
    node.source.observe(ceiling - 2);
    const slot = (ceiling + 1) % versionSlots;
    expect(node.source.next(slot)).toBe(0);
    node.saved();
    expect(node.source.next(slot)).toBe(ceiling + 1 + versionSlots);
  });
  it('says how old a version is by its own clock or by the highest that it has seen, whichever is later', () => {
    const node = new Node(1_000_000);
    node.saved();
    const { source, clock } = node;
    const given = source.next(0);
    expect(source.ageUs(clock.nowUs() - 7)).toBe(given - clock.nowUs() + 7);
    clock.advanceMs(20);
    expect(source.ageUs(clock.nowUs() - 7)).toBe(7);
    // Another's clock is ahead: what came before its version is as old as that says.
    const ahead = clock.nowUs() + 3_000_000;
    expect(source.ageUs(ahead)).toBe(-3_000_000);
    source.observe(ahead);
    expect([source.ageUs(ahead), source.ageUs(clock.nowUs())]).toEqual([0, 3_000_000]);
    clock.advanceMs(5000);
    expect(source.ageUs(ahead)).toBe(2_000_000);
  });
});
