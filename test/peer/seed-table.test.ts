import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { closeAll, portOf, rawListener, TestPeer, until } from './harness.ts';

const settable: { -readonly [Name in keyof typeof limits]: number } = limits;
const { peerSeedsMax } = limits;
afterEach(async () => {
  settable.peerSeedsMax = peerSeedsMax;
  await closeAll();
});

const hello = Buffer.from('hello');
/** On the loopback: nobody listens there. */
const nowhere = (i: number): string => `127.0.1.${i + 1}:1`;

describe('addresses whose nodes are not known', () => {
  it('make room where nobody was found, so that the next one is asked all the same', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    for (let i = 0; i < limits.peerSeedsMax; i++) expect(one.transport.sendTo(nowhere(i), hello)).toBe(true);
    await until(() => [...one.transport.seedStandings().values()].every((said) => said !== 'no answer yet'));
    expect(one.transport.sendTo(two.address, hello)).toBe(true);
    await until(() => two.received.length > 0);
    expect(one.transport.seedStandings().size).toBe(limits.peerSeedsMax);
  });

  it('make room where a node was found too, that which was asked longest ago, and the connection with it serves on', async () => {
    settable.peerSeedsMax = 2;
    const one = await new TestPeer(1).listen();
    const [two, three, four] = await Promise.all([2, 3, 4].map((node) => new TestPeer(node).listen()));
    const ask = async (peer: TestPeer | undefined, text: string): Promise<void> => {
      expect(one.transport.sendTo(peer?.address ?? '', Buffer.from(text))).toBe(true);
      await until(() => peer?.received.at(-1) === `1: ${text}`);
    };
    await ask(two, 'first');
    await ask(three, 'first');
    await ask(two, 'again');
    await ask(four, 'first');
    expect([...one.transport.seedStandings().keys()]).toEqual([two?.address, four?.address]);
    expect(one.say(3, 'still here')).toBe(true);
    await until(() => three?.received.at(-1) === '1: still here');
    expect(one.log.filter((line) => line.startsWith('warn'))).toEqual([]);
  });

  it('make room where nobody was found before they do where a node was', async () => {
    settable.peerSeedsMax = 2;
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    const three = await new TestPeer(3).listen();
    expect(one.transport.sendTo(two.address, hello)).toBe(true);
    expect(one.transport.sendTo(nowhere(0), hello)).toBe(true);
    await until(() => [...one.transport.seedStandings().values()].every((said) => said !== 'no answer yet'));
    expect(one.transport.sendTo(three.address, hello)).toBe(true);
    expect([...one.transport.seedStandings().keys()]).toEqual([two.address, three.address]);
    await until(() => three.received.length > 0);
  });

  it('are refused beyond so many connections with such', async () => {
    const one = await new TestPeer(1).listen();
    // They accept, and say nothing.
    for (let i = 0; i < limits.peerSeedsMax; i++)
      one.transport.sendTo(`127.0.0.1:${portOf(await rawListener(() => undefined))}`, hello);
    expect(one.transport.sendTo(nowhere(0), hello)).toBe(false);
  });
});
