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

describe('versions of a node whose clock is set while it runs', () => {
  const HOUR_MS = 3_600_000;
  /** Node 1 has written, and is set; the others have the right time. */
  function setBy(ms: number): Cluster {
    const cluster = new Cluster();
    expect(cluster.write('own', 'a').status).toBe(Status.OK);
    cluster.world.node(1).skewMs += ms;
    // The ceiling of versions has to be raised first.
    cluster.world.run(100);
    return cluster;
  }

  it('never go back', () => {
    const cluster = setBy(-TEN_MINUTES_MS);
    let last = 0;
    for (let i = 0; i < 5; i++) {
      const { status, version } = cluster.write('own', `b${i}`);
      expect([status, version > last]).toEqual([Status.OK, true]);
      last = version;
    }
    expect(cluster.read('own').value).toBe('b4');
  });
  it('follow it ahead, and others write over them', () => {
    const cluster = setBy(TEN_MINUTES_MS);
    const rightUs = cluster.nowVersion(2);
    expect(cluster.write('k', 'a').version).toBeGreaterThan(rightUs + TEN_MINUTES_MS * 1000 - 1);
    expect(cluster.write('k', 'b', {}, 2).status).toBe(Status.OK);
    expect(cluster.read('k', Consistency.QUORUM, 3).value).toBe('b');
  });
  it('pass those of others where it was set back by less than an hour; by more it says so, until it is set right', () => {
    for (const ms of [-TEN_MINUTES_MS, -2 * HOUR_MS]) {
      const cluster = setBy(ms);
      expect(cluster.write('k', 'a', {}, 2).status).toBe(Status.OK);
      const { status, message } = cluster.write('k', 'b');
      if (ms === -TEN_MINUTES_MS) expect(status).toBe(Status.OK);
      else expect(message).toContain("ahead of this node's clock");
      cluster.world.node(1).skewMs = 0;
      expect(cluster.write('k', 'c').status).toBe(Status.OK);
      expect(cluster.read('k', Consistency.QUORUM, 3).value).toBe('c');
    }
  });
});
