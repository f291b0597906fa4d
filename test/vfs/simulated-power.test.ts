import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import type { File } from '../../src/vfs/file-system.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { SECTOR_BYTES } from '../../src/vfs/simulated-node.ts';
import { testSeed } from '../seed.ts';
import { errorOf, readFile, textBytes, writeFile } from './harness.ts';

const fileSeed = testSeed();
const CUTS = 400;

function durableDisk(...directories: string[]): SimulatedFileSystem {
  const disk = new SimulatedFileSystem({ seed: fileSeed });
  for (const directory of directories) {
    disk.mkdir(directory);
    disk.syncDirectory(`${directory}/..`);
  }
  return disk;
}
/** Everything below a directory, as `d/`, `d/file=content`. */
function contents(disk: SimulatedFileSystem, path = '/'): string {
  const below = (at: string): string[] =>
    disk.readdir(at).flatMap((name) => {
      const full = at === '/' ? `/${name}` : `${at}/${name}`;
      let isDirectory = true;
      try {
        disk.readdir(full);
      } catch {
        isDirectory = false;
      }
      const short = full.slice(path.length).replace(/^\//, '');
      return isDirectory ? [`${short}/`, ...below(full)] : [`${short}=${readFile(disk, full)}`];
    });
  return below(path).join(' ');
}
/** All that a power cut was seen to leave of a directory, over many cuts. */
function outcomes(disk: SimulatedFileSystem, path = '/'): Set<string> {
  const random = new Random(fileSeed);
  const seen = new Set<string>();
  for (let cut = 0; cut < CUTS; cut++) seen.add(contents(disk.powerCut(random), path));
  return seen;
}
/** A file with bytes that are synced; its name too. */
function synced(disk: SimulatedFileSystem, path: string, text: string): void {
  writeFile(disk, path, text);
  const file = disk.open(path, 'write');
  file.syncSync();
  file.close();
  disk.syncDirectory(path.slice(0, path.lastIndexOf('/')) || '/');
}

describe(`a power cut and names (seed ${fileSeed})`, () => {
  it('loses the latest changes of a directory first, down to what was synced', () => {
    const disk = durableDisk('/d');
    synced(disk, '/d/a', '');
    writeFile(disk, '/d/b', '');
    writeFile(disk, '/d/c', '');
    expect(outcomes(disk, '/d')).toEqual(new Set(['a=', 'a= b=', 'a= b= c=']));
    disk.syncDirectory('/d');
    expect(outcomes(disk, '/d')).toEqual(new Set(['a= b= c=']));
  });

  it('does a rename as a whole or not at all, over a file that was there too', () => {
    const disk = durableDisk('/d');
    synced(disk, '/d/a', 'new');
    synced(disk, '/d/b', 'old');
    disk.rename('/d/a', '/d/b');
    expect(outcomes(disk, '/d')).toEqual(new Set(['a=new b=old', 'b=new']));
    disk.syncDirectory('/d');
    expect(outcomes(disk, '/d')).toEqual(new Set(['b=new']));
  });

  it('brings a removed file back, with its bytes, until its directory is synced', () => {
    const disk = durableDisk('/d');
    synced(disk, '/d/a', 'x');
    disk.unlink('/d/a');
    expect(outcomes(disk, '/d')).toEqual(new Set(['', 'a=x']));
    disk.syncDirectory('/d');
    expect(outcomes(disk, '/d')).toEqual(new Set(['']));
  });

  it('takes a synced directory whose own name was not synced in its parent', () => {
    const disk = durableDisk('/d');
    disk.mkdir('/d/e');
    synced(disk, '/d/e/f', 'x');
    expect(outcomes(disk, '/d')).toEqual(new Set(['', 'e/ e/f=x']));
    disk.syncDirectory('/d');
    expect(outcomes(disk, '/d')).toEqual(new Set(['e/ e/f=x']));
  });

  it('takes changes of a directory that was not synced though a later one of another was', () => {
    const disk = durableDisk('/d', '/e');
    writeFile(disk, '/d/a', '');
    synced(disk, '/e/b', '');
    expect(outcomes(disk)).toEqual(new Set(['d/ e/ e/b=', 'd/ d/a= e/ e/b=']));
  });

  it('never doubles or loses a file that moved between directories', () => {
    const disk = durableDisk('/d', '/e', '/f');
    synced(disk, '/d/a', 'x');
    disk.rename('/d/a', '/e/a');
    expect(outcomes(disk)).toEqual(new Set(['d/ d/a=x e/ f/', 'd/ e/ e/a=x f/']));
    disk.rename('/e/a', '/f/a');
    disk.syncDirectory('/f');
    expect(outcomes(disk)).toEqual(new Set(['d/ e/ f/ f/a=x']));
  });

  it('moves a directory with what is in it, once', () => {
    const disk = durableDisk('/d', '/e', '/d/x');
    synced(disk, '/d/x/a', 'x');
    disk.rename('/d/x', '/e/x');
    expect(outcomes(disk)).toEqual(new Set(['d/ d/x/ d/x/a=x e/', 'd/ e/ e/x/ e/x/a=x']));
    disk.syncDirectory('/e');
    expect(outcomes(disk)).toEqual(new Set(['d/ e/ e/x/ e/x/a=x']));
  });

  it('keeps linked names one file', () => {
    const disk = durableDisk('/d');
    synced(disk, '/d/a', 'x');
    disk.link('/d/a', '/d/b');
    disk.syncDirectory('/d');
    const after = disk.powerCut(new Random(1));
    const file = after.open('/d/a', 'write');
    file.writeSync(textBytes('y'), 0, 1, 0);
    file.close();
    expect(readFile(after, '/d/b')).toBe('y');
    expect(after.usedBytes).toBe(1);
  });

  it('keeps no more than thousands of changes open, as a journal does', () => {
    const disk = durableDisk('/d');
    for (let number = 0; number < 10_000; number++) writeFile(disk, `/d/${number}`, '');
    const random = new Random(fileSeed);
    for (let cut = 0; cut < 8; cut++)
      expect(disk.powerCut(random).readdir('/d').length).toBeGreaterThan(10_000 - 4100);
  });
});

describe(`a power cut and bytes (seed ${fileSeed})`, () => {
  const open = (disk: SimulatedFileSystem, sectors: number, fill: string): File => {
    synced(disk, '/d/f', fill.repeat(sectors * SECTOR_BYTES));
    return disk.open('/d/f', 'write');
  };
  const put = (file: File, sector: number, sectors: number, fill: string): void => {
    const bytes = textBytes(fill.repeat(sectors * SECTOR_BYTES));
    file.writeSync(bytes, 0, bytes.length, sector * SECTOR_BYTES);
  };
  /** The letters of each sector, in order, without repetition: `a`, `b`, or `ba` where it was torn. */
  const sectorsOf = (disk: SimulatedFileSystem): string[] => {
    const text = readFile(disk, '/d/f');
    return Array.from({ length: Math.ceil(text.length / SECTOR_BYTES) }, (_, sector) =>
      text.slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES).replace(/(.)\1+/gs, '$1'),
    );
  };

  it('leaves each unsynced sector as written, as synced, or torn, independently', () => {
    const disk = durableDisk('/d');
    const file = open(disk, 3, 'a');
    put(file, 1, 2, 'b');
    const random = new Random(fileSeed);
    const seen = new Map<string, number>();
    for (let cut = 0; cut < 2000; cut++) {
      const sectors = sectorsOf(disk.powerCut(random)).join(' ');
      seen.set(sectors, (seen.get(sectors) ?? 0) + 1);
    }
    const kinds = ['a', 'b', 'ba'];
    const expected = kinds.flatMap((one) => kinds.map((two) => `a ${one} ${two}`));
    expect([...seen.keys()].sort()).toEqual(expected.sort());
    for (const count of seen.values()) expect(count).toBeGreaterThan(5);
    file.syncSync();
    expect(new Set(Array.from({ length: 50 }, () => sectorsOf(disk.powerCut(random)).join(' ')))).toEqual(
      new Set(['a b b']),
    );
  });

  it('may leave an earlier write than the last, because the system writes when it likes', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 300; seed++) {
      const disk = new SimulatedFileSystem({ seed });
      disk.mkdir('/d');
      disk.syncDirectory('/');
      const file = open(disk, 1, 'a');
      put(file, 0, 1, 'b');
      put(file, 0, 1, 'c');
      const sector = sectorsOf(disk.powerCut())[0] ?? '';
      if (sector.length === 1) seen.add(sector);
    }
    expect(seen).toEqual(new Set(['a', 'b', 'c']));
  });

  it('leaves a file that grew at its old size, its new size, or between', () => {
    const disk = durableDisk('/d');
    const file = open(disk, 1, 'a');
    put(file, 1, 3, 'b');
    const random = new Random(fileSeed);
    const sizes = new Set<number>();
    for (let cut = 0; cut < CUTS; cut++) {
      const text = readFile(disk.powerCut(random), '/d/f');
      sizes.add(text.length / SECTOR_BYTES);
      expect(text.slice(0, SECTOR_BYTES)).toBe('a'.repeat(SECTOR_BYTES));
      expect(text.slice(SECTOR_BYTES)).toMatch(/^[b\0]*$/);
    }
    expect([...sizes].sort()).toEqual([1, 2, 3, 4]);
  });

  it('truncates a file as a whole or not at all', () => {
    const disk = durableDisk('/d');
    const file = open(disk, 4, 'a');
    file.truncate(SECTOR_BYTES + 10);
    const random = new Random(fileSeed);
    const seen = new Set(Array.from({ length: CUTS }, () => readFile(disk.powerCut(random), '/d/f')));
    expect(seen).toEqual(new Set(['a'.repeat(4 * SECTOR_BYTES), 'a'.repeat(SECTOR_BYTES + 10)]));
    file.syncSync();
    expect(readFile(disk.powerCut(random), '/d/f')).toBe('a'.repeat(SECTOR_BYTES + 10));
  });

  it('may take what was written after a failed sync had lost it, though a later sync succeeded', () => {
    const disk = durableDisk('/d');
    const file = open(disk, 1, 'a');
    put(file, 0, 2, 'b');
    disk.inject({ operation: 'sync', times: 1, errno: 'EIO' });
    expect(errorOf(() => file.syncSync()).message).toContain('EIO');
    file.syncSync();
    // The process sees its write; the disk has the size, and by chance the sectors.
    expect(sectorsOf(disk)).toEqual(['b', 'b']);
    const random = new Random(fileSeed);
    const seen = new Set(Array.from({ length: CUTS }, () => sectorsOf(disk.powerCut(random)).join(' ')));
    expect(seen).toContain('a \0');
    expect(seen).toContain('b b');
    // Writing the bytes again makes them dirty, and a sync durable.
    put(file, 0, 2, 'b');
    file.syncSync();
    expect(sectorsOf(disk.powerCut(random))).toEqual(['b', 'b']);
  });

  it('gives the same disk for the same seed, and others for others', () => {
    const run = (seed: number): string => {
      const disk = new SimulatedFileSystem({ seed });
      disk.mkdir('/d');
      disk.syncDirectory('/');
      const file = open(disk, 20, 'a');
      for (let round = 0; round < 20; round++) put(file, round, 2, String.fromCharCode(98 + round));
      return contents(disk.powerCut());
    };
    expect(run(5)).toBe(run(5));
    expect(new Set([1, 2, 3, 4].map(run)).size).toBe(4);
  });

  it('leaves of every byte only what it may be, by a model over random calls', () => {
    const seed = fileSeed;
    const random = new Random(seed);
    for (let round = 0; round < 60; round++) {
      const disk = new SimulatedFileSystem({ seed: random.uint32() });
      const file = disk.open('/f', 'create');
      disk.syncDirectory('/');
      const model = new ByteModel();
      for (let step = random.between(1, 40); step > 0; step--) {
        const kind = random.below(10);
        if (kind === 0) {
          file.syncSync();
          model.sync();
        } else if (kind === 1) {
          const length = random.below(5000);
          file.truncate(length);
          model.truncate(length);
        } else {
          const bytes = random.bytes(random.between(1, 1500));
          const position = random.below(4000);
          file.writeSync(bytes, 0, bytes.length, position);
          model.write(bytes, position);
        }
        for (let cut = 0; cut < 4; cut++) {
          const wrong = model.wrong(disk.powerCut(random).bytesOf('/f'));
          expect(wrong, `seed ${seed}, round ${round}, step ${step}`).toBe('');
        }
      }
    }
  });
});

