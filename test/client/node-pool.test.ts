import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import type { HttpLink } from '../../src/client/http-link.ts';
import type { KvLink } from '../../src/client/kv.ts';
import { ClientNode, NodePool } from '../../src/client/node-pool.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** What was closed, by URL and transport. */
const world = (): { pool: NodePool; closed: string[]; learn: (url: string) => Promise<ClientNode> } => {
  const closed: string[] = [];
  const link = (name: string): { close: () => Promise<void> } => ({
    close: async () => {
      closed.push(name);
    },
  });
  const pool = new NodePool(['a', 'b'], (url, isNamed) => {
    const kv = link(`${url} kv`) as unknown as KvLink;
    return new ClientNode(url, kv, link(`${url} http`) as unknown as HttpLink, isNamed);
  });
  const learn = async (url: string): Promise<ClientNode> => {
    const node = pool.candidate(url);
    await pool.add(node);
    return node;
  };
  return { pool, closed, learn };
};
const HAD_ITS_TIME_MS = limits.requestTimeoutMsMax + limits.clientStuckMs;
const urls = (pool: NodePool): string[] => pool.list.map(({ url }) => url);

describe('the nodes of a client', () => {
  it('are those that were named and those that it learnt', async () => {
    const { pool, learn } = world();
    const before = pool.list;
    await learn('c');
    expect(pool.list.map(({ url, isNamed }) => [url, isNamed])).toEqual([
      ['a', true],
      ['b', true],
      ['c', false],
    ]);
    expect(before).toHaveLength(2);
  });

  it('are asked no more when they are dropped, and closed, once, when what was asked has had its time', async () => {
    const { pool, closed, learn } = world();
    pool.drop(await learn('c'));
    expect(urls(pool)).toEqual(['a', 'b']);
    await vi.advanceTimersByTimeAsync(HAD_ITS_TIME_MS - 1);
    expect(closed).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(closed).toEqual(['c kv', 'c http']);
    await pool.close();
    expect(closed.sort()).toEqual(['a http', 'a kv', 'b http', 'b kv', 'c http', 'c kv']);
  });

  it('are all closed with the pool, those that were dropped at once, and leave no timer', async () => {
    const { pool, closed, learn } = world();
    const [c, late] = [await learn('c'), pool.candidate('d')];
    pool.drop(c);
    await pool.close();
    expect(closed.sort()).toEqual(['a http', 'a kv', 'b http', 'b kv', 'c http', 'c kv']);
    expect(vi.getTimerCount()).toBe(0);
    // One that was learnt too late is closed, and not taken in.
    await pool.add(late);
    expect(closed.slice(6)).toEqual(['d kv', 'd http']);
    expect(urls(pool)).toEqual(['a', 'b']);
  });
});
