import { describe, expect, it } from 'vitest';
import { HybridClock, ManualClock } from '../../src/base/clock.ts';
import { CorruptionError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import type { ClusterWorld } from '../../src/cluster/contract.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { VersionSource } from '../../src/cluster/version-source.ts';

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

describe('the source of versions', () => {
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
});
