import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readManifest } from '../../src/engine/manifest-reader.ts';
import { DataDirectory, type DataDirectoryOptions } from '../../src/node/data-directory.ts';
import { DOCUMENT_FORMAT, writeDocument } from '../../src/node/document.ts';
import { realFileSystem as fs } from '../../src/vfs/real.ts';

const ID = '00112233445566778899aabbccddeeff';
let root = '';
let made = 0;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-data-'));
  made = 0;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const options = (rest: Partial<DataDirectoryOptions> = {}): DataDirectoryOptions => ({
  path: join(root, 'data'),
  vnodes: 64,
  shards: 2,
  newNodeId: () => {
    made++;
    return ID;
  },
  ...rest,
});
const open = (rest: Partial<DataDirectoryOptions> = {}): DataDirectory =>
  DataDirectory.open(fs, options(rest));
const failure = (run: () => unknown): { code: string; message: string } => {
  try {
    run();
  } catch (error) {
    return error as Error & { code: string };
  }
  throw new Error('nothing was thrown');
};
const inData = (...names: string[]): string => join(root, 'data', ...names);

describe('a data directory', () => {
  it('is made with its parents, its id, and a manifest for every shard', () => {
    const data = open({ path: join(root, 'a', 'b', 'data') });
    expect(data).toMatchObject({ nodeId: ID, vnodes: 64 });
    expect(data.layout).toMatchObject({ number: 1, shards: 2, inherited: [0, 0] });
    for (const shard of [0, 1])
      expect(readManifest(fs, join(data.layout.directory, `shard-${shard}`)).state).toMatchObject({
        ownership: { vnodes: 64, shards: 2, shard },
        nextNumber: 1,
      });
    data.close();
  });

  it('keeps its id and its shards when it is opened again', () => {
    open().close();
    const again = open({ shards: 5, newNodeId: () => 'another' });
    expect([again.nodeId, again.layout.shards, made]).toEqual([ID, 2, 1]);
    again.close();
  });

  it('is made in an empty directory, and beside the lost+found of a fresh disk', () => {
    mkdirSync(inData('lost+found'), { recursive: true });
    open().close();
    expect(readdirSync(inData())).toEqual(
      expect.arrayContaining(['CURRENT', 'node.json', 'layout-1', 'lost+found']),
    );
  });

  it('is refused to a second opener until the first has closed it', () => {
    const first = open();
    expect(failure(open)).toMatchObject({
      code: 'LOCKED',
      message: expect.stringContaining(String(process.pid)),
    });
    first.close();
    open().close();
  });

  it('gives its lock back when it cannot be opened', () => {
    open().close();
    expect(failure(() => open({ vnodes: 32 })).code).toBe('CONFIGURATION');
    open().close();
  });

  it('refuses another number of vnodes and names both', () => {
    open().close();
    expect(failure(() => open({ vnodes: 32 }))).toMatchObject({
      code: 'CONFIGURATION',
      message: `vnodes 32: ${inData()} was made with 64 vnodes, which cannot change; start with vnodes 64`,
    });
  });

  it('writes nothing into a directory of somebody else', () => {
    mkdirSync(inData(), { recursive: true });
    writeFileSync(inData('holiday.jpg'), 'x');
    expect(failure(open)).toMatchObject({
      code: 'CONFIGURATION',
      message: expect.stringContaining('"holiday.jpg"'),
    });
    expect(readdirSync(inData())).toEqual(['holiday.jpg']);
  });

  it('refuses a file in its place, or on the way there', () => {
    writeFileSync(inData(), 'x');
    for (const path of [inData(), inData('below')])
      expect(failure(() => open({ path }))).toMatchObject({
        code: 'CONFIGURATION',
        message: expect.stringContaining(`data ${path}: not a directory`),
      });
  });

  it('refuses documents of a newer RingKV and says which it reads', () => {
    open().close();
    const newer = { format: DOCUMENT_FORMAT + 1, createdBy: '9.9.9', cluster: 'x' };
    writeDocument(fs, inData(), 'node.json', newer);
    expect(failure(open)).toMatchObject({
      code: 'FORMAT_VERSION',
      message: `${inData('node.json')} has format version 2, written by RingKV 9.9.9; this RingKV reads version 1`,
    });
  });

  it('finds every flipped bit in its documents', () => {
    open().close();
    const unlocked = { ...fs, lock: () => ({ release: () => undefined }) };
    for (const name of ['node.json', 'CURRENT', 'layout-1/layout.json']) {
      const path = inData(name);
      const whole = readFileSync(path);
      for (let bit = 0; bit < whole.length * 8; bit++) {
        const bytes = Buffer.from(whole);
        bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        writeFileSync(path, bytes);
        let opened: DataDirectory;
        try {
          opened = DataDirectory.open(unlocked, options());
        } catch (error) {
          expect(error).toMatchObject({ code: 'CORRUPTION', file: path });
          continue;
        }
        // White space that became other white space.
        expect(JSON.parse(bytes.toString())).toEqual(JSON.parse(whole.toString()));
        expect(opened.nodeId).toBe(ID);
        opened.close();
      }
      writeFileSync(path, whole);
    }
  });

  it('takes what is missing for damage, never for a new shard or a new node', () => {
    open().close();
    const lost = (path: string, what: string): void => {
      const kept = readFileSync(path);
      rmSync(path);
      expect(failure(open)).toMatchObject({ code: 'CORRUPTION', message: expect.stringContaining(what) });
      writeFileSync(path, kept);
    };
    lost(inData('CURRENT'), `${inData('CURRENT')}: corrupt at byte 0: the file is missing`);
    lost(inData('layout-1', 'layout.json'), 'the file is missing');
    lost(inData('layout-1', 'shard-1', 'MANIFEST-0000000001'), 'the manifest of shard 1 is missing');
    writeFileSync(inData('layout-1', 'shard-1', 'wal-0000000001.log'), 'x');
    lost(inData('node.json'), 'the file is missing, and layout 1 holds wal-0000000001.log');
    open().close();
  });

  it('removes layouts that are not in force', () => {
    open().close();
    mkdirSync(inData('layout-2', 'shard-0'), { recursive: true });
    writeFileSync(inData('layout-2', 'shard-0', 'table-1'), 'x');
    writeFileSync(inData('layout-2', 'layout.json'), 'x');
    open().close();
    expect(readdirSync(inData()).filter((name) => name.startsWith('layout'))).toEqual(['layout-1']);
  });
});
