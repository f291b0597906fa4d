import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DiskFullError } from '../../src/base/errors.ts';
import { realFileSystem as fs } from '../../src/vfs/real.ts';
import { errorOf } from '../vfs/harness.ts';

const SIZE = 1024 * 1024;
const mountPoint = mkdtempSync(join(tmpdir(), 'ringkv-full-'));
const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'ringkv-test', mountPoint], {
  encoding: 'utf8',
});
const isMounted = mount.status === 0;
if (!isMounted)
  process.stderr.write(`vfs-full.test.ts: no tmpfs to fill, its tests are skipped: ${mount.stderr}\n`);

afterAll(() => {
  if (isMounted) expect(spawnSync('umount', ['-l', mountPoint]).status).toBe(0);
  rmSync(mountPoint, { recursive: true, force: true });
});

describe.runIf(isMounted)('a real file system that is full', () => {
  const path = join(mountPoint, 'a');

  it('writes what there is room for and fails with a DiskFullError, reads on, and goes on with room', async () => {
    const room = fs.freeBytes(mountPoint);
    expect(room).toBe(SIZE);
    const bytes = new Uint8Array(SIZE + 8192).fill(0x61);
    const file = fs.open(path, 'create');
    // More than there is room for, in one call: the system cuts it short, then says ENOSPC.
    const error = errorOf(() => file.writeSync(bytes, 0, bytes.length, 0));
    expect(error).toBeInstanceOf(DiskFullError);
    expect(error.message).toBe(`write ${path}: ENOSPC, ${bytes.length} bytes at 0`);
    expect(fs.freeBytes(mountPoint)).toBe(0);
    expect(file.size()).toBe(SIZE);
    const late = await new Promise<Error | null>((resolve) => file.write(bytes, 0, 1, SIZE, resolve));
    expect(late).toBeInstanceOf(DiskFullError);
    const target = new Uint8Array(100);
    expect(file.readSync(target, 0, 100, SIZE - 50)).toBe(50);
    file.truncate(SIZE / 2);
    expect(fs.freeBytes(mountPoint)).toBe(SIZE / 2);
    file.writeSync(bytes, 0, SIZE / 2, SIZE / 2);
    file.syncSync();
    file.close();
    fs.unlink(path);
    expect(fs.freeBytes(mountPoint)).toBe(SIZE);
  });

  it('refuses a lock for want of room, leaves nothing in its way, and is locked when there is room', () => {
    const directory = join(mountPoint, 'd');
    fs.mkdir(directory);
    const file = fs.open(path, 'create');
    const bytes = new Uint8Array(SIZE + 1);
    expect(errorOf(() => file.writeSync(bytes, 0, bytes.length, 0))).toBeInstanceOf(DiskFullError);
    file.close();
    expect(errorOf(() => fs.lock(directory))).toBeInstanceOf(DiskFullError);
    expect(fs.readdir(directory)).toEqual(['LOCK']);
    fs.unlink(path);
    fs.lock(directory).release();
  });
});

describe('a process that may open no more files', () => {
  it('gets EMFILE from open, and opens again after a close', () => {
    const script = `
      import { realFileSystem as fs } from ${JSON.stringify(resolve('dist/src/vfs/real.js'))};
      const files = [];
      let errno = '';
      while (errno === '' && files.length < 1000)
        try {
          files.push(fs.open('/dev/null', 'read'));
        } catch (error) {
          errno = error.errno;
        }
      // Node's own threads open files too, now and then: one free descriptor may be gone again.
      for (const file of files.slice(-50)) file.close();
      // Files that were opened for reading are closed in the background.
      let again = false;
      for (let turn = 0; turn < 10_000 && !again; turn++) {
        await new Promise((next) => setTimeout(next, 1));
        try {
          fs.open('/dev/null', 'read').close();
          again = true;
        } catch (error) {
          if (error.errno !== 'EMFILE') throw error;
        }
      }
      console.log(JSON.stringify({ errno, opened: files.length > 10 && files.length < 200, again }));`;
    const node = `ulimit -n 200 && exec "${process.execPath}" --input-type=module -e "$1"`;
    const { stdout, stderr } = spawnSync('sh', ['-c', node, 'sh', script], { encoding: 'utf8' });
    expect(stdout.trim(), stderr).toBe('{"errno":"EMFILE","opened":true,"again":true}');
  });
});
