import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import type { PeerListener, PeerSocket } from '../../src/peer/outside.ts';
import { testSeed } from '../seed.ts';
import { ProcessLife } from './process-life.ts';
import { Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';
import { CALM } from './sim-network.ts';
import { RECEIVE_BUFFER_BYTES } from './tcp-end.ts';
import { SEND_BUFFER_BYTES } from './tcp-flow.ts';
import type { TcpHost } from './tcp-host.ts';
import { TcpNetwork } from './tcp-network.ts';

const SECOND_US = 1_000_000;
const PORT = 7;

class Side {
  readonly host: TcpHost;
  readonly sockets: PeerSocket[] = [];
  readonly heard: string[] = [];
  received = Buffer.alloc(0);
  readonly #world: World;
  #life: ProcessLife;
  listener: PeerListener | null = null;

  constructor(world: World, name: string) {
    this.#world = world;
    this.host = world.network.host(name);
    world.network.assign(name, this.host);
    this.#life = this.#start();
  }
  #start(): ProcessLife {
    this.host.isOn = true;
    return new ProcessLife(this.#world.scheduler, new SimClock(this.#world.scheduler));
  }
  powerCut(): void {
    this.#life.end();
    this.host.powerOff();
  }
  kill(): void {
    this.#life.end();
    this.host.processEnded(this.#life);
  }
  restart(): void {
    this.#life = this.#start();
  }
  async listen(isReading = true): Promise<void> {
    this.listener = this.#world.network.outside(this.host, this.#life).newListener(null, {
      onSocket: () => undefined,
      onOpen: (socket) => this.#take(socket, isReading),
      onFailure: () => undefined,
      onError: () => undefined,
    });
    await this.listener.listen(this.host.name, PORT);
  }
  dial(name: string): PeerSocket {
    const outside = this.#world.network.outside(this.host, this.#life);
    const socket = outside.dial(`${name}:${PORT}`, null, () => this.heard.push(`open ${name}`));
    this.#take(socket, true);
    return socket;
  }
  #take(socket: PeerSocket, isReading: boolean): void {
    this.sockets.push(socket);
    if (isReading)
      socket.on('data', (bytes: Buffer) => {
        this.received = Buffer.concat([this.received, bytes]);
      });
    socket.on('end', () => this.heard.push('end'));
    socket.on('error', (error) => this.heard.push(error.message));
    socket.on('close', () => this.heard.push('close'));
  }
}

class World {
  readonly scheduler = new Scheduler();
  readonly network: TcpNetwork;
  constructor(seed: number, lossChance = 0) {
    this.network = new TcpNetwork(this.scheduler, new Random(seed), { ...CALM, lossChance });
  }
  async run(seconds: number): Promise<void> {
    // What the test itself has set going.
    await new Promise(setImmediate);
    await this.scheduler.run(this.scheduler.nowUs + seconds * SECOND_US);
  }
}

async function pair(
  seed: number,
  lossChance = 0,
  isReading = true,
): Promise<[World, Side, Side, PeerSocket]> {
  const world = new World(seed, lossChance);
  const [a, b] = [new Side(world, 'a'), new Side(world, 'b')];
  await b.listen(isReading);
  const socket = a.dial('b');
  await world.run(20);
  expect(b.sockets, `seed ${seed}`).toHaveLength(1);
  return [world, a, b, socket];
}

describe('a simulated connection', () => {
  it('brings bytes whole, once and in order, whatever is lost on the way', async () => {
    const seed = testSeed();
    const [world, , b, socket] = await pair(seed, 0.3);
    const random = new Random(seed);
    const sent: Uint8Array[] = [];
    for (let i = 0; i < 50; i++) {
      const bytes = random.bytes(random.between(1, 20_000));
      sent.push(bytes.slice());
      // Their buffer is used again at once, as the transport does it.
      socket.write(bytes, () => bytes.fill(0));
      await world.run(0.01);
    }
    await world.run(300);
    expect(b.received.equals(Buffer.concat(sent)), `seed ${seed}`).toBe(true);
  });

  it('takes no more of a writer than its buffers hold while the other does not read', async () => {
    const [world, , b, socket] = await pair(testSeed(), 0, false);
    const all = SEND_BUFFER_BYTES + RECEIVE_BUFFER_BYTES + 1_000_000;
    let written = 0;
    for (let at = 0; at < all; at += 10_000) socket.write(Buffer.alloc(10_000), () => (written += 10_000));
    await world.run(10);
    // A stream reads ahead by its own buffer.
    const held = SEND_BUFFER_BYTES + RECEIVE_BUFFER_BYTES + 2 * 65_536;
    expect(written).toBeGreaterThanOrEqual(SEND_BUFFER_BYTES - 10_000);
    expect(written).toBeLessThanOrEqual(held);
    b.sockets[0]?.on('data', () => undefined);
    await world.run(10);
    expect(written).toBeGreaterThanOrEqual(all);
  });

  it('over a link that is cut brings nothing, and all of it when that is mended', async () => {
    const [world, , b, socket] = await pair(testSeed());
    world.network.links.cut('a', 'b');
    socket.write(Buffer.from('held up'));
    b.sockets[0]?.write(Buffer.from('the other way'));
    await world.run(8);
    expect(b.received.toString()).toBe('');
    world.network.links.mend('a', 'b');
    await world.run(5);
    expect(b.received.toString()).toBe('held up');
  });

  it('is half open after a power cut, until what comes over it is refused', async () => {
    const [world, a, b, socket] = await pair(testSeed());
    b.powerCut();
    await world.run(30);
    expect(a.heard).toEqual(['open b']);
    b.restart();
    await world.run(30);
    expect(a.heard).toEqual(['open b']);
    socket.write(Buffer.from('is somebody there?'));
    await world.run(5);
    expect(a.heard).toEqual(['open b', 'read ECONNRESET', 'close']);
  });

  it('ends where the other process is killed, and cannot be made again', async () => {
    const [world, a, b] = await pair(testSeed());
    b.kill();
    await world.run(5);
    expect(a.heard).toEqual(['open b', 'end', 'close']);
    a.dial('b');
    await world.run(5);
    expect(a.heard.slice(3)).toEqual(['connect ECONNREFUSED b:7', 'close']);
  });

  it('that is stalled one way passes nothing that way, while another serves', async () => {
    const [world, a, b, socket] = await pair(testSeed());
    for (const end of a.host.ends) end.stall(true, false);
    socket.write(Buffer.from('lost'));
    b.sockets[0]?.write(Buffer.from('heard'));
    await world.run(5);
    expect([a.received.toString(), b.received.toString()]).toEqual(['heard', '']);
    a.dial('b').write(Buffer.from('over another'));
    await world.run(5);
    expect(b.received.toString()).toBe('over another');
  });

  it('leads to whom the name belongs when it is dialled, and to nobody where it is nobody’s', async () => {
    const [world, a, b] = await pair(testSeed());
    const c = new Side(world, 'c');
    await c.listen();
    world.network.assign('b', c.host);
    a.dial('b').write(Buffer.from('for b'));
    await world.run(5);
    expect([b.received.toString(), c.received.toString()]).toEqual(['', 'for b']);
    world.network.assign('b', null);
    a.dial('b');
    await world.run(100);
    expect(a.heard.slice(2).join()).toMatch(/^connect (EHOSTUNREACH|ETIMEDOUT) b:7,close$/);
  });
});
