import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { FrameKind } from '../../src/peer/frame.ts';
import { RefusalCode } from '../../src/peer/hello.ts';
import {
  CLUSTER_ID,
  closeAll,
  connected,
  idOf,
  portOf,
  rawListener,
  rawTo,
  TestPeer,
  until,
} from './harness.ts';

afterEach(closeAll);

describe('two nodes', () => {
  it('exchange messages in both directions over one connection, in order', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    await connected(one, two);
    for (let i = 0; i < 500; i++) {
      expect(one.say(2, `to two ${i}`)).toBe(true);
      expect(two.say(1, `to one ${i}`)).toBe(true);
    }
    await until(() => one.received.length === 500 && two.received.length === 500);
    expect(two.received).toEqual(Array.from({ length: 500 }, (_, i) => `1: to two ${i}`));
    expect(one.received).toEqual(Array.from({ length: 500 }, (_, i) => `2: to one ${i}`));
    const [metrics] = one.transport.metrics();
    expect(metrics).toMatchObject({ node: 2, connected: 1, messagesIn: 500, messagesOut: 500, refused: 0 });
    // 500 messages of one turn go out in one frame.
    expect(metrics?.framesOut).toBeLessThan(5);
    expect(one.events).toEqual(['+2']);
  });

  it('that both dial at once have each other, and lose no message', async () => {
    for (let round = 0; round < 20; round++) {
      const one = await new TestPeer(1).listen();
      const two = await new TestPeer(2).listen();
      one.transport.setAddress(2, two.address);
      two.transport.setAddress(1, one.address);
      await until(() => one.transport.isConnected(2) && two.transport.isConnected(1));
      let sent = 0;
      await until(() => {
        if (one.say(2, String(sent)) && two.say(1, String(sent))) sent++;
        return sent === 30;
      });
      await until(() => one.received.length >= 30 && two.received.length >= 30);
      expect(new Set(one.received).size).toBe(30);
      expect(new Set(two.received).size).toBe(30);
      expect(one.events.filter((event) => event.startsWith('+'))).toEqual(['+2']);
      for (const { connected: count } of one.transport.metrics()) expect(count).toBeLessThanOrEqual(2);
      await closeAll();
    }
  });

  it('pass messages of every size up to the longest', async () => {
    const sizes = [0, 1, 65_515, 65_516, 65_517, 300_000, limits.peerMessageBytesMax];
    const received: number[] = [];
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2, {
      onMessage: (_, message) => {
        for (let i = 0; i < message.length; i += 997) expect(message[i]).toBe((i + message.length) & 255);
        received.push(message.length);
      },
    }).listen();
    await connected(one, two);
    for (const size of sizes) {
      const message = Buffer.alloc(size);
      for (let i = 0; i < size; i += 997) message[i] = (i + size) & 255;
      expect(one.transport.send(2, message)).toBe(true);
    }
    await until(() => received.length === sizes.length);
    expect(received).toEqual(sizes);
  });

  it('refuse at once what cannot be sent: no address, not connected, itself, forgotten', async () => {
    const one = await new TestPeer(1).listen();
    expect(one.say(2, 'x')).toBe(false);
    one.transport.setAddress(2, '127.0.0.1:1');
    expect(one.say(2, 'x')).toBe(false);
    one.transport.setAddress(1, one.address);
    expect(one.say(1, 'x')).toBe(false);
    const three = await new TestPeer(3).listen();
    await connected(one, three);
    one.transport.forget(3);
    expect(one.say(3, 'x')).toBe(false);
    await until(() => !three.transport.isConnected(1));
    expect(one.events).toEqual(['+3', '-3 0']);
    expect(() => one.transport.setAddress(2, 'nonsense')).toThrow(/"nonsense" is no address: use host:port/);
    expect(() => one.transport.sendTo('a:99999', Buffer.from('x'))).toThrow(/is no address/);
  });

  it('find each other again after one was killed, and the calls of the first are told of it', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    await connected(one, two);
    await two.transport.close();
    await until(() => !one.transport.isConnected(2));
    expect(one.events).toEqual(['+2', '-2 0']);
    await until(() => (one.transport.metrics()[0]?.failures ?? 0) >= 2);
    const again = await new TestPeer(2, { generation: 2 }).listen(two.port);
    await until(() => one.transport.isConnected(2));
    expect(one.say(2, 'welcome')).toBe(true);
    await until(() => again.received.length === 1);
    // The same failure was told once, and not with each attempt.
    expect(one.log.filter((line) => line.includes('ECONNREFUSED'))).toHaveLength(1);
  });

  it('reach a seed whose number they do not know, which answers over the same connection', async () => {
    const seed = await new TestPeer(9).listen();
    const joiner = new TestPeer(1, { clusterId: '' });
    expect(joiner.transport.sendTo(seed.address, Buffer.from('hello'))).toBe(true);
    await until(() => seed.received.length === 1);
    expect(seed.received).toEqual(['1: hello']);
    expect(seed.say(1, 'welcome')).toBe(true);
    await until(() => joiner.received.length === 1);
    expect(joiner.received).toEqual(['9: welcome']);
    expect(joiner.transport.sendTo(seed.address, Buffer.from('again'))).toBe(true);
    expect(joiner.say(9, 'by number')).toBe(true);
    await until(() => seed.received.length === 3);
  });

  it("greet again, where a node has learned its cluster, with whom greeted under none, and never with another cluster's", async () => {
    const one = await new TestPeer(1, { clusterId: '' }).listen();
    const two = await new TestPeer(2, { clusterId: '' }).listen();
    const three = await new TestPeer(3, { clusterId: CLUSTER_ID }).listen();
    await connected(one, two);
    await connected(one, three);
    // Its ring came from node 3; node 2 still knows none, and is greeted under the id.
    one.transport.setClusterId(CLUSTER_ID);
    await until(() => one.events.includes('-2 0'));
    await until(() => one.transport.isConnected(2) && two.transport.isConnected(1));
    expect(one.events.filter((event) => event.endsWith('3') || event.startsWith('-3'))).toEqual(['+3']);
    two.transport.setClusterId('d'.repeat(32));
    await until(() => two.events.includes('-1 0'));
    await one.logged(/of two clusters with the name/);
    expect([one.transport.isConnected(2), two.transport.isConnected(1)]).toEqual([false, false]);
    expect(one.say(3, 'still here')).toBe(true);
    await until(() => three.received.length === 1);
  });

  it('keep few messages for a seed that is not there yet', async () => {
    const server = await rawListener(() => undefined);
    const joiner = new TestPeer(1);
    const address = `127.0.0.1:${portOf(server)}`;
    const taken = Array.from({ length: 40 }, () => joiner.transport.sendTo(address, Buffer.from('x')));
    expect(taken.filter(Boolean)).toHaveLength(limits.peerSeedMessagesMax);
    const other = new TestPeer(2);
    expect(other.transport.sendTo(address, Buffer.alloc(limits.peerSeedBytesMax + 1))).toBe(false);
  });
});

