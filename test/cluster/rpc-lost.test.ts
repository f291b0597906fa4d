import { describe, expect, it } from 'vitest';
import { Status } from '../../src/base/status.ts';
import type { Replica, TreeAnswer } from '../../src/cluster/contract.ts';
import { START_MS, TestNet } from './rpc-harness.ts';

const TREE = { session: 5, vnodes: [0], ignoreDeadBeforeMs: 0, deadlineMs: START_MS + 1_800_000 };

function asked(replica: Replica): { readonly answers: TreeAnswer[] } {
  const answers: TreeAnswer[] = [];
  replica.tree(TREE, (answer) => answers.push(answer));
  return { answers };
}

describe('a call to a node', () => {
  it('that is begun because another one was lost goes over another connection, and is not lost with it', async () => {
    const net = new TestNet(1);
    const a = net.add(1);
    net.add(2);
    const again: TreeAnswer[] = [];
    const lost: TreeAnswer[] = [];
    const replica = a.remote.replica(2);
    replica.tree(TREE, (answer) => {
      lost.push(answer);
      replica.tree(TREE, (other) => again.push(other));
    });
    a.remote.disconnected(2);
    expect(lost.map(({ status }) => status)).toEqual([Status.UNAVAILABLE]);
    expect(again).toEqual([]);
    await net.events.pass(10);
    expect(again.map(({ status }) => status)).toEqual([Status.OK]);
  });

  it('that left, and whose replica is still held by somebody, ends when calls are closed', async () => {
    const net = new TestNet(1);
    const a = net.add(1);
    net.add(2).replica.hold = true;
    const replica = a.remote.replica(2);
    a.remote.forget(2);
    const { answers } = asked(replica);
    expect(a.remote.waiting).toBe(1);
    a.remote.close();
    expect(answers.map(({ status }) => status)).toEqual([Status.UNAVAILABLE]);
    expect(a.remote.waiting).toBe(0);
    expect(net.events.pending).toBe(1);
  });
});
