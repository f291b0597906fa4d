import { describe, expect, it } from 'vitest';
import { configOfOpen, type OpenOptions } from '../../src/node/open-options.ts';

describe('the options of an embedded store', () => {
  it('become the configuration of a node', () => {
    const config = configOfOpen({
      path: '/x/y',
      shards: 3,
      durability: 'interval',
      syncInterval: '2s',
      memtableBytes: '4MiB',
      gcGrace: 1000,
      log: () => undefined,
    });
    expect(config).toMatchObject({
      data: '/x/y',
      inMemory: false,
      shards: 3,
      durability: 'interval',
      syncIntervalMs: 2000,
      memtableBytes: 4 * 1024 * 1024,
      gcGraceMs: 1000,
    });
    expect(configOfOpen({ inMemory: true }).inMemory).toBe(true);
  });

  it('are refused by name where they are wrong', () => {
    const message = (options: Record<string, unknown>): string => {
      try {
        configOfOpen(options as OpenOptions);
      } catch (error) {
        expect(error).toMatchObject({ code: 'CONFIGURATION' });
        return (error as Error).message;
      }
      return '';
    };
    expect(message({})).toBe('option path: a store needs a path, or inMemory: true');
    expect(message({ path: 'x', inMemory: true })).toBe(
      'option path "x": a store with inMemory: true has no path',
    );
    expect(message({ path: 'x', port: 80 })).toBe('option port: an embedded store has no such option');
    expect(message({ path: 'x', shard: 2 })).toContain('there is no setting "shard"');
    expect(message({ path: 'x', shards: 0 })).toContain('shards (option): 0 is below the minimum 1');
    expect(message({ path: 'x', durability: 'never' })).toContain(
      'durability (option): "never" is not one of',
    );
    expect(message({ path: 7 })).toContain('data (option): 7 is not a text');
  });
});
