import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { MessageError } from '../../src/cluster/message-bytes.ts';
import { FrameKind, frameOf, frameOfMessage } from '../../src/peer/frame.ts';
import { RefusalCode } from '../../src/peer/hello.ts';
import { closeAll, connected, type RawPeer, rawTo, TestPeer, until } from './harness.ts';

afterEach(closeAll);

describe('a connection', () => {
  it.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'), /a frame of \d+ bytes; the limit is 4096/],
    ['a message before the hello', frameOfMessage(Buffer.from('x')), /a frame of kind 3 instead of a hello/],
    [
      'a hello that is none',
      frameOf(FrameKind.HELLO, Buffer.from('a0', 'hex')),
      /not the hello of a RingKV node/,
    ],
    ['a wrong checksum', Buffer.alloc(16), /the checksum of a frame of 0 bytes is wrong/],
  ])('that brings %s is closed with the reason', async (_, bytes, reason) => {
    const one = await new TestPeer(1).listen();
    const raw = await rawTo(one);
    raw.socket.write(bytes);
    expect(await raw.refusal()).toMatchObject({
      code: RefusalCode.MALFORMED,
      message: expect.stringMatching(reason),
    });
    await until(() => raw.closed);
    await one.logged(reason);
  });

  it.each([
    [
      'a checksum that is wrong',
      () => frameOfMessage(Buffer.from('x')).fill(9, 0, 1),
      /the checksum of a frame/,
    ],
    ['a frame that is too long', () => Buffer.alloc(16, 0xff), /a frame of 4294967295 bytes; the limit is/],
    ['a frame of unknown kind', () => frameOf(9, Buffer.alloc(2)), /a frame of kind 9 with 2 bytes/],
    [
      'a second hello',
      () => frameOf(FrameKind.HELLO, Buffer.alloc(0)),
      /a frame of kind 1 with 0 bytes after/,
    ],
    ['messages without one', () => frameOf(FrameKind.MESSAGES, Buffer.alloc(0)), /no length/],
  ])('that brings %s after the hello is closed with the reason', async (_, bytes, reason) => {
    const one = await new TestPeer(1).listen();
    const raw = await rawTo(one);
    raw.greet();
    raw.socket.write(bytes());
    expect((await raw.refusal()).message).toMatch(reason);
    await until(() => raw.closed);
    await one.logged(/lost a connection with node 0000004d/);
    expect(one.events).toEqual(['+77', '-77 0']);
    expect(one.received).toEqual([]);
  });

  it('that brings a message which its receiver finds malformed is closed, and nothing behind it is taken', async () => {
    const taken: string[] = [];
    const one = await new TestPeer(1, {
      onMessage: (_, message) => {
        taken.push(Buffer.from(message).toString());
        if (taken.length === 2) throw new MessageError('a bad one');
      },
    }).listen();
    const raw = await rawTo(one);
    raw.greet();
    raw.socket.write(Buffer.concat(['a', 'b', 'c'].map((text) => frameOfMessage(Buffer.from(text)))));
    expect((await raw.refusal()).message).toBe('a bad one');
    expect(taken).toEqual(['a', 'b']);
  });

  it('to one node exists four times at most: the oldest is cut', async () => {
    const one = await new TestPeer(1).listen();
    const raws: RawPeer[] = [];
    for (let i = 0; i <= limits.peerConnectionsPerNodeMax; i++) {
      const raw = await rawTo(one);
      raw.greet();
      await until(() => raw.has(FrameKind.HELLO));
      raws.push(raw);
    }
    await until(() => raws[0]?.closed === true);
    expect(raws.slice(1).some(({ closed }) => closed)).toBe(false);
  });

  it('whose peer does not read holds so many bytes and refuses more', async () => {
    const one = await new TestPeer(1).listen();
    const raw = await rawTo(one);
    raw.greet();
    await until(() => one.transport.isConnected(77));
    raw.socket.pause();
    const message = Buffer.alloc(1024 * 1024);
    let accepted = 0;
    while (one.transport.send(77, message)) {
      accepted++;
      expect(accepted).toBeLessThan(200);
    }
    const queued = (): number => one.transport.metrics()[0]?.queuedBytes ?? 0;
    expect(queued()).toBeLessThanOrEqual(limits.peerQueueBytesMax);
    expect(queued()).toBeGreaterThan(limits.peerQueueBytesMax - 2 * message.length);
    expect(one.transport.metrics()[0]?.refused).toBe(1);
    // Small ones find the same bound.
    while (one.transport.send(77, message.subarray(0, 1000)));
    expect(queued()).toBeLessThanOrEqual(limits.peerQueueBytesMax);
    raw.socket.resume();
    await until(() => queued() === 0);
    expect(one.transport.send(77, message)).toBe(true);
  });
});

/** How many of each kind keep this process alive. */
function activeResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}

describe('a transport', () => {
  it('sends what it accepted before it closes', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    await connected(one, two);
    for (let i = 0; i < 2000; i++) expect(one.say(2, `${i} ${'x'.repeat(1000)}`)).toBe(true);
    await one.transport.close();
    await until(() => two.received.length === 2000);
  });

  it('leaves no socket and no timer behind', async () => {
    const before = activeResources();
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    await connected(one, two);
    one.transport.setAddress(3, '127.0.0.1:1');
    one.transport.sendTo('127.0.0.1:1', Buffer.from('x'));
    const raw = await rawTo(one);
    await until(() => (one.transport.metrics().find(({ node }) => node === 3)?.failures ?? 0) > 0);
    one.say(2, 'x');
    await one.transport.close();
    await two.transport.close();
    await until(() => raw.closed);
    // What a test before this one left to be closed may be gone by now.
    const more = (): string[] =>
      [...activeResources()].flatMap(([kind, count]) => (count > (before.get(kind) ?? 0) ? [kind] : []));
    await until(
      () => more().length === 0,
      () => `more than before of ${more()}`,
    );
  });
});
