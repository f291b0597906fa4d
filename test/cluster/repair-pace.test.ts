/** What repairs and moving vnodes send and take keeps to one rate, however much there is and however many run at once. */
import { describe, expect, it } from 'vitest';
import { limits, MiB } from '../../src/base/limits.ts';
import { recordOf } from './records.ts';
import { RepairCluster, VNODES } from './repairs-cluster.ts';

const RECORDS = 64;
const VALUE = new Uint8Array(MiB);
const records = Array.from({ length: RECORDS }, (_, i) =>
  recordOf({ key: `k${i}`, version: 10, value: VALUE }),
);
const RATE = limits.repairBytesPerSecondDefault;
/** How long it must take to move so many copies, of which a second's worth may pass at once. */
const leastMs = (copies: number): number => ((copies * RECORDS * MiB) / RATE - 1) * 1000;
/** Time moves in steps of half a second here, and a tick begins each repair. */
const SLACK_MS = VNODES * limits.repairTickMs;

describe('the bytes of a node', () => {
  it('that it takes and passes on in repairs keep to the rate', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    cluster.replica(2).load(records);
    const repairs = cluster.start(1);
    const startMs = cluster.nowMs;
    repairs.request(null);
    expect(await cluster.until(() => !repairs.running, 120_000)).toBe(true);
    expect(repairs.statistics.recordsReceived + repairs.statistics.recordsSent).toBe(2 * RECORDS);
    expect(cluster.nowMs - startMs).toBeGreaterThanOrEqual(leastMs(2));
    expect(cluster.nowMs - startMs).toBeLessThan(leastMs(2) + SLACK_MS);
  });

  it('that it pulls for all vnodes at once keep to the same rate', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    for (const node of [2, 3]) cluster.replica(node).load(records);
    const repairs = cluster.start(1);
    const startMs = cluster.nowMs;
    let [pulled, taken] = [0, 0];
    for (let vnode = 0; vnode < VNODES; vnode++)
      void repairs.pull(vnode, [2, 3]).then(({ complete, records: count }) => {
        if (complete) pulled++;
        taken += count;
      });
    expect(await cluster.until(() => pulled === VNODES, 120_000)).toBe(true);
    expect(taken).toBe(RECORDS);
    expect(cluster.nowMs - startMs).toBeGreaterThanOrEqual(leastMs(1));
  });
});
