import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { closeAll, portOf, rawListener, TestPeer, until } from './harness.ts';

afterEach(closeAll);

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

  it('are refused beyond so many connections with such', async () => {
    const one = await new TestPeer(1).listen();
    // They accept, and say nothing.
    for (let i = 0; i < limits.peerSeedsMax; i++)
      one.transport.sendTo(`127.0.0.1:${portOf(await rawListener(() => undefined))}`, hello);
    expect(one.transport.sendTo(nowhere(0), hello)).toBe(false);
  });
});
