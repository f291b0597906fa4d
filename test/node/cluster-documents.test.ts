import { describe, expect, it } from 'vitest';
import { CorruptionError, FormatVersionError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { FileDocuments } from '../../src/node/cluster-documents.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import type { Operation } from '../../src/vfs/simulated-faults.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const PARENT = '/data';
const CALLS_MAX = 500;
const pathOf = (name: string): string => `${PARENT}/cluster/${name}`;
const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString();

function newDisk(random: Random): SimulatedFileSystem {
  const fs = new SimulatedFileSystem({ seed: random.uint32() });
  fs.mkdir(PARENT);
  fs.syncDirectory('/');
  return fs;
}
/** Runs the disk until the document is saved, or the process dies. */
async function save(
  fs: SimulatedFileSystem,
  documents: FileDocuments,
  name: string,
  content: string,
): Promise<Error | null> {
  let answer: { readonly error: Error | null } | null = null;
  const ended = (): typeof answer => answer;
  documents.save(name, Buffer.from(content), (error) => {
    expect(answer, 'answered twice').toBe(null);
    answer = { error };
  });
  expect(answer, 'answered within the call').toBe(null);
  for (let turns = 0; ended() === null; turns++) {
    if (fs.crashed || turns > CALLS_MAX) throw new Error('the save does not end');
    await Promise.resolve();
    fs.step();
  }
  return ended()?.error ?? null;
}

/** What the protocols save, in this order: the ring, votes, the generation, what waits for repair. */
const STEPS: readonly (readonly [name: string, content: string])[] = [
  ['generation', 'generation 1'],
  ['ring', 'ring 1'],
  ['ring-acceptor', 'votes for 2'],
  ['ring', 'ring 2, a longer one'],
  ['repair-backlog', 'vnodes'],
  ['ring-acceptor', ''],
  ['ring', 'ring 3'],
];

describe(`documents of a cluster, seed ${seed},`, () => {
  it('are what was saved last, after a power cut too, and none where nothing was', async () => {
    const random = new Random(seed);
    const fs = newDisk(random);
    const documents = new FileDocuments(fs, PARENT);
    expect(documents.load('ring')).toBe(null);
    const long = 'x'.repeat(limits.clusterDocumentBytesMax);
    for (const content of ['', 'a', long, 'b']) {
      expect(await save(fs, documents, 'ring', content)).toBe(null);
      expect(text(documents.load('ring')) === content).toBe(true);
      const after = new FileDocuments(fs.powerCut(random), PARENT);
      expect(text(after.load('ring')) === content).toBe(true);
    }
    expect(fs.openPaths).toEqual([]);
  });

  it('are the old one or the new one after a power cut at every call, and never damaged', async () => {
    const random = new Random(seed);
    let calls = 0;
    for (; calls < CALLS_MAX; calls++) {
      const fs = newDisk(random);
      fs.resetCounts();
      fs.crashAtCall(calls);
      const acknowledged = new Map<string, string>();
      const underWay = new Map<string, string>();
      let isWhole = false;
      try {
        const documents = new FileDocuments(fs, PARENT);
        isWhole = true;
        for (const [name, content] of STEPS) {
          underWay.set(name, content);
          if ((await save(fs, documents, name, content)) !== null) {
            isWhole = false;
            break;
          }
          acknowledged.set(name, content);
          underWay.delete(name);
        }
      } catch (error) {
        if (!fs.crashed) throw error;
        isWhole = false;
      }
      const after = fs.powerCut(random);
      // The next start reads, and saves over what an interrupted save left behind.
      const documents = new FileDocuments(after, PARENT);
      for (const name of new Set(STEPS.map(([one]) => one))) {
        const allowed = [acknowledged.get(name) ?? null, underWay.get(name) ?? null];
        expect(allowed, `${name} after call ${calls}`).toContain(text(documents.load(name)));
        expect(await save(after, documents, name, 'next')).toBe(null);
        expect(text(new FileDocuments(after.powerCut(random), PARENT).load(name))).toBe('next');
      }
      if (isWhole) break;
    }
    expect(calls).toBeGreaterThan(5 * STEPS.length);
    expect(calls).toBeLessThan(CALLS_MAX);
  });

  it('are the old one where any call of a save fails, and the failure is told', async () => {
    const operations: readonly Operation[] = ['create', 'write', 'sync', 'rename', 'sync-directory'];
    for (const operation of operations) {
      const fs = newDisk(new Random(seed));
      const documents = new FileDocuments(fs, PARENT);
      expect(await save(fs, documents, 'ring', 'old')).toBe(null);
      fs.inject({ operation, errno: 'EIO' });
      expect(await save(fs, documents, 'ring', 'new'), operation).toMatchObject({ code: 'IO', errno: 'EIO' });
      fs.clearFaults();
      // A rename that was done may hold, and its directory may not be durable: nothing was acknowledged.
      expect(operation === 'sync-directory' ? ['old', 'new'] : ['old'], operation).toContain(
        text(documents.load('ring')),
      );
      expect(fs.openPaths, operation).toEqual([]);
      expect(await save(fs, documents, 'ring', 'newer'), operation).toBe(null);
      expect(text(documents.load('ring'))).toBe('newer');
    }
  });

  it('are written one after another, and what comes meanwhile as one, each caller being told once it is durable', async () => {
    const random = new Random(seed);
    const fs = newDisk(random);
    const documents = new FileDocuments(fs, PARENT);
    const told: string[] = [];
    for (const content of ['a', 'b', 'c', 'd'])
      documents.save('ring', Buffer.from(content), (error) => {
        expect(error).toBe(null);
        const kept = new FileDocuments(fs.powerCut(random), PARENT).load('ring');
        told.push(`${content}:${text(kept)}`);
        if (content === 'a') documents.save('ring', Buffer.from('e'), () => told.push('e'));
      });
    for (let turns = 0; told.length < 5 && turns < CALLS_MAX; turns++) {
      await Promise.resolve();
      fs.step();
    }
    expect(told).toEqual(['a:a', 'b:d', 'c:d', 'd:d', 'e']);
    expect(text(documents.load('ring'))).toBe('e');
  });

  it('are written though the one before them was not, and each caller is told of its own', async () => {
    const fs = newDisk(new Random(seed));
    const documents = new FileDocuments(fs, PARENT);
    const told: string[] = [];
    fs.inject({ operation: 'write', errno: 'EIO' });
    documents.save('ring', Buffer.from('a'), (error) => {
      told.push(`a ${(error as { code?: string } | null)?.code}`);
      fs.clearFaults();
    });
    documents.save('ring', Buffer.from('b'), (error) => told.push(`b ${error}`));
    for (let turns = 0; told.length < 2 && turns < CALLS_MAX; turns++) {
      await Promise.resolve();
      fs.step();
    }
    expect(told).toEqual(['a IO', 'b null']);
    expect(text(documents.load('ring'))).toBe('b');
  });

  it('that were removed stay away after a power cut, and are not removed while they are written', async () => {
    const random = new Random(seed);
    const fs = newDisk(random);
    const documents = new FileDocuments(fs, PARENT);
    await save(fs, documents, 'ring', 'ring 1');
    documents.remove('ring');
    expect(documents.load('ring')).toBe(null);
    for (let cut = 0; cut < 20; cut++)
      expect(new FileDocuments(fs.powerCut(random), PARENT).load('ring')).toBe(null);
    const saving = save(fs, documents, 'ring', 'ring 2');
    expect(() => documents.remove('ring')).toThrow('is being written');
    expect(await saving).toBe(null);
    documents.remove('ring');
    expect(documents.load('ring')).toBe(null);
  });

  it('are the old one on a full disk, and the new one once there is room', async () => {
    const fs = newDisk(new Random(seed));
    const documents = new FileDocuments(fs, PARENT);
    expect(await save(fs, documents, 'ring', 'old')).toBe(null);
    fs.capacityBytes = fs.usedBytes + 10;
    expect(await save(fs, documents, 'ring', 'new')).toMatchObject({ code: 'DISK_FULL' });
    expect(text(documents.load('ring'))).toBe('old');
    fs.capacityBytes = 1_000_000;
    expect(await save(fs, documents, 'ring', 'new')).toBe(null);
    expect(text(documents.load('ring'))).toBe('new');
  });

  it('name the file for every bit that flips, whichever of them is damaged', async () => {
    const fs = newDisk(new Random(seed));
    const documents = new FileDocuments(fs, PARENT);
    for (const [name, content] of STEPS) await save(fs, documents, name, content);
    for (const name of ['ring', 'ring-acceptor', 'generation', 'repair-backlog']) {
      const { length } = fs.bytesOf(pathOf(name));
      for (let byte = 0; byte < length; byte++)
        for (let bit = 0; bit < 8; bit++) {
          fs.flipBit(pathOf(name), byte, bit);
          const error = errorOf(() => documents.load(name));
          const known = error instanceof CorruptionError || error instanceof FormatVersionError;
          expect([known, error?.message], `${name}: byte ${byte}, bit ${bit}`).toEqual([
            true,
            expect.stringContaining(pathOf(name)),
          ]);
          expect(errorOf(() => new FileDocuments(fs, PARENT))?.message).toContain(pathOf(name));
          fs.flipBit(pathOf(name), byte, bit);
        }
    }
    expect(text(documents.load('ring'))).toBe('ring 3');
  });

  it('name the file where it is cut anywhere, or longer than it was', async () => {
    const fs = newDisk(new Random(seed));
    const documents = new FileDocuments(fs, PARENT);
    await save(fs, documents, 'ring', 'content');
    const whole = fs.bytesOf(pathOf('ring')).slice();
    for (let length = 0; length <= whole.length + 1; length++) {
      if (length === whole.length) continue;
      const bytes = new Uint8Array(length);
      bytes.set(whole.subarray(0, length));
      fs.place(pathOf('ring'), bytes);
      expect(
        errorOf(() => documents.load('ring')),
        `${length} bytes`,
      ).toBeInstanceOf(CorruptionError);
      expect(errorOf(() => new FileDocuments(fs, PARENT))?.message).toContain(pathOf('ring'));
    }
  });

  it('of a newer format are refused as such', async () => {
    const fs = newDisk(new Random(seed));
    await save(fs, new FileDocuments(fs, PARENT), 'ring', 'content');
    const bytes = fs.bytesOf(pathOf('ring')).slice();
    bytes[4] = 2;
    fs.place(pathOf('ring'), bytes);
    const error = errorOf(() => new FileDocuments(fs, PARENT));
    expect(error).toBeInstanceOf(FormatVersionError);
    expect(error?.message).toMatch(/cluster\/ring has format version 2; this RingKV reads 1/);
  });

  it('that belong to a member are missed where the ring alone is gone', async () => {
    const fs = newDisk(new Random(seed));
    const documents = new FileDocuments(fs, PARENT);
    await save(fs, documents, 'ring', 'ring');
    await save(fs, documents, 'ring-member', 'cluster');
    fs.unlink(pathOf('ring'));
    const error = errorOf(() => new FileDocuments(fs, PARENT));
    expect(error).toBeInstanceOf(CorruptionError);
    expect(error?.message).toContain(pathOf('ring'));
  });

  it('take no other names and nothing longer than the limit', async () => {
    const documents = new FileDocuments(newDisk(new Random(seed)), PARENT);
    for (const name of ['', '../ring', 'Ring', 'ring.tmp', 'a'.repeat(65)])
      expect(() => documents.load(name), name).toThrow();
    const tooLong = new Uint8Array(limits.clusterDocumentBytesMax + 1);
    const error = await new Promise<Error | null>((resolve) => documents.save('ring', tooLong, resolve));
    expect(error?.message).toContain(String(limits.clusterDocumentBytesMax + 1));
  });
});

function errorOf(call: () => unknown): Error | null {
  try {
    call();
    return null;
  } catch (error) {
    return error as Error;
  }
}
