import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { FrameKind, frameOf, frameOfMessage } from '../../src/peer/frame.ts';
import {
  closeAll,
  connected,
  idOf,
  onClose,
  portOf,
  type RawPeer,
  rawListener,
  rawTo,
  TestPeer,
  until,
} from '../peer/harness.ts';

/** A busy machine may be late by so much. */
const SLACK_MS = 10_000;
afterEach(closeAll);

/** Calls `what` every `ms` until the test ends. */
function every(ms: number, what: () => void): void {
  const timer = setInterval(what, ms);
  onClose(() => clearInterval(timer));
}
const heartbeat = frameOf(FrameKind.HEARTBEAT, new Uint8Array(0));

describe('a transport, over time,', () => {
  it('closes what is stuck, and keeps what is alive', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    await connected(one, two);
    const started = performance.now();
    const ready = async (node: number): Promise<RawPeer> => {
      const raw = await rawTo(one);
      raw.greet({ node, nodeId: idOf(node) });
      await until(() => raw.has(FrameKind.HELLO));
      return raw;
    };
    const mute = await rawTo(one);
    // A byte now and then is no hello.
    const slowGreeter = await rawTo(one);
    const hello = frameOf(FrameKind.HELLO, new Uint8Array(4000));
    let greeted = 0;
    every(100, () => slowGreeter.socket.write(hello.subarray(greeted, ++greeted)));
    const silent = await ready(70);
    const slowSender = await ready(71);
    const long = frameOfMessage(Buffer.alloc(200_000, 0x61));
    let sent = 0;
    every(100, () => slowSender.socket.write(long.subarray(sent, ++sent)));
    const alive = await ready(72);
    every(1000, () => alive.socket.write(heartbeat));
    // A long frame over a slow link, that comes faster than the least that is asked for.
    const steady = await ready(73);
    const longer = frameOfMessage(Buffer.alloc(360_000, 0x62));
    let steadily = 0;
    every(100, () => {
      const part = longer.subarray(steadily, steadily + 4000);
      steadily += part.length;
      steady.socket.write(part.length > 0 ? part : heartbeat);
    });
    await until(() => [mute, slowGreeter, silent, slowSender].every(({ closed }) => closed));
    const took = performance.now() - started;
    expect(took).toBeGreaterThan(limits.peerIdleMs - limits.peerHeartbeatMs);
    expect(took).toBeLessThan(limits.peerIdleMs + SLACK_MS);
    await until(() => one.received.length === 1);
    expect(one.received[0]).toHaveLength('73: '.length + 360_000);
    expect([alive.closed, steady.closed]).toEqual([false, false]);
    expect(alive.frames.filter(({ kind }) => kind === FrameKind.HEARTBEAT).length).toBeGreaterThan(4);
    expect(one.transport.isConnected(2)).toBe(true);
    expect(two.events).toEqual(['+1']);
    for (const pattern of [/no hello within 5000 ms/, /node 00000046 .*no whole frame within 5000 ms/])
      await one.logged(pattern);
    expect(one.log.filter((line) => line.includes('no hello'))).toHaveLength(2);
  });

  it('closes a peer that sends but does not read', async () => {
    const one = await new TestPeer(1).listen();
    const raw = await rawTo(one);
    raw.greet();
    await until(() => one.transport.isConnected(77));
    raw.socket.pause();
    every(500, () => raw.socket.write(heartbeat));
    const message = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 12; i++) one.transport.send(77, message);
    await one.logged(/it did not take \d+ bytes within \d+ ms/);
    expect(one.events).toEqual(['+77', '-77 0']);
    expect(one.transport.metrics()).toEqual([]);
  });

  it('gives up on a peer that accepts and says nothing, and comes back later each time, within the bound', async () => {
    const times: number[] = [];
    const server = await rawListener((socket) => {
      times.push(performance.now());
      socket.destroy();
    });
    const one = new TestPeer(1);
    one.transport.setAddress(2, `127.0.0.1:${portOf(server)}`);
    await until(() => times.length >= 9);
    const waits = times.slice(1).map((time, i) => time - (times[i] as number));
    waits.forEach((wait, i) => {
      const ceiling = Math.min(limits.peerReconnectMsMax, limits.peerReconnectMsMin * 2 ** (i + 1));
      expect(wait).toBeLessThan(ceiling + SLACK_MS);
    });
    expect(Math.max(...waits)).toBeGreaterThan(4 * limits.peerReconnectMsMin);
    expect(one.log).toHaveLength(1);
  });

  it('carries 100,000 messages each way in order, under load, within its bounds', async () => {
    const total = 100_000;
    const peers: TestPeer[] = [];
    const next = [0, 0, 0];
    const bad: string[] = [];
    for (const node of [1, 2])
      peers.push(
        await new TestPeer(node, {
          onMessage: (from, message) => {
            const number = Buffer.from(message).readUInt32LE(0);
            if (number !== next[from]) bad.push(`${number} after ${next[from]} from ${from}`);
            next[from] = number + 1;
            if (message.length !== 8 + (number % 3000)) bad.push(`length of ${number}`);
          },
        }).listen(),
      );
    const [one, two] = peers as [TestPeer, TestPeer];
    await connected(one, two);
    const sent = [0, 0];
    let refused = 0;
    await until(() => {
      for (const [i, from, to] of [
        [0, one, 2],
        [1, two, 1],
      ] as const)
        for (let n = 0; n < 2000 && (sent[i] as number) < total; n++) {
          const number = sent[i] as number;
          const message = Buffer.alloc(8 + (number % 3000));
          message.writeUInt32LE(number, 0);
          if (!from.transport.send(to, message)) {
            refused++;
            break;
          }
          sent[i] = number + 1;
        }
      for (const peer of peers)
        for (const { queuedBytes } of peer.transport.metrics())
          if (queuedBytes > limits.peerQueueBytesMax) bad.push(`${queuedBytes} bytes queued`);
      return next[1] === total && next[2] === total;
    });
    expect(bad).toEqual([]);
    const [metrics] = one.transport.metrics();
    expect(metrics).toMatchObject({
      messagesIn: total,
      messagesOut: total,
      refused: refused > 0 ? expect.any(Number) : 0,
    });
    expect(metrics?.framesOut).toBeLessThan(total / 5);
  });
});
