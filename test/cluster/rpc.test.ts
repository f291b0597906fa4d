import { describe, expect, it } from 'vitest';
import { deadlineIn, MANUAL_MONOTONIC_MS, MONOTONIC_ZERO } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { ANY_CONNECTION, type Replica, WriteMode } from '../../src/cluster/contract.ts';
import { MessageError } from '../../src/cluster/message-bytes.ts';
import { Kind } from '../../src/cluster/message-kinds.ts';
import * as m from '../../src/cluster/messages.ts';
import { wasNothingSent } from '../../src/cluster/rpc.ts';
import { recordOf } from './message-samples.ts';
import { TestNet } from './rpc-harness.ts';

const record = recordOf('k', 'v', 9);
const key = Buffer.from('k');
const NO_PLACE = { firstHi: 0, firstLo: 0, lastHi: 1, lastLo: 1, after: null };

interface Answered {
  readonly op: string;
  readonly status: number;
  readonly message: string;
}

/** Two nodes, and all calls of the first to the second with a deadline in `ms`. */
function pair(seed = 1) {
  const net = new TestNet(seed);
  const a = net.add(1);
  const b = net.add(2);
  const answers: Answered[] = [];
  const note =
    (op: string) =>
    (answer: { status: number; message: string }): void => {
      answers.push({ op, ...answer });
    };
  const write = (ms: number, replica: Replica = a.remote.replica(2)): void => {
    const deadlineMs = deadlineIn(net.events.clock, ms);
    replica.write({ record, also: null, mode: WriteMode.FRESH, deadlineMs }, note('write'));
  };
  const all = (ms: number): void => {
    const deadlineMs = deadlineIn(net.events.clock, ms);
    const replica = a.remote.replica(2);
    write(ms);
    replica.hint(7, { record, also: null, mode: WriteMode.MERGE, deadlineMs }, note('hint'));
    replica.read({ tokenHi: 1, tokenLo: 2, keyspace: 0, key, headOnly: false, deadlineMs }, note('read'));
    replica.prepare(
      { tokenHi: 1, tokenLo: 2, key, ballot: { version: 3, origin: 1 }, deadlineMs },
      note('prepare'),
    );
    const page = { ...NO_PLACE, userOnly: true, prefix: new Uint8Array(0), headOnly: false };
    replica.page({ ...page, recordsMax: 10, bytesMax: 1000, deadlineMs }, note('page'));
    replica.tree({ session: 4, vnodes: [1, 2], ignoreDeadBeforeMs: 0, deadlineMs }, note('tree'));
    replica.treeNodes({ session: 4, vnode: 1, level: 1, indexes: [0, 9] }, note('treeNodes'));
  };
  return { net, a, b, answers, note, write, all };
}
const OPS = ['write', 'hint', 'read', 'prepare', 'page', 'tree', 'treeNodes'];

describe('calls of a node that ends', () => {
  it('end: writes first, though their answers may still come, then all others; and nothing more is sent', async () => {
    const { net, a, b, answers, all, write } = pair();
    b.replica.hold = true;
    all(10_000);
    await net.events.pass(100);
    expect(answers).toEqual([]);
    a.remote.endWrites();
    expect(answers.map(({ op, status, message }) => `${op} ${status} ${message}`)).toEqual([
      `write ${Status.UNAVAILABLE} this node is stopping; the outcome is unknown`,
    ]);
    write(10_000);
    await net.events.pass(100);
    expect(answers).toHaveLength(1);
    a.remote.close();
    expect(answers.map(({ op }) => op).sort()).toEqual([...OPS, 'write'].sort());
    const sent = net.sent.length;
    write(10_000);
    await Promise.resolve();
    expect(answers).toHaveLength(OPS.length + 2);
    expect(wasNothingSent(answers.at(-1)?.message ?? '')).toBe(true);
    expect([net.sent.length, a.remote.waiting]).toEqual([sent, 0]);
  });
});

