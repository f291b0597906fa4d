import { describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { PeerStatus } from '../../src/base/status.ts';
import { ANY_CONNECTION } from '../../src/cluster/contract.ts';
import { FEATURES, Feature } from '../../src/cluster/features.ts';
import { Kind } from '../../src/cluster/message-kinds.ts';
import * as m from '../../src/cluster/messages.ts';
import { TestNet } from './rpc-harness.ts';

const OUT = 1000;
/** Two nodes. The second wrote version 1, which is version 2 now, and knows of no other. */
function pair() {
  const net = new TestNet(1);
  const a = net.add(1);
  const b = net.add(2);
  const told: number[] = [];
  const ask = (version: number, ms: number = OUT): void =>
    a.remote.askWriter(2, version, deadlineIn(net.events.clock, ms), (as) => told.push(as));
  return { net, a, b, told, ask };
}

describe('a node that is asked what became of a version that it gave', () => {
  it('tells under which it is written, and 0 of one that it does not know, not before the call has returned', async () => {
    const { net, a, b, told, ask } = pair();
    ask(1);
    ask(7);
    expect(told).toEqual([]);
    await net.events.pass(10);
    expect(told).toEqual([2, 0]);
    expect(b.versionsAsked).toEqual([1, 7]);
    expect([a.remote.waiting, b.service.inWork]).toEqual([0, 0]);
    expect(a.remote.counts).toMatchObject({ sent: 2, answered: 2, dropped: 0 });
  });

  it('is asked nothing where its build does not take the question: that is 0, and nothing is sent', async () => {
    const { net, a, b, told, ask } = pair();
    b.features = FEATURES & ~Feature.WRITTEN;
    ask(1);
    expect(told).toEqual([]);
    await Promise.resolve();
    expect(told).toEqual([0]);
    expect(net.sent).toEqual([]);
    // No deadline passed, and the network refused nothing.
    expect(a.remote.counts).toMatchObject({ sent: 0, timedOut: 0, refused: 0 });
    // The bit that counts is that of the node asked.
    a.features = 0;
    b.features = Feature.WRITTEN;
    ask(1);
    await net.events.pass(10);
    expect(told).toEqual([0, 2]);
  });

  it('and whose connection is lost has told 0; what it says later is dropped', async () => {
    const { net, a, b, told, ask } = pair();
    b.replica.hold = true;
    ask(1);
    await net.events.pass(5);
    a.remote.disconnected(3);
    expect(told).toEqual([]);
    a.remote.disconnected(2);
    expect(told).toEqual([0]);
    for (const answer of b.replica.held) answer();
    await net.events.pass(10);
    expect(told).toEqual([0]);
    expect(a.remote.counts).toMatchObject({ connectionLost: 1, dropped: 1 });
  });

  it('and is silent has told 0 at the deadline of the question, not before', async () => {
    const { net, a, b, told, ask } = pair();
    b.replica.hold = true;
    ask(1, 40);
    await net.events.pass(39);
    expect(told).toEqual([]);
    await net.events.pass(1 + limits.peerCallScanMs);
    expect(told).toEqual([0]);
    expect(a.remote.counts.timedOut).toBe(1);
    // Its time is up there, too: nothing is sent any more.
    b.replica.held[0]?.();
    expect(b.service).toMatchObject({ inWork: 0, counts: { unsent: 1 } });
    ask(1, 0);
    await Promise.resolve();
    expect(told).toEqual([0, 0]);
    expect(b.versionsAsked).toEqual([1]);
  });

  it('and cannot be reached, has a newer ring or refuses has told 0', async () => {
    const { net, a, b, told, ask } = pair();
    net.refusing.add('1>2');
    ask(1);
    await Promise.resolve();
    expect(told).toEqual([0]);
    net.refusing.clear();
    b.ring = 6;
    ask(1);
    await net.events.pass(10);
    expect(told).toEqual([0, 0]);
    expect(a.rings).toEqual(['2: ring 6']);
    b.ring = 5;
    b.replica.hold = true;
    ask(1);
    await net.events.pass(5);
    const refused = m.encodeRefused(1, 3, PeerStatus.UNKNOWN_REQUEST, 'not known here');
    a.router.receive(2, refused, ANY_CONNECTION);
    expect(told).toEqual([0, 0, 0]);
    expect(a.remote.waiting).toBe(0);
  });

  it('is not believed where it gives an answer to something else', async () => {
    const { net, a, b, told, ask } = pair();
    b.replica.hold = true;
    ask(1);
    await net.events.pass(5);
    const ok = { status: 0, beat: 0, barred: false, newer: null, message: '' };
    a.router.receive(2, m.encodeWriteAnswer(Kind.WRITE_ANSWER, 1, 1, ok), ANY_CONNECTION);
    a.router.receive(2, m.encodeReadAnswer(1, 1, { status: 0, record: null, message: '' }), ANY_CONNECTION);
    a.router.receive(3, m.encodeWrittenAnswer(1, 1, 9), ANY_CONNECTION);
    a.router.receive(2, m.encodeWrittenAnswer(0, 1, 9), ANY_CONNECTION);
    a.router.receive(2, m.encodeWrittenAnswer(1, 2, 9), ANY_CONNECTION);
    expect(told).toEqual([]);
    expect(a.remote.counts.dropped).toBe(5);
    a.router.receive(2, m.encodeWrittenAnswer(1, 1, 9), ANY_CONNECTION);
    expect(told).toEqual([9]);
  });

  it('takes such a question for work like any other: bounded, and not begun without time', async () => {
    const { net, b } = pair();
    b.replica.hold = true;
    const call = { generation: 1, ring: 5, remainingMs: 1000 };
    b.router.receive(1, m.encodeWritten({ ...call, id: 1, remainingMs: 0 }, 1), ANY_CONNECTION);
    expect(b.versionsAsked).toEqual([]);
    for (let id = 2; id < 3 + limits.peerRequestsMax; id++)
      b.router.receive(1, m.encodeWritten({ ...call, id }, 1), ANY_CONNECTION);
    expect(b.versionsAsked).toHaveLength(limits.peerRequestsMax);
    expect(b.service.counts.overloaded).toBe(1);
    await net.events.pass(10);
  });
});