/** For each byte all values that a disk may hold; for the size its bounds. */
class ByteModel {
  #now: number[] = [];
  #may: Set<number>[] = [];
  #sizeMin = 0;
  #sizeMax = 0;

  sync(): void {
    this.#may = this.#now.map((byte) => new Set([byte]));
    this.#sizeMin = this.#now.length;
    this.#sizeMax = this.#now.length;
  }
  write(bytes: Uint8Array, position: number): void {
    this.#grow(position + bytes.length);
    bytes.forEach((byte, index) => {
      this.#now[position + index] = byte;
      this.#may[position + index]?.add(byte);
    });
  }
  truncate(length: number): void {
    this.#now.length = Math.min(this.#now.length, length);
    for (let at = length; at < this.#may.length; at++) this.#may[at]?.add(0);
    this.#sizeMin = Math.min(this.#sizeMin, length);
    this.#grow(length);
  }
  wrong(bytes: Uint8Array): string {
    if (bytes.length < this.#sizeMin || bytes.length > this.#sizeMax)
      return `${bytes.length} bytes, not ${this.#sizeMin} to ${this.#sizeMax}`;
    const at = bytes.findIndex((byte, index) => this.#may[index]?.has(byte) !== true);
    return at < 0 ? '' : `byte ${at} is ${bytes[at]}, not of ${[...(this.#may[at] ?? [])].join(', ')}`;
  }
  #grow(size: number): void {
    while (this.#now.length < size) this.#now.push(0);
    // Bytes that the disk does not have yet may come as the zeros of a hole.
    while (this.#may.length < size) this.#may.push(new Set([0]));
    this.#sizeMax = Math.max(this.#sizeMax, size);
  }
}
