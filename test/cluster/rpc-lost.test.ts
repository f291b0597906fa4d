import { describe, expect, it } from 'vitest';
import { MANUAL_MONOTONIC_MS } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { ANY_CONNECTION, type Replica, type TreeAnswer } from '../../src/cluster/contract.ts';
import { monotonic } from '../base/clocks.ts';
import { TestNet, type TestNode } from './rpc-harness.ts';

const TREE = {
  session: 5,
  vnodes: [0],
  ignoreDeadBeforeMs: 0,
  deadlineMs: monotonic(MANUAL_MONOTONIC_MS + 1_800_000),
};

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

const endedAt = (node: TestNode): unknown[] =>
  node.replica.asked.filter(({ op }) => op === 'endTree').map(({ request }) => request);

describe('a node that builds trees for others', () => {
  it('ends those of one whose connection is lost, and of no other', async () => {
    const net = new TestNet(1);
    const b = net.add(2);
    b.replica.hold = true;
    for (const [node, session] of [
      [1, 5],
      [3, 6],
      [1, 7],
    ] as const)
      (net.nodes.get(node) ?? net.add(node)).remote.replica(2).tree({ ...TREE, session }, () => undefined);
    net.nodes.get(1)?.remote.replica(2).endTree(7);
    await net.events.pass(10);
    expect(endedAt(b)).toEqual([7]);
    b.service.disconnected(1, ANY_CONNECTION);
    expect(endedAt(b)).toEqual([7, 5]);
    b.service.disconnected(1, ANY_CONNECTION);
    b.service.forget(1);
    expect(endedAt(b)).toEqual([7, 5]);
    b.service.forget(3);
    expect(endedAt(b)).toEqual([7, 5, 6]);
  });

  it('keeps no answer for one whose connection is lost, and gives one to what it asks again', async () => {
    const net = new TestNet(1);
    const a = net.add(1);
    const b = net.add(2);
    b.replica.hold = true;
    const { answers } = asked(a.remote.replica(2));
    await net.events.pass(10);
    a.remote.disconnected(2);
    b.service.disconnected(1, ANY_CONNECTION);
    net.refusing.add('2>1');
    b.replica.held.pop()?.();
    expect(b.service.inWork).toBe(0);
    net.refusing.delete('2>1');
    const again = asked(a.remote.replica(2)).answers;
    await net.events.pass(10);
    b.replica.held.pop()?.();
    await net.events.pass(10);
    expect(answers.map(({ status }) => status)).toEqual([Status.UNAVAILABLE]);
    expect(again.map(({ status }) => status)).toEqual([Status.OK]);
  });

  it('remembers as many sessions of one as a replica keeps', async () => {
    const net = new TestNet(1);
    const a = net.add(1);
    const b = net.add(2);
    const count = 2 * limits.treeSessionsMax;
    for (let session = 0; session < count; session++)
      a.remote.replica(2).tree({ ...TREE, session }, () => undefined);
    await net.events.pass(10);
    b.service.disconnected(1, ANY_CONNECTION);
    expect(endedAt(b)).toHaveLength(limits.treeSessionsMax);
    expect(endedAt(b)).toContain(count - 1);
  });
});

describe('a node with which another has two connections', () => {
  it('answers over the connection that it was asked over', async () => {
    const net = new TestNet(1);
    const a = net.add(1);
    const b = net.add(2);
    const older = { ring: 4 };
    for (const [over, ring] of [
      [7, b.ring],
      [8, b.ring],
      [7, older.ring],
    ] as const) {
      net.connection = over;
      a.ring = ring;
      const place = { tokenHi: 0, tokenLo: 0, keyspace: 1, key: Buffer.from('k') };
      const { deadlineMs } = TREE;
      a.remote.replica(2).read({ ...place, headOnly: true, deadlineMs }, () => undefined);
      asked(a.remote.replica(2));
      await net.events.pass(10);
    }
    const answers = net.sent.filter(({ from }) => from === 2);
    expect(answers.map(({ over }) => over)).toEqual([7, 7, 8, 8, 7, 7]);
  });

  it('goes on with trees that were asked for over the one where the other is lost', async () => {
    const net = new TestNet(1);
    const a = net.add(1);
    const b = net.add(2);
    b.replica.hold = true;
    net.connection = 7;
    const { answers } = asked(a.remote.replica(2));
    await net.events.pass(10);
    b.service.disconnected(1, 8);
    expect(endedAt(b)).toEqual([]);
    net.refusing.add('2>1');
    b.replica.held.pop()?.();
    expect(b.service.inWork).toBe(1);
    net.refusing.delete('2>1');
    await net.events.pass(2 * limits.peerAnswerAgainMs);
    expect(answers.map(({ status }) => status)).toEqual([Status.OK]);
    b.service.disconnected(1, 7);
    expect(endedAt(b)).toEqual([5]);
  });
});