describe('a replica of another node', () => {
  it('answers every kind of request as the replica there does', async () => {
    const { net, a, b, answers, all } = pair();
    b.replica.record = record;
    all(1000);
    a.remote.replica(2).endTree(4);
    expect(answers).toEqual([]);
    await net.events.pass(50);
    expect(answers.map(({ op }) => op)).toEqual(OPS);
    expect(answers).toMatchObject([
      { status: 0, beat: 0, barred: false, newer: null },
      { status: 0, message: 'for 7' },
      { status: 0, record: record },
      { status: 0, record: record, outcomes: null },
      { status: 0, records: record, next: null },
      { status: 0, records: 7 },
      { status: 0, hashes: new Uint8Array(16) },
    ]);
    expect(b.replica.asked.map(({ op }) => op)).toEqual([...OPS, 'endTree']);
    expect(a.remote.waiting).toBe(0);
    expect(b.service.inWork).toBe(0);
    await net.events.pass(1000);
    expect(net.events.pending).toBe(0);
  });

  it('gets the time that was left when the request was sent, counted from when it came', async () => {
    const { net, b, write } = pair();
    write(300);
    await net.events.pass(5);
    expect(b.replica.asked[0]?.request).toMatchObject({ deadlineMs: MANUAL_MONOTONIC_MS + 301 });
  });

  it('that is silent times each request out at its deadline, not before, and says that the outcome is unknown', async () => {
    const { net, a, b, answers, all } = pair();
    b.replica.hold = true;
    all(1000);
    await net.events.pass(999);
    expect(answers).toEqual([]);
    await net.events.pass(1 + limits.peerCallScanMs);
    expect(answers.map(({ op }) => op)).toEqual(OPS.slice(0, -1));
    for (const { status, message } of answers) {
      expect(status).toBe(Status.TIMEOUT);
      expect(message).toBe('node 00000002 did not answer within 1000 ms; the outcome is unknown');
      expect(wasNothingSent(message)).toBe(false);
    }
    await net.events.pass(limits.peerDefaultTimeoutMs);
    expect(answers.map(({ op }) => op)).toEqual(OPS);
    expect(a.remote.counts).toMatchObject({ timedOut: 7, answered: 0 });
    expect(net.events.pending).toBe(0);
  });

  it('that cannot be reached tells so after the call has returned, and that nothing was sent', async () => {
    const { net, a, answers, all } = pair();
    net.refusing.add('1>2');
    all(1000);
    expect(answers).toEqual([]);
    await Promise.resolve();
    expect(answers.map(({ op }) => op)).toEqual(OPS);
    for (const { status, message } of answers) {
      expect(status).toBe(Status.UNAVAILABLE);
      expect(wasNothingSent(message)).toBe(true);
    }
    expect(a.remote.waiting).toBe(0);
    expect(net.events.pending).toBe(0);
  });

  it('whose connection is lost ends its calls, and only its own, with an unknown outcome', async () => {
    const { net, a, b, answers, all, write } = pair();
    net.add(3).replica.hold = true;
    b.replica.hold = true;
    all(1000);
    write(1000, a.remote.replica(3));
    await net.events.pass(5);
    a.remote.disconnected(2);
    expect(answers.map(({ op }) => op)).toEqual(OPS);
    for (const { status, message } of answers) {
      expect(status).toBe(Status.UNAVAILABLE);
      expect(message).toBe('the connection to node 00000002 was lost; the outcome is unknown');
    }
    expect(a.remote.waiting).toBe(1);
    for (const answer of b.replica.held) answer();
    await net.events.pass(10);
    expect(answers).toHaveLength(7);
    expect(a.remote.counts.dropped).toBe(7);
  });

  it('is not asked when the deadline has passed', async () => {
    const { net, answers, write } = pair();
    write(0);
    write(-5);
    write(Number.NaN);
    write(0.4);
    expect(answers).toEqual([]);
    await Promise.resolve();
    expect(answers).toHaveLength(4);
    for (const { status, message } of answers) {
      expect(status).toBe(Status.TIMEOUT);
      expect(wasNothingSent(message)).toBe(true);
    }
    expect(net.sent).toEqual([]);
  });

  it('has a bound on its waiting calls, and all replicas together have one', async () => {
    const { net, a, answers, write } = pair();
    net.faults.loss = 1;
    const perPeer = limits.peerCallsMax;
    for (let i = 0; i < perPeer; i++) write(1000);
    expect(a.remote.waiting).toBe(perPeer);
    write(1000);
    await Promise.resolve();
    expect(answers).toMatchObject([
      {
        status: Status.OVERLOADED,
        message: `${perPeer} calls to node 00000002 wait for an answer; the limit is ${perPeer}; nothing was sent`,
      },
    ]);
    for (let node = 3; a.remote.waiting < limits.peerCallsTotalMax; node++)
      for (let i = 0; i < perPeer; i++) write(1000, a.remote.replica(node));
    answers.length = 0;
    write(1000, a.remote.replica(99));
    await Promise.resolve();
    expect(answers).toMatchObject([
      { message: expect.stringMatching(/^32768 calls wait for an answer; the limit is 32768/) },
    ]);
    await net.events.pass(2000);
    write(1000, a.remote.replica(99));
    await net.events.pass(10);
    expect(a.remote.waiting).toBe(1);
  });

  it('drops answers that come twice, from another node, of another kind, or for an earlier process', async () => {
    const { net, a, b, answers, write } = pair();
    b.replica.hold = true;
    write(1000);
    await net.events.pass(5);
    const ok = { status: 0, beat: 0, barred: false, newer: null, message: '' };
    const id = 1;
    a.router.receive(3, m.encodeWriteAnswer(Kind.WRITE_ANSWER, 1, id, ok), ANY_CONNECTION);
    a.router.receive(2, m.encodeWriteAnswer(Kind.HINT_ANSWER, 1, id, ok), ANY_CONNECTION);
    a.router.receive(2, m.encodeReadAnswer(1, id, { status: 0, record: null, message: '' }), ANY_CONNECTION);
    a.router.receive(2, m.encodeWriteAnswer(Kind.WRITE_ANSWER, 0, id, ok), ANY_CONNECTION);
    a.router.receive(2, m.encodeWriteAnswer(Kind.WRITE_ANSWER, 1, id + 1, ok), ANY_CONNECTION);
    expect(answers).toEqual([]);
    expect(a.remote.counts.dropped).toBe(5);
    a.router.receive(2, m.encodeWriteAnswer(Kind.WRITE_ANSWER, 1, id, ok), ANY_CONNECTION);
    a.router.receive(2, m.encodeWriteAnswer(Kind.WRITE_ANSWER, 1, id, ok), ANY_CONNECTION);
    expect(answers).toMatchObject([{ status: 0 }]);
    expect(a.remote.counts.dropped).toBe(6);
  });

  it('is not believed when it sends another number of hashes than were asked for', async () => {
    const { net, a, b, answers, note } = pair();
    b.replica.hold = true;
    a.remote.replica(2).treeNodes({ session: 4, vnode: 1, level: 1, indexes: [0, 9] }, note('treeNodes'));
    await net.events.pass(5);
    const send = (bytes: number): void =>
      a.router.receive(
        2,
        m.encodeTreeNodesAnswer(1, 1, { status: 0, hashes: new Uint8Array(bytes), message: '' }),
        ANY_CONNECTION,
      );
    send(8);
    expect(answers).toEqual([]);
    send(16);
    expect(answers).toMatchObject([{ status: 0 }]);
  });

  it('is the same object each time', () => {
    const { a } = pair();
    expect(a.remote.replica(2)).toBe(a.remote.replica(2));
  });
});

