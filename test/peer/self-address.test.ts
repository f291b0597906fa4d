import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { closeAll, portOf, rawListener, TestPeer, until } from './harness.ts';

afterEach(closeAll);

/** An address that leads to one node, and later to another: a name of several nodes, or an address that was given to somebody else. */
class Moved {
  readonly address: string;
  /** Connections that ended. */
  ended = 0;
  leadsTo: TestPeer;
  private constructor(port: number, leadsTo: TestPeer) {
    this.address = `127.0.0.1:${port}`;
    this.leadsTo = leadsTo;
  }
  static async to(first: TestPeer): Promise<Moved> {
    let moved: Moved | null = null;
    const server = await rawListener((socket) => {
      if (moved === null) return;
      const { port } = moved.leadsTo;
      const onward = connect({ host: '127.0.0.1', port });
      onward.on('error', () => socket.destroy());
      socket.on('close', () => {
        onward.destroy();
        if (moved !== null) moved.ended++;
      });
      onward.on('close', () => socket.destroy());
      socket.pipe(onward).pipe(socket);
    });
    moved = new Moved(portOf(server), first);
    return moved;
  }
}

describe('a node that finds itself at an address', () => {
  it('where another node was goes on looking for that', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    const moved = await Moved.to(one);
    one.transport.setAddress(2, moved.address);
    await until(() => moved.ended > 0);
    moved.leadsTo = two;
    await until(() => one.transport.isConnected(2));
    await one.logged(/cannot connect with node 00000002 at .*: refused by the other end/);
  });

  it('where another node was takes the address that is told next', async () => {
    const one = await new TestPeer(1).listen();
    const two = await new TestPeer(2).listen();
    one.transport.setAddress(2, one.address);
    await one.logged(/cannot connect with node 00000002/);
    one.transport.setAddress(2, two.address);
    await until(() => one.transport.isConnected(2));
  });

  it('of a seed leaves that alone for a while, and then tries it again', async () => {
    const clock = new ManualClock(1_700_000_000_000);
    const one = await new TestPeer(1, { clock }).listen();
    const two = await new TestPeer(2).listen();
    const moved = await Moved.to(one);
    const ask = (): boolean => one.transport.sendTo(moved.address, Buffer.from('who'));
    expect(ask()).toBe(true);
    await until(() => one.transport.seedStandings().get(moved.address) === 'this node itself');
    clock.advanceMs(limits.seedIntervalMs - 1);
    expect(ask()).toBe(false);
    moved.leadsTo = two;
    clock.advanceMs(1);
    expect(ask()).toBe(true);
    await until(() => two.received.length > 0);
    expect(two.received).toEqual(['1: who']);
    expect(one.transport.seedStandings().get(moved.address)).not.toBe('this node itself');
  });
});

describe('an address that leads to one node and then to another', () => {
  it('is asked over the connection that is there, or over one that is made for it, and no other is kept', async () => {
    const clock = new ManualClock(1_700_000_000_000);
    const one = await new TestPeer(1, { clock }).listen();
    const two = await new TestPeer(2).listen();
    const three = await new TestPeer(3).listen();
    const moved = await Moved.to(two);
    const ask = (text: string, anew: boolean): boolean =>
      one.transport.sendTo(moved.address, Buffer.from(text), anew);
    expect(ask('first', true)).toBe(true);
    await until(() => two.received.length === 1);
    moved.leadsTo = three;
    expect(ask('second', false)).toBe(true);
    await until(() => two.received.length === 2);
    // As often as any address is dialled.
    clock.advanceMs(limits.peerReconnectMsMin);
    expect(ask('third', true)).toBe(true);
    await until(() => three.received.length === 1 && !one.transport.isConnected(2));
    expect([two.received, three.received]).toEqual([['1: first', '1: second'], ['1: third']]);
    expect(one.log.filter((line) => line.startsWith('warn'))).toEqual([]);
  });
});
