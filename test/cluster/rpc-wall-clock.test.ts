import { expect, it } from 'vitest';
import { deadlineIn, MANUAL_MONOTONIC_MS } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { WriteMode } from '../../src/cluster/contract.ts';
import { recordOf } from './message-samples.ts';
import { TestNet } from './rpc-harness.ts';

const record = recordOf('k', 'v', 9);
const key = Buffer.from('k');
const TEN_MINUTES_MS = 600_000;

it.each([TEN_MINUTES_MS, -TEN_MINUTES_MS])(
  'a replica of another node is asked and answers while the wall clock is set by %i ms, and times out at the deadline',
  async (jumpMs) => {
    const net = new TestNet(1);
    const replica = net.add(1).remote.replica(2);
    const other = net.add(2).replica;
    const { clock } = net.events;
    const statuses: number[] = [];
    const note = ({ status }: { readonly status: number }): void => void statuses.push(status);
    const ask = (): void => {
      const deadlineMs = deadlineIn(clock, 1000);
      replica.write({ record, also: null, mode: WriteMode.FRESH, deadlineMs }, note);
      replica.read({ tokenHi: 1, tokenLo: 2, keyspace: 0, key, headOnly: false, deadlineMs }, note);
      replica.prepare({ tokenHi: 1, tokenLo: 2, key, ballot: { version: 3, origin: 1 }, deadlineMs }, note);
      replica.tree({ session: 4, vnodes: [1], ignoreDeadBeforeMs: 0, deadlineMs }, note);
      replica.hint(7, { record, also: null, mode: WriteMode.MERGE, deadlineMs }, note);
    };
    ask();
    clock.jumpMs(jumpMs);
    await net.events.pass(50);
    expect(statuses).toEqual(new Array(5).fill(Status.OK));
    // What is left counts from when the request came, 1 ms later, whatever the clock has become.
    expect(other.asked).toHaveLength(5);
    for (const { request } of other.asked)
      expect(request).toMatchObject({ deadlineMs: MANUAL_MONOTONIC_MS + 1001 });
    statuses.length = 0;
    other.hold = true;
    ask();
    await net.events.pass(500);
    clock.jumpMs(-2 * jumpMs);
    await net.events.pass(499);
    // It has what it was asked for, and who asked waits still.
    for (const answer of other.held.splice(1)) answer();
    await net.events.pass(1 + limits.peerCallScanMs);
    expect(statuses).toEqual(new Array(5).fill(Status.TIMEOUT));
  },
);
