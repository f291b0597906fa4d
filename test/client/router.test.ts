/** Which node is asked, over nodes that answer as the test says. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { ConnectionError } from '../../src/client/errors.ts';
import type { HttpLink } from '../../src/client/http-link.ts';
import type { KvLink } from '../../src/client/kv.ts';
import { ClientNode, NodePool } from '../../src/client/node-pool.ts';
import { Router } from '../../src/client/router.ts';

const KEY = Buffer.from('key');

class World {
  readonly clock = new ManualClock(1_000_000);
  /** What each URL answers on GET /v1/cluster; nobody is there where it has none. */
  readonly views = new Map<string, object>();
  /** URLs of which a transport is down. */
  readonly httpDown = new Set<string>();
  readonly kvDown = new Set<string>();
  readonly asked: string[] = [];
  readonly pool: NodePool;
  readonly router: Router;
  constructor(urls: readonly string[], { discovers = true, byToken = false } = {}) {
    const { httpDown, kvDown } = this;
    this.pool = new NodePool(urls, (url, isNamed) => {
      const http = {
        get usable(): boolean {
          return !httpDown.has(url);
        },
        call: async ({ path }: { readonly path: string }) => {
          this.asked.push(`${url} ${path}`);
          const view = this.views.get(url);
          if (view === undefined || path !== '/v1/cluster') throw new ConnectionError('nobody there', false);
          return { status: 200, header: () => undefined, body: Buffer.from(JSON.stringify(view)) };
        },
        close: () => Promise.resolve(),
      };
      const kv = {
        get usable(): boolean {
          return !kvDown.has(url);
        },
        close: () => Promise.resolve(),
      };
      return new ClientNode(url, kv as unknown as KvLink, http as unknown as HttpLink, isNamed);
    });
    const { clock } = this;
    this.router = new Router(this.pool, { clock, discovers, byToken, tokenHi: () => 0 });
  }
  tell(
    url: string,
    self: string,
    members: readonly string[],
    more: { clusterId?: string; ring?: number } = {},
  ): void {
    const { clusterId = 'cluster', ring = 1 } = more;
    const nodes = members.map((name) => ({
      nodeId: name,
      url: `http://${name}`,
      address: '127.0.0.1:1',
      member: true,
      state: 'up',
    }));
    this.views.set(url, { self, clusterId, ring, nodes });
  }
  get urls(): string[] {
    return this.pool.list.map(({ url }) => url);
  }
  node(url: string): ClientNode {
    const found = this.pool.list.find((one) => one.url === url);
    if (found === undefined) throw new Error(`no node ${url}`);
    return found;
  }
  /** What nodes are asked of the cluster when a call comes so much later. */
  async askedAfter(ms: number): Promise<readonly string[]> {
    this.asked.length = 0;
    this.clock.advanceMs(ms);
    this.picked();
    await turn();
    return [...this.asked];
  }
  picked(key: Uint8Array | null = KEY, tried: readonly ClientNode[] = []): string {
    return this.router.pick(key, tried).url;
  }
}
const [A, B, C] = ['http://a', 'http://b', 'http://c'];

describe('the node that is asked', () => {
  it('is one whose transport for the call is up', () => {
    const world = new World([A, B], { discovers: false });
    world.kvDown.add(A);
    expect([world.picked(KEY), world.picked(null)]).toEqual([B, A]);
    world.kvDown.clear();
    world.httpDown.add(A);
    expect([world.picked(KEY), world.picked(null)]).toEqual([A, B]);
  });

  it('is rather one that serves and is down than one that is about to go', () => {
    const world = new World([A, B], { discovers: false });
    world.node(A).serves = false;
    world.kvDown.add(B);
    expect(world.picked()).toBe(B);
    expect(world.picked(KEY, [world.node(B)])).toBe(A);
    expect(world.picked(KEY, [world.node(A), world.node(B)])).toBe(B);
  });

  it('is the next one after a call that failed where calls begin, and the same after one that failed elsewhere', () => {
    const world = new World([A, B, C], { discovers: false });
    world.router.failed(world.node(B));
    expect(world.picked()).toBe(A);
    world.router.failed(world.node(A));
    expect(world.picked()).toBe(B);
    world.router.failed(world.node(B));
    world.router.failed(world.node(C));
    expect(world.picked()).toBe(A);
  });
});

describe('the members of the cluster', () => {
  const learnt = async (): Promise<World> => {
    const world = new World([A]);
    for (const url of [A, B]) world.tell(url, url.slice(-1), ['a', 'b']);
    await world.router.refresh();
    expect(world.urls).toEqual([A, B]);
    return world;
  };

  it('are asked for once at a time, when they are old, and soon after a failure', async () => {
    const world = await learnt();
    world.asked.length = 0;
    await Promise.all([world.router.refresh(), world.router.refresh()]);
    expect(world.asked).toEqual([`${A} /v1/cluster`]);
    expect(await world.askedAfter(limits.clientRingAgeMs - 1)).toEqual([]);
    expect(await world.askedAfter(1)).toEqual([`${A} /v1/cluster`]);
    world.router.failed(world.node(B));
    expect(await world.askedAfter(limits.clientRingPauseMs - 1)).toEqual([]);
    // The one that failed may be another by now: it is asked who it is.
    expect(await world.askedAfter(1)).toEqual([`${B} /v1/cluster`, `${A} /v1/cluster`]);
  });

  it('are asked for again sooner where one did not answer', async () => {
    const world = new World([A, B]);
    world.tell(A, 'a', ['a', 'b']);
    await world.router.refresh();
    expect(await world.askedAfter(5 * limits.clientRingPauseMs - 1)).toEqual([]);
    expect((await world.askedAfter(1)).length).toBeGreaterThan(0);
  });

  it('are not those of another cluster that answers where a member was', async () => {
    const world = await learnt();
    world.router.failed(world.node(B));
    world.tell(B, 'b', ['b', 'c'], { clusterId: 'another', ring: 99 });
    world.tell(C, 'c', ['b', 'c'], { clusterId: 'another', ring: 99 });
    await world.router.refresh();
    expect(world.urls).toEqual([A, B]);
    // Nor what is said of them later taken for old.
    world.tell(A, 'a', ['a'], { ring: 2 });
    await world.router.refresh();
    expect(world.urls).toEqual([A]);
  });
});
