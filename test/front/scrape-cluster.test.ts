import { describe, expect, it } from 'vitest';
import { newCoordinatorMetrics } from '../../src/cluster/coordinator-metrics.ts';
import { newRepairStatistics } from '../../src/cluster/repair-options.ts';
import { clusterFamilies } from '../../src/front/scrape-cluster.ts';
import { newPeerCounts } from '../../src/peer/peer-counts.ts';

const NOW_MS = 1_700_000_000_000;

/** The same fields with numbers of their own, from `first` on. */
const numbered = (counters: object, first: number): Record<string, number> =>
  Object.fromEntries(Object.keys(counters).map((field, at) => [field, first + at]));

const valuesOf = (answer: object): number[] =>
  clusterFamilies({ ...answer }, NOW_MS).flatMap(({ samples }) => samples.map(({ value }) => value));

describe('the metrics page of a node in a cluster', () => {
  it('shows every counter of the coordinator, of repairs and of connections once', () => {
    const coordinator = numbered(newCoordinatorMetrics(), 100);
    const repairs = numbered(newRepairStatistics(), 200);
    const peer = { node: 0xa1b2c3d4, ...numbered({ ...newPeerCounts(), connected: 0, queuedBytes: 0 }, 300) };
    const values = valuesOf({ coordinator, repairs, repairsWaiting: 7, peers: [peer] });
    const { node: _, ...counts } = peer;
    const all = [7, ...[coordinator, repairs, counts].flatMap((group): number[] => Object.values(group))];
    expect(values.sort((a, b) => a - b)).toEqual(all.sort((a, b) => a - b));
  });
  it('names other nodes by their number in hexadecimal', () => {
    const families = clusterFamilies({ peers: [{ node: 10, ...newPeerCounts(), bytesOut: 5 }] }, NOW_MS);
    const sent = families.find(({ name }) => name === 'ringkv_peer_sent_bytes_total');
    expect(sent?.samples).toEqual([{ labels: { node: '0000000a' }, value: 5 }]);
  });
  it('has names of one form, each once, and counters that end in _total', () => {
    const families = clusterFamilies(
      {
        coordinator: newCoordinatorMetrics(),
        repairs: newRepairStatistics(),
        peers: [{ node: 1, ...newPeerCounts() }],
        tls: { validUntilMs: NOW_MS },
      },
      NOW_MS,
    );
    const names = families.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, type, help } of families) {
      expect(name).toMatch(/^ringkv_[a-z_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      expect(help).toMatch(/^[A-Z].*\.$/);
    }
  });
  it('leaves out what the peer worker did not tell', () => {
    expect(clusterFamilies({}, NOW_MS)).toEqual([]);
    expect(clusterFamilies({ coordinator: { writes: 'many' }, peers: 5, tls: null }, NOW_MS)).toEqual([]);
  });
});
