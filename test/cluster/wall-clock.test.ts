import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import { Cluster } from './coordinator-calls.ts';

const TEN_MINUTES_MS = 600_000;
const TIMEOUT_MS = 1000;

type Start = (cluster: Cluster, done: (answer: { readonly status: number }) => void) => void;
const REQUESTS: readonly (readonly [string, Start])[] = [
  ['write', (cluster, done) => cluster.startWrite('k', 'a', { sloppy: false }, 1, done)],
  ['conditional write', (cluster, done) => cluster.startWrite('k', 'a', { condition: 1 }, 1, done)],
  ['read', (cluster, done) => cluster.startRead('k', Consistency.ALL, 1, done)],
  ['read at SERIAL', (cluster, done) => cluster.startRead('k', Consistency.SERIAL, 1, done)],
  ['scan', (cluster, done) => cluster.startScan(null, 10, '', 1 << 20, done)],
];
const CASES = REQUESTS.flatMap(([name, start]) =>
  [TEN_MINUTES_MS, -TEN_MINUTES_MS].map((jumpMs) => [name, jumpMs, start] as const),
);

/** A message takes so long at most. */
const HOP_MS_MAX = 40;

describe.each(CASES)('a %s during which all clocks are set by %i ms', (_, jumpMs, start) => {
  const jump = (cluster: Cluster, ms: number): void => {
    for (const node of cluster.world.nodes.values()) node.skewMs += ms;
  };

  it('is answered as if they had not been', () => {
    const cluster = new Cluster();
    cluster.world.faults = { ...cluster.world.faults, delayMsMax: HOP_MS_MAX };
    const statuses: number[] = [];
    start(cluster, ({ status }) => statuses.push(status));
    // On the way to the replicas, and later.
    cluster.world.run(1);
    jump(cluster, jumpMs);
    cluster.world.run(HOP_MS_MAX);
    jump(cluster, -2 * jumpMs);
    cluster.world.run(TIMEOUT_MS);
    expect([Status.OK, Status.NOT_FOUND]).toContain(statuses[0]);
    expect(statuses).toHaveLength(1);
  });

  it('that nobody answers ends at its deadline, not before and not later', () => {
    const cluster = new Cluster();
    for (const from of [2, 3]) cluster.world.cut.add(`${from}>1`);
    const statuses: number[] = [];
    start(cluster, ({ status }) => statuses.push(status));
    cluster.world.run(TIMEOUT_MS / 2);
    jump(cluster, jumpMs);
    cluster.world.run(TIMEOUT_MS / 2 - limits.coordinatorTickMs);
    expect(statuses).toEqual([]);
    cluster.world.run(3 * limits.coordinatorTickMs);
    expect(statuses).toHaveLength(1);
    // Of a scan the calls of its pages may end first, in the same tick.
    expect([Status.TIMEOUT, Status.UNAVAILABLE]).toContain(statuses[0]);
  });
});
