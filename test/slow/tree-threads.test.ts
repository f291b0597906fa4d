import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Status } from '../../src/base/status.ts';
import { testSeed } from '../seed.ts';
import { killAll, run } from './node-process.ts';

const seed = testSeed();
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-trees-'));
});
afterEach(async () => {
  await killAll();
  rmSync(root, { recursive: true, force: true });
});

describe(`hash trees that background threads build (seed ${seed})`, () => {
  it('equal what the records give, do not wait for compactions, and outlive their thread', async () => {
    const child = run('tree-threads.mjs', { path: join(root, 'data'), seed });
    const report = JSON.parse(await child.line((line) => line.startsWith('{'))) as Record<string, unknown>;
    expect(await child.ended).toBe(0);
    expect(report).toMatchObject({ wrong: [], afterKill: Status.OK, compactions: 0 });
    expect(report.killed).toMatchObject({ status: Status.UNAVAILABLE });
    expect(report.tables).toBeGreaterThan(4);
    expect(report.written).toBeGreaterThan(100);
  });
});
