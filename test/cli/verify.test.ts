import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { realFileSystem } from '../../src/vfs/real.ts';
import { World } from './harness.ts';

let world: World;
let path: string;
beforeEach(() => {
  world = new World();
  path = world.makeDirectory('data', 2);
});
afterEach(() => world.remove());

/** Every file of the directory but the lock's, with its bytes. */
function contentsOf(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  const paths = files
    .map(({ name, parentPath }) => join(parentPath, name))
    .filter((file) => !file.includes('LOCK'));
  return Object.fromEntries(paths.sort().map((file) => [file, readFileSync(file, 'base64')]));
}
function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at] = (bytes[at] ?? 0) ^ 4;
  writeFileSync(file, bytes);
}
const fileOf = (pattern: RegExp): string =>
  Object.keys(contentsOf(path)).find((file) => pattern.test(file)) ?? '';

describe('verify', () => {
  it('finds a whole directory whole, changes nothing and gives the lock back', async () => {
    const before = contentsOf(path);
    for (const arguments_ of [
      ['verify', path],
      ['verify', '--data', path],
    ]) {
      const { code, out, err } = await world.run(arguments_);
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toMatch(
        /^shard 0: 0 records in 0 tables and 0 log segments, .*\nshard 1: .*\n.* is whole\n$/,
      );
    }
    const environment = { RINGKV_DATA: path };
    const { code, out } = await world.run(['verify', '--json'], { environment });
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      data: path,
      damaged: 0,
      shards: [{ shard: 0, damage: [] }, { shard: 1 }],
    });
    expect(contentsOf(path)).toEqual(before);
    realFileSystem.lock(path).release();
  });

  it('names each damage with file and offset, and goes on after it', async () => {
    const [first, second] = [fileOf(/shard-0/), fileOf(/shard-1/)];
    flip(first, 40);
    flip(second, 40);
    const { code, out } = await world.run(['verify', path]);
    expect(code).toBe(1);
    expect(out).toContain(`damaged: ${first} at byte `);
    expect(out).toContain(`damaged: ${second} at byte `);
    expect(out).toContain('2 damaged');
    const json = JSON.parse((await world.run(['verify', path, '--json'])).out) as { damaged: number };
    expect(json).toMatchObject({
      damaged: 2,
      shards: [{ damage: [{ file: first }] }, { damage: [{ file: second }] }],
    });
  });

  it('names damage above the shards, and says that they were not checked', async () => {
    flip(join(path, 'CURRENT'), 20);
    const { code, out } = await world.run(['verify', path]);
    expect(code).toBe(1);
    expect(out).toContain(`damaged: ${join(path, 'CURRENT')} at byte 0: `);
    expect(out).toContain('1 damaged; the shards were not checked');
  });

  it('says what does not belong there', async () => {
    writeFileSync(join(path, 'layout-1/shard-0/notes.txt'), 'hello');
    const { code, out } = await world.run(['verify', path]);
    expect(code).toBe(0);
    expect(out).toContain('shard 0: not a file of RingKV: notes.txt');
  });

  it('refuses a directory that is in use, with the exit code of that', async () => {
    const lock = realFileSystem.lock(path);
    const refused = await world.run(['verify', path]);
    lock.release();
    expect(refused).toMatchObject({ code: 5, out: '' });
    expect(refused.err).toMatch(/^ringkv: .+\n$/);
    expect((await world.run(['verify', path])).code).toBe(0);
  });

  it('refuses what is no data directory, and leaves no lock there', async () => {
    mkdirSync(world.path('empty'));
    for (const name of ['empty', 'none']) {
      const refused = await world.run(['verify', world.path(name)]);
      expect(refused.code).toBe(5);
      expect(refused.err).toContain('is not a data directory of RingKV');
    }
    expect(readdirSync(world.path('empty'))).toEqual([]);
    expect((await world.run(['verify', path, '--data', path])).code).toBe(2);
  });
});