describe('a hello', () => {
  it.each([
    [
      'another cluster',
      { clusterName: 'prod' },
      RefusalCode.CLUSTER_NAME,
      /of cluster "test", node 0000004d of "prod"/,
    ],
    [
      'another id of the cluster',
      { clusterId: 'd'.repeat(32) },
      RefusalCode.CLUSTER_ID,
      /two clusters with the name "test"/,
    ],
    [
      'a later protocol',
      { versionMin: 2, versionMax: 3 },
      RefusalCode.VERSION,
      /versions 1 to 1, node 0000004d 2 to 3/,
    ],
    [
      'this node itself',
      { node: 1, nodeId: idOf(1) },
      RefusalCode.SELF,
      /node 00000001 was dialled by itself/,
    ],
    [
      'the number of this node',
      { node: 1, nodeId: `00000001${'f'.repeat(24)}` },
      RefusalCode.NUMBER_TAKEN,
      /two nodes have the number/,
    ],
    [
      'a node id of another number',
      { nodeId: idOf(78) },
      RefusalCode.MALFORMED,
      /is not 32 hexadecimal digits that begin with 0000004d/,
    ],
    ['a malformed cluster id', { clusterId: 'x' }, RefusalCode.MALFORMED, /clusterId "x"/],
  ])('with %s is refused, and told why', async (_, hello, code, message) => {
    const one = await new TestPeer(1).listen();
    const raw = await rawTo(one);
    raw.greet(hello);
    const refusal = await raw.refusal();
    expect(refusal.code).toBe(code);
    expect(refusal.message).toMatch(message);
    await until(() => raw.closed);
    expect(raw.has(FrameKind.HELLO)).toBe(false);
    expect(one.transport.metrics()).toEqual([]);
    expect(one.events).toEqual([]);
  });

  it('of a node that has no cluster id yet is welcome', async () => {
    const one = await new TestPeer(1).listen();
    const raw = await rawTo(one);
    raw.greet({ clusterId: '' });
    await until(() => raw.has(FrameKind.HELLO));
    expect(one.transport.isConnected(77)).toBe(true);
  });

  it('of a later protocol that speaks ours too, with fields that ours lacks, is welcome', async () => {
    const one = await new TestPeer(1).listen();
    const raw = await rawTo(one);
    raw.greet({ versionMin: 1, versionMax: 9, features: 0xffff_ffff });
    await until(() => raw.has(FrameKind.HELLO));
  });

  it('of an earlier process of a node is refused, one of a later cuts the earlier off', async () => {
    const one = await new TestPeer(1).listen();
    const first = await rawTo(one);
    first.greet({ generation: 5 });
    await until(() => first.has(FrameKind.HELLO));
    const old = await rawTo(one);
    old.greet({ generation: 4 });
    expect(await old.refusal()).toEqual({
      code: RefusalCode.OLD_GENERATION,
      message: 'node 0000004d has generation 4, and was here with 5',
    });
    expect(first.closed).toBe(false);
    const next = await rawTo(one);
    next.greet({ generation: 6 });
    await until(() => next.has(FrameKind.HELLO) && first.closed);
    await one.logged(/lost a connection with node 0000004d .*a newer process of the node took its place/);
    expect(one.say(77, 'x')).toBe(true);
    await until(() => next.has(FrameKind.MESSAGES));
  });

  it('of a second node with a number that is here is refused', async () => {
    const one = await new TestPeer(1).listen();
    const first = await rawTo(one);
    first.greet();
    await until(() => first.has(FrameKind.HELLO));
    const second = await rawTo(one);
    second.greet({ nodeId: `0000004d${'1'.repeat(24)}` });
    expect((await second.refusal()).code).toBe(RefusalCode.NUMBER_TAKEN);
  });

  it('of another node than the one that was dialled is refused by the dialler, who goes on trying', async () => {
    const one = await new TestPeer(1).listen();
    const three = await new TestPeer(3).listen();
    one.transport.setAddress(2, three.address);
    await one.logged(/node 00000002 was dialled at .*, and node 00000003 answered/);
    await three.logged(/refused by the other end \(8\): node 00000002 was dialled/);
    expect(one.transport.isConnected(3)).toBe(false);
    // It was never told that they agreed.
    expect(three.events).toEqual([]);
    const two = await new TestPeer(2).listen();
    one.transport.setAddress(2, two.address);
    await until(() => one.transport.isConnected(2));
  });

  it('that refuses tells its reason to the one who dialled', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2, { clusterName: 'other' }).listen();
    two.transport.setAddress(1, one.address);
    await two.logged(
      /cannot connect with node 00000001 at .*refused by the other end \(3\): node 00000001 is of cluster "test"/,
    );
    await one.logged(/was not made: node 00000001 is of cluster "test", node 00000002 of "other"/);
  });

  it('to this node itself, dialled as a seed, ends that seed without a word', async () => {
    const one = await new TestPeer(1).listen();
    expect(one.transport.sendTo(one.address, Buffer.from('x'))).toBe(true);
    await until(() => one.transport.sendTo(one.address, Buffer.from('x')) === false);
    expect(one.log).toEqual([]);
  });

  it('never comes from 256 strangers: the next one is closed at once', async () => {
    const one = await new TestPeer(1).listen();
    const raws = await Promise.all(Array.from({ length: limits.peerHandshakesMax }, () => rawTo(one)));
    const next = await rawTo(one);
    await until(() => next.closed);
    await one.logged(/was closed: there are 256, 256 without a hello/);
    raws[0]?.greet();
    await until(() => raws[0]?.has(FrameKind.HELLO) === true);
    const third = await rawTo(one);
    third.greet({ node: 78, nodeId: idOf(78) });
    await until(() => third.has(FrameKind.HELLO));
  });
});
