/**
 * What faults of connections leave behind when they have ended, and that it is waited for before a cluster is judged as one in which
 * nothing fails (Connections.outlast; found by seed 201424).
 */
import { describe, expect, it, vi } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';
import { plantConnectionDefect } from './connection-defects.ts';
import { Connections } from './connections.ts';
import { resetKnobs } from './knobs.ts';
import { ProcessLife } from './process-life.ts';
import { Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';
import { CALM } from './sim-network.ts';
import { simulate } from './simulation.ts';
import type { ProcessNetwork } from './site-network.ts';
import type { TcpEnd } from './tcp-end.ts';

const SECOND_US = 1_000_000;
/** Of a cluster that is whole again. */
const SEED = 1;
const NAMES = ['a', 'b', 'c'] as const;
type Name = (typeof NAMES)[number];
const numberOf = (name: Name): number => NAMES.indexOf(name) + 1;

/** Nodes that do nothing but keep connections with each other, each pair one. */
class World {
  readonly scheduler = new Scheduler();
  readonly connections: Connections;
  readonly networks = new Map<Name, ProcessNetwork>();
  readonly #random: Random;
  names: readonly Name[] = NAMES;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.connections = new Connections(this.scheduler, this.#random, CALM, null);
    for (const name of NAMES) this.networks.set(name, this.#attach(name));
    for (const [name, network] of this.networks) {
      network.listen();
      for (const other of NAMES) if (other > name) network.setAddress(numberOf(other), `${other}:7000`);
    }
  }

  #attach(machine: Name): ProcessNetwork {
    const clock = new SimClock(this.scheduler);
    return this.connections.network.attach({
      self: numberOf(machine),
      nodeId: numberOf(machine).toString(16).padStart(8, '0') + 'd'.repeat(24),
      generation: 1,
      clusterId: '5'.repeat(32),
      machine,
      address: `${machine}:7000`,
      life: new ProcessLife(this.scheduler, clock),
      clock: clock.ofProcess(),
      random: new Random(this.#random.uint32()),
      hears: {
        onMessage: () => undefined,
        onConnected: () => undefined,
        onDisconnected: () => undefined,
      },
      log: () => undefined,
    });
  }

  readonly until = async (holds: () => boolean, us: number): Promise<boolean> => {
    await this.scheduler.run(this.scheduler.nowUs + us, holds);
    return holds();
  };
  async pass(seconds: number): Promise<void> {
    await this.until(() => false, seconds * SECOND_US);
  }
  /** The end of the connection with `other` that the process of `name` has. */
  end(name: Name, other: Name): TcpEnd {
    const ends = [...this.connections.network.tcp.host(name).ends];
    const found = ends.find((end) => !end.isClosed && end.other?.host.name === other);
    if (found === undefined) throw new Error(`${name} has no connection with ${other}`);
    return found;
  }
  /** Whether there was something to wait for, and how many seconds that took. */
  async outlast(): Promise<readonly [waited: boolean, seconds: number]> {
    const members = this.names.map((name) => ({
      name,
      number: numberOf(name),
      program: { reaches: (node: number) => this.networks.get(name)?.isConnected(node) === true },
    }));
    const { nowUs } = this.scheduler;
    const waited = await this.connections.outlast(() => members, this.until);
    return [waited, (this.scheduler.nowUs - nowUs) / SECOND_US];
  }
  get broken(): string[] {
    return this.connections.network.violations.map(({ promise, what }) => `${promise}: ${what}`);
  }
}

async function inWorld(
  defect: 'silence-is-fine' | null,
  run: (world: World) => Promise<void>,
): Promise<void> {
  const seed = testSeed();
  const takeOut = plantConnectionDefect(defect);
  try {
    const world = new World(seed);
    await world.pass(2);
    await run(world);
  } catch (error) {
    throw new Error(`seed ${seed}`, { cause: error });
  } finally {
    takeOut();
    resetKnobs();
  }
}
const IDLE_SECONDS = limits.peerIdleMs / 1000;

describe('before a cluster is judged as one in which nothing fails', () => {
  it('nothing is waited for where all connections pass what they are given', () =>
    inWorld(null, async (world) => {
      expect(await world.outlast()).toEqual([false, 0]);
    }));

  it.each([
    [true, false],
    [false, true],
    [true, true],
  ])(
    'a connection that passes nothing (outwards %s, inwards %s) is waited for until it is given up and another made',
    (outwards, inwards) =>
      inWorld(null, async (world) => {
        world.end('a', 'b').stall(outwards, inwards);
        const [waited, seconds] = await world.outlast();
        expect(waited).toBe(true);
        expect(seconds).toBeGreaterThan(IDLE_SECONDS - 2);
        expect(seconds).toBeLessThan(IDLE_SECONDS + 2);
        expect(await world.outlast()).toEqual([false, 0]);
        expect(world.networks.get('a')?.isConnected(numberOf('b'))).toBe(true);
        expect(world.broken).toEqual([]);
      }),
  );

  it('what TCP sends again once a link is mended is waited for', () =>
    inWorld(null, async (world) => {
      const { network } = world.connections;
      network.cut('a', 'b');
      await world.pass(2);
      network.mendAll();
      const [waited, seconds] = await world.outlast();
      expect(waited).toBe(true);
      expect(seconds).toBeGreaterThan(0);
      expect(seconds).toBeLessThan(2);
    }));

  it('what a slow link holds back is waited for, though new messages would be fast', () =>
    inWorld(null, async (world) => {
      const { network } = world.connections;
      network.impair('a', 'b', 10_000, 0);
      await world.pass(1);
      network.mendAll();
      expect((await world.outlast())[0]).toBe(true);
    }));

  it('one that is never given up breaks a promise', () =>
    inWorld('silence-is-fine', async (world) => {
      world.end('a', 'b').stall(true, false);
      const [waited] = await world.outlast();
      expect(waited).toBe(true);
      expect(world.broken).toEqual(['m: no connection is held up 20 s later: a b; b a']);
    }));

  it('connections of who is no member are not waited for, nor ends that their process has closed', () =>
    inWorld(null, async (world) => {
      world.end('a', 'c').stall(true, true);
      world.names = ['a', 'b'];
      expect(await world.outlast()).toEqual([false, 0]);
      world.names = NAMES;
      for (const end of [world.end('a', 'c'), world.end('c', 'a')]) end.close();
      expect(world.connections.network.tcp.host('a').ends.size).toBeGreaterThan(1);
      expect(await world.outlast()).toEqual([false, 0]);
    }));

  it('an end that waits at a machine whose process was never told of it is not waited for', () =>
    inWorld(null, async (world) => {
      const { tcp } = world.connections.network;
      const clock = new SimClock(world.scheduler);
      const life = new ProcessLife(world.scheduler, clock);
      const socket = tcp.outside(tcp.host('a'), life).dial('b:7000', null, () => undefined);
      const dialled = [...tcp.host('a').ends].find((end) => end.socket === socket);
      await world.until(() => dialled?.other !== null, SECOND_US);
      dialled?.stall(true, true);
      socket.destroy();
      await world.pass(1);
      expect([...tcp.host('b').ends].some((end) => end.other === dialled)).toBe(true);
      expect(await world.outlast()).toEqual([false, 0]);
    }));
});

describe('reads of a hot key', () => {
  it('do not begin while connections that their answers would come over are dead', async () => {
    const { outlast } = Connections.prototype;
    let stalled = 0;
    const spy = vi.spyOn(Connections.prototype, 'outlast').mockImplementation(function (
      this: Connections,
      members,
      until,
    ) {
      const names = members().map(({ name }) => name);
      for (const end of this.network.tcp.host(names[0] ?? '').ends)
        if (!end.isClosed && names.includes(end.other?.host.name ?? '')) {
          end.stall(false, true);
          stalled++;
        }
      return outlast.call(this, members, until);
    });
    try {
      const { violations, stats } = await simulate({ seed: SEED, hot: true, network: 'connections' });
      expect(stalled).toBeGreaterThan(0);
      expect(violations).toEqual([]);
      expect(stats.slowestHotReadMs).toBeGreaterThan(0);
    } finally {
      spy.mockRestore();
    }
  });
});
