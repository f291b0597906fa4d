import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random, systemSeed } from '../../src/base/random.ts';
import { connectionLimitsOf } from '../../src/node/connection-limits.ts';
import { openFiles } from '../../src/vfs/open-files.ts';

const { connectionsMax, connectionsRefusedMax, descriptorsReserved, wsConnectionsMax } = limits;
const FULL = { connectionsMax, wsConnectionsMax, connectionsRefusedMax };
const NEEDED = connectionsMax + connectionsRefusedMax;

describe('connections of a front end', () => {
  it('are as many as there may be where the descriptors are enough, or there is no limit', () => {
    expect(connectionLimitsOf(null, 8)).toEqual({ each: FULL, warning: '' });
    const max = 50 + descriptorsReserved + 2 * NEEDED;
    expect(connectionLimitsOf({ max, open: 50 }, 2)).toEqual({ each: FULL, warning: '' });
    expect(connectionLimitsOf({ max: max - 1, open: 50 }, 2).warning).not.toBe('');
    // Who has many tables gets room for as many more.
    const tables = 5000 + 5000 + NEEDED;
    expect(connectionLimitsOf({ max: tables, open: 5000 }, 1).warning).toBe('');
    expect(connectionLimitsOf({ max: tables - 1, open: 5000 }, 1).warning).not.toBe('');
  });

  it('are fewer where the descriptors are not, which is said with both numbers and what follows', () => {
    const { each, warning } = connectionLimitsOf({ max: 1024, open: 50 }, 1);
    // Half of 974: 60 may be told that there is no room for them.
    expect(each).toEqual({ connectionsMax: 427, wsConnectionsMax: 400, connectionsRefusedMax: 60 });
    expect(warning).toBe(
      'this process may have 1024 open files (ulimit -n), and 1 x 16384 connections beside tables, logs and ' +
        'other nodes need 17714: each front end takes 427, 400 of them over WebSocket, and answers further ones 503',
    );
  });

  it('never take what is kept for tables, logs and other nodes, whatever the limit', () => {
    const seed = systemSeed();
    const random = new Random(seed);
    for (let run = 0; run < 2000; run++) {
      const open = random.between(0, 3000);
      const max = random.between(open + 100, 100_000);
      const frontends = random.between(1, 16);
      const { each } = connectionLimitsOf({ max, open }, frontends);
      const taken = frontends * (each.connectionsMax + each.connectionsRefusedMax);
      const left = max - open - taken;
      const told = `seed ${seed}: ${JSON.stringify({ open, max, frontends, each })}`;
      // Two for a front end are never refused.
      if (taken > 2 * frontends)
        expect(left, told).toBeGreaterThanOrEqual(
          Math.min(Math.max(descriptorsReserved, open), Math.floor((max - open) / 2)),
        );
      expect(each.wsConnectionsMax, told).toBeLessThanOrEqual(each.connectionsMax);
      expect(Math.min(...Object.values(each)), told).toBeGreaterThanOrEqual(1);
      expect(each.connectionsMax, told).toBeLessThanOrEqual(connectionsMax);
    }
  });
});

describe('open files of this process', () => {
  it('are told by the system', () => {
    const files = openFiles();
    expect(files?.max).toBeGreaterThan(files?.open ?? 0);
    expect(files?.open).toBeGreaterThan(2);
  });
});