describe('the service of a replica', () => {
  it('refuses a node with an older ring, sends the ring along, and not with each request', async () => {
    const { net, a, b, answers, all } = pair();
    b.ring = 6;
    all(1000);
    await net.events.pass(10);
    expect(b.replica.asked).toEqual([]);
    expect(answers.map(({ status }) => status)).toEqual(OPS.map(() => PeerStatus.STALE_RING));
    expect(a.rings).toEqual(['2: ring 6']);
    await net.events.pass(limits.peerRingAgainMs);
    all(1000);
    await net.events.pass(10);
    expect(a.rings).toHaveLength(2);
    expect(b.service.counts.staleRing).toBe(14);
  });

  it('serves a node with a newer ring, and tells that there is one', async () => {
    const { net, a, b, answers, write } = pair();
    a.ring = 8;
    write(1000);
    await net.events.pass(10);
    expect(answers).toMatchObject([{ status: Status.OK }]);
    expect(b.newer).toEqual(['1: 8']);
  });

  it('gives a node without a ring this one', async () => {
    const { net, a, write } = pair();
    a.ring = 0;
    write(1000);
    await net.events.pass(10);
    expect(a.rings).toEqual(['2: ring 5']);
  });

  it('works on so many requests of one peer, and refuses the next without a word to the replica', async () => {
    const { net, a, b, answers, write } = pair();
    b.replica.hold = true;
    const ok = { record, also: null, mode: WriteMode.FRESH, deadlineMs: MONOTONIC_ZERO };
    const call = { generation: 1, ring: 5, remainingMs: 10_000 };
    for (let id = 10; id < 10 + limits.peerRequestsMax; id++)
      b.router.receive(1, m.encodeWrite({ ...call, id }, ok), ANY_CONNECTION);
    expect(b.service.inWork).toBe(limits.peerRequestsMax);
    write(1000);
    await net.events.pass(10);
    expect(answers).toMatchObject([
      { status: Status.OVERLOADED, message: 'node 00000002 works on 8192 requests; the limit is 8192' },
    ]);
    expect(b.replica.asked).toHaveLength(limits.peerRequestsMax);
    // Another peer has a bound of its own.
    b.router.receive(3, m.encodeWrite({ ...call, id: 1 }, ok), ANY_CONNECTION);
    expect(b.service.inWork).toBe(limits.peerRequestsMax + 1);
    b.replica.hold = false;
    for (const answer of b.replica.held) answer();
    expect(b.service.inWork).toBe(0);
    write(1000);
    await net.events.pass(10);
    expect(answers[1]).toMatchObject({ status: Status.OK });
    expect(a.remote.waiting).toBe(0);
  });

  it('holds so many bytes of one peer at a time', async () => {
    const { net, b } = pair();
    b.replica.hold = true;
    const long = recordOf('k', 'v'.repeat(8 * 1024 * 1024), 1);
    const bytes = m.encodeWrite(
      { generation: 1, id: 1, ring: 5, remainingMs: 1000 },
      { record: long, also: null, mode: WriteMode.MERGE, deadlineMs: MONOTONIC_ZERO },
    );
    const fit = Math.floor(limits.peerRequestBytesMax / long.length);
    for (const round of [1, 2]) {
      for (let i = 0; i < 10; i++) b.router.receive(1, bytes, ANY_CONNECTION);
      expect(b.service.inWork).toBe(fit);
      expect(b.service.counts.overloaded).toBe(round * (10 - fit));
      for (const answer of b.replica.held.splice(0)) answer();
      expect(b.service.inWork).toBe(0);
    }
    await net.events.pass(5);
  });

  it('begins nothing whose time is up, and sends no answer that comes too late', async () => {
    const { net, b } = pair();
    const ok = { record, also: null, mode: WriteMode.FRESH, deadlineMs: MONOTONIC_ZERO };
    b.router.receive(1, m.encodeWrite({ generation: 1, id: 1, ring: 5, remainingMs: 0 }, ok), ANY_CONNECTION);
    expect(b.replica.asked).toEqual([]);
    expect(b.service.counts.expired).toBe(1);
    b.replica.hold = true;
    b.router.receive(
      1,
      m.encodeWrite({ generation: 1, id: 2, ring: 5, remainingMs: 100 }, ok),
      ANY_CONNECTION,
    );
    await net.events.pass(100);
    b.replica.held[0]?.();
    expect(b.service).toMatchObject({ inWork: 0, counts: { unsent: 1 } });
    expect(net.sent).toEqual([]);
  });

  it('lets a malformed message do nothing, and names what is wrong with it', () => {
    const { b } = pair();
    expect(() => b.router.receive(1, Buffer.from('8110', 'hex'), ANY_CONNECTION)).toThrow(MessageError);
    expect(b.service.counts.requests).toBe(0);
  });

  it('leaves gossip, agreement and rings to those whom they are for', () => {
    const { b } = pair();
    b.router.receive(1, m.encodeGossip([1]), ANY_CONNECTION);
    b.router.receive(1, m.encodeRingAgreement({ kind: 'ring-fetch', have: 1 }), ANY_CONNECTION);
    b.router.receive(1, m.encodeRingAnnouncement(Buffer.from('r')), ANY_CONNECTION);
    expect(b.other).toEqual([
      ['gossip', 1, [1]],
      ['agreement', 1, { kind: 'ring-fetch', have: 1 }],
      ['ring', 1, 'r'],
    ]);
  });
});
