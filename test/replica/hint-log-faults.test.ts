import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { testSeed } from '../seed.ts';
import { DIRECTORY, Hints, namesOf, newDisk, TARGET, TARGET_DIRECTORY } from './hint-harness.ts';

const seed = testSeed();

function tokenHiOf(name: string): number {
  hashToken(Buffer.from(name));
  return token.hi;
}

describe('a write that fails', () => {
  it('blocks no hint that comes after it, though it was the first of its file', async () => {
    const hints = new Hints(newDisk());
    const fault = hints.disk.inject({ operation: 'write', errno: 'EIO', times: 1 });
    await hints.addAll('refused', 'kept', 'kept too');
    expect(fault.hits).toBe(1);
    expect([...hints.answers.values()]).toEqual([Status.UNAVAILABLE, Status.OK, Status.OK]);
    expect(await hints.drain()).toEqual(['kept', 'kept too']);
    expect(hints.filesOf()).toEqual([]);
  });

  it('is answered with DISK_FULL where there is no room, leaves nothing, and hints are taken again when there is', async () => {
    const hints = new Hints(newDisk(1, { capacityBytes: 600 }));
    await hints.addAll('fits', 'does not fit: '.padEnd(700, 'x'), 'nor does this: '.padEnd(700, 'x'));
    expect([...hints.answers.values()]).toEqual([Status.OK, Status.DISK_FULL, Status.DISK_FULL]);
    const used = 600 - hints.disk.freeBytes(DIRECTORY);
    expect(used).toBe(hints.bytes());
    hints.disk.capacityBytes = 10_000;
    await hints.addAll('fits now');
    const after = new Hints(hints.disk.powerCut());
    expect(await after.drain()).toEqual(['fits', 'fits now']);
    expect(after.reports).toEqual([]);
  });
});

describe('a sync that fails', () => {
  it('has its hints refused, and the next ones are in another file, durably', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 50; round++) {
      const hints = new Hints(newDisk(random.uint32()));
      await hints.addAll('before');
      const fault = hints.disk.inject({ operation: 'sync', errno: 'EIO', times: 1 });
      await hints.addAll('refused', 'after', 'after that');
      expect(fault.hits).toBe(1);
      expect(hints.acknowledged).toEqual(['before', 'after', 'after that']);
      expect(hints.filesOf()).toHaveLength(2);
      const found = await new Hints(hints.disk.powerCut(random)).drain();
      expect(
        found.filter((name) => name !== 'refused'),
        `seed ${seed}, round ${round}`,
      ).toEqual(['before', 'after', 'after that']);
      expect(await hints.drain()).toEqual(['before', 'after', 'after that']);
    }
  });

  it.each(['hints', '000000ab', 'data'])(
    'of the directory %s is made again before a hint is acknowledged',
    async (directory) => {
      const random = new Random(seed);
      for (let round = 0; round < 20; round++) {
        const disk = newDisk(random.uint32());
        const fault = disk.inject({ operation: 'sync-directory', path: directory, errno: 'EIO', times: 1 });
        const first = await opened(disk);
        await first.addAll('one', 'two', 'three');
        expect(fault.hits).toBe(1);
        expect(first.acknowledged.length).toBeGreaterThan(1);
        const found = await new Hints(disk.powerCut(random)).drain();
        expect(
          first.acknowledged.filter((name) => !found.includes(name)),
          `seed ${seed}, round ${round}`,
        ).toEqual([]);
      }
      /** A node whose start failed is started again. */
      async function opened(disk: ReturnType<typeof newDisk>): Promise<Hints> {
        try {
          return new Hints(disk);
        } catch {
          return new Hints(disk);
        }
      }
    },
  );

  it('of a directory that an earlier life left behind is made up for at the start', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 20; round++) {
      const disk = newDisk(random.uint32());
      // A process that died between mkdir and sync; the machine went on.
      disk.mkdir(TARGET_DIRECTORY);
      const hints = new Hints(disk);
      await hints.addAll('one');
      expect(hints.acknowledged).toEqual(['one']);
      expect(await new Hints(disk.powerCut(random)).drain(), `seed ${seed}, round ${round}`).toEqual(['one']);
    }
  });
});

describe('hints expire', () => {
  it('file by file, none before its time', async () => {
    const hints = new Hints(newDisk());
    const added = new Map<string, number>();
    for (let i = 0; i < 60; i++) {
      added.set(`hint ${i}`, hints.clock.nowMs());
      await hints.addAll(`hint ${i}`);
      hints.clock.advanceMs(limits.hintSegmentAgeMs / 4);
    }
    const lost = new Set<string>();
    for (let step = 0; step < 60; step++) {
      for (const { hints: count, tokens, isDamaged } of hints.expire()) {
        expect(isDamaged).toBe(false);
        expect(tokens).toHaveLength(count);
        for (const name of added.keys()) if (tokens.includes(tokenHiOf(name))) lost.add(name);
      }
      const nowMs = hints.clock.nowMs();
      for (const [name, addedMs] of added) {
        const ageMs = nowMs - addedMs;
        if (ageMs <= limits.hintAgeMsMax) expect(lost.has(name), name).toBe(false);
        if (ageMs > limits.hintAgeMsMax + limits.hintSegmentAgeMs) expect(lost.has(name), name).toBe(true);
      }
      hints.clock.advanceMs(limits.hintAgeMsMax / 40);
    }
    expect(lost.size).toBe(60);
    expect(hints.log.targets().size).toBe(0);
    expect(hints.filesOf()).toEqual([]);
  });

  it('also where they were added before a restart, and are told again until they are discarded', async () => {
    const disk = newDisk();
    const before = new Hints(disk);
    await before.addAll('one', 'two');
    before.log.close();
    const { clock } = before;
    clock.advanceMs(limits.hintAgeMsMax + limits.hintSegmentAgeMs);
    expect(new Hints(disk, clock).log.expire(clock.nowMs())).toEqual([]);
    clock.advanceMs(1);
    for (let life = 0; life < 2; life++) {
      const hints = new Hints(disk, clock);
      expect(await hints.next()).toBeNull();
      const losses = hints.log.expire(clock.nowMs());
      expect(losses.map(({ target, hints: count }) => [target, count])).toEqual([[TARGET, 2]]);
      expect(losses[0]?.tokens).toEqual(['one', 'two'].map(tokenHiOf));
      expect(hints.log.expire(clock.nowMs())).toEqual([]);
    }
    const last = new Hints(disk, clock);
    expect(last.expire()).toHaveLength(1);
    expect(new Hints(disk, clock).log.targets().size).toBe(0);
  });

  it('not while they are on their way to the disk, and what is acknowledged then is there', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('old');
    // One that comes with the last moment of its file.
    hints.clock.advanceMs(limits.hintSegmentAgeMs);
    hints.add('young');
    await Promise.resolve();
    expect(hints.disk.waiting).toBe(1);
    hints.clock.advanceMs(limits.hintAgeMsMax + 1);
    expect(hints.expire()).toEqual([]);
    await hints.settle();
    expect(hints.acknowledged).toEqual(['old', 'young']);
    const names = [...hints.filesOf()];
    expect(names).toHaveLength(1);
    expect(hints.expire()).toMatchObject([{ target: TARGET, hints: 2 }]);
  });

  it('within their age after now where the clock had been ahead', async () => {
    const hints = new Hints(newDisk());
    hints.clock.advanceMs(86_400_000);
    await hints.addAll('from tomorrow');
    hints.clock.advanceMs(-86_400_000);
    const restarted = new Hints(hints.disk, hints.clock);
    for (const one of [hints, restarted]) {
      expect(one.log.expire(one.clock.nowMs())).toEqual([]);
      expect(one.bytes()).toBeGreaterThan(0);
    }
    hints.clock.advanceMs(limits.hintAgeMsMax + 1);
    for (const one of [hints, restarted])
      expect(one.log.expire(one.clock.nowMs())).toMatchObject([{ target: TARGET, hints: 1 }]);
  });
});

/** Damages the time of the first hint of the first file, so that it seems to be of 1970. */
function makeOld(hints: Hints): void {
  const [path = ''] = hints.filesOf();
  const bytes = hints.disk.bytesOf(path).slice();
  new DataView(bytes.buffer).setFloat64(16, 0, true);
  hints.disk.place(path, bytes);
}

describe('damage', () => {
  it('to the time of a file of an earlier life lets nothing out that is too old', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('one', 'two');
    const [path] = hints.filesOf() as [string];
    hints.disk.flipBit(path, 0, 0);
    hints.clock.advanceMs(limits.hintAgeMsMax + 1);
    const restarted = new Hints(hints.disk, hints.clock);
    expect(await restarted.next()).toBeNull();
    expect(restarted.expire()).toMatchObject([{ target: TARGET, hints: 1, isDamaged: true }]);
    expect(restarted.filesOf()).toEqual([]);
  });
  it('in the middle of a file is told and counted, and the hints behind it are handed out', async () => {
    const random = new Random(seed);
    const names = ['hint 1', 'hint 2', 'hint 3', 'hint 4'];
    for (let round = 0; round < 200; round++) {
      const hints = new Hints(newDisk());
      await hints.addAll(...names);
      const [path = ''] = hints.filesOf();
      const size = hints.disk.bytesOf(path).length;
      const at = hints.disk.flipBit(path, random.below(size), random.below(8));
      // Frames of one length: the bit is in this one.
      const hit = names[Math.floor((at * names.length) / size)];
      const label = `seed ${seed}, round ${round}, byte ${at}`;
      const reader = round % 2 === 0 ? hints : new Hints(hints.disk);
      // The damaged byte may be in the time by which a new life takes the file for too old.
      expect(reader.log.expire(reader.clock.nowMs()), label).toEqual([]);
      const batch = await reader.next();
      expect(batch?.bytesDamaged, label).toBe(size / names.length);
      expect(batch === null ? [] : namesOf(batch), label).toEqual(names.filter((name) => name !== hit));
      expect(reader.reports.join(), label).toContain(`${path}: damaged at byte`);
    }
  });

  it('of the time by which a new life takes a file for too old makes nothing expire before its time', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('one', 'two');
    makeOld(hints);
    const restarted = new Hints(hints.disk, hints.clock);
    expect(restarted.log.expire(restarted.clock.nowMs())).toEqual([]);
    const batch = await restarted.next();
    expect(batch === null ? [] : namesOf(batch)).toEqual(['two']);
    restarted.clock.advanceMs(limits.hintAgeMsMax + 1);
    expect(restarted.expire()).toMatchObject([{ hints: 1, isDamaged: true }]);
  });

  it('of that time costs no file that cannot be read just then; one that never can be expires later', async () => {
    for (const times of [1, 1000]) {
      const hints = new Hints(newDisk());
      await hints.addAll('one', 'two');
      makeOld(hints);
      const restarted = new Hints(hints.disk, hints.clock);
      hints.disk.inject({ operation: 'read', errno: 'EIO', times });
      expect(restarted.expire()).toEqual([]);
      if (times === 1) expect(await restarted.drain()).toEqual(['two']);
      restarted.clock.advanceMs(limits.hintAgeMsMax + 1);
      expect(restarted.expire()).toMatchObject(times === 1 ? [] : [{ hints: 0, isDamaged: true }]);
      expect(restarted.filesOf()).toEqual([]);
    }
  });

  it('is told with what expires', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('one', 'two');
    const [path = ''] = hints.filesOf();
    hints.disk.flipBit(path, 40, 0);
    hints.clock.advanceMs(limits.hintAgeMsMax + 1);
    expect(hints.expire()).toMatchObject([{ target: TARGET, hints: 1, isDamaged: true }]);
  });

  it('of a whole file, or bytes that are missing at its end, are told too', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('one', 'two');
    const [path = ''] = hints.filesOf();
    const bytes = hints.disk.bytesOf(path).slice();
    hints.disk.place(path, bytes.subarray(0, bytes.length / 2));
    expect(await hints.next()).toMatchObject({ bytesDamaged: bytes.length / 2 });
    hints.disk.place(path, new Uint8Array(bytes.length));
    expect(await hints.next()).toMatchObject({ writes: [], bytesDamaged: bytes.length });
    const restarted = new Hints(hints.disk);
    expect(await restarted.next()).toMatchObject({ writes: [], bytesDamaged: bytes.length });
    expect(restarted.bytes()).toBe(bytes.length);
  });

  it('that looks like many hints is given up after as many tries as there may be', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('before', 'behind');
    const [path = ''] = hints.filesOf();
    const whole = hints.disk.bytesOf(path).slice();
    const half = whole.length / 2;
    for (const tries of [limits.hintResyncsMax, limits.hintResyncsMax + 1]) {
      const decoys = Buffer.alloc(64 * tries);
      for (let at = 0; at < decoys.length; at += 64) decoys.write('RKVH', at, 'latin1');
      hints.disk.place(path, Buffer.concat([whole.subarray(0, half), decoys, whole.subarray(half)]));
      const batch = await new Hints(hints.disk).next();
      const isGivenUp = tries > limits.hintResyncsMax;
      expect(batch === null ? [] : namesOf(batch)).toEqual(isGivenUp ? ['before'] : ['before', 'behind']);
      expect(batch?.bytesDamaged).toBe(decoys.length + (isGivenUp ? half : 0));
    }
  });

  it('of one file keeps no other back where it cannot be read at all, and it expires with a loss', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('unreadable');
    const [path = ''] = hints.filesOf();
    expect(await hints.next()).not.toBeNull();
    await hints.addAll('readable');
    hints.disk.inject({ operation: 'read', path: path.split('/').at(-1) ?? '', errno: 'EIO' });
    await expect(hints.next()).rejects.toThrow('EIO');
    const batch = await hints.next();
    expect(batch === null ? [] : namesOf(batch)).toEqual(['readable']);
    if (batch !== null) hints.log.discard(batch);
    await expect(hints.next()).rejects.toThrow('EIO');
    hints.clock.advanceMs(limits.hintAgeMsMax + 1);
    expect(hints.expire()).toMatchObject([{ target: TARGET, hints: 0, isDamaged: true }]);
    expect(hints.filesOf()).toEqual([]);
  });

  it('does not keep a node from starting: what cannot be read then is tried later', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('one');
    const fault = hints.disk.inject({ operation: 'read', errno: 'EIO', times: 1 });
    const restarted = new Hints(hints.disk);
    expect(fault.hits).toBe(1);
    expect(restarted.reports.join()).toContain('cannot be read');
    expect(await restarted.drain()).toEqual(['one']);
  });

  it('of a newer format version is none: the file is left as it is', async () => {
    const { encodeHint, HINT_FORMAT } = await import('../../src/replica/hint-format.ts');
    const { writeChecksum } = await import('../../src/base/checksum.ts');
    const { recordOf } = await import('../cluster/records.ts');
    const record = recordOf({ key: 'k', version: 1, value: 'v' });
    const frame = encodeHint({ record, also: null, addedMs: 1_700_000_000_000 }, 1);
    new DataView(frame.buffer).setUint32(12, HINT_FORMAT + 1, true);
    frame.fill(0, 24, 32);
    writeChecksum(frame, 4, frame.length, frame, 24, 1);
    const disk = newDisk();
    disk.place(`${TARGET_DIRECTORY}/0000000001.hints`, frame);
    const hints = new Hints(disk);
    await expect(hints.next()).rejects.toThrow('format version 2');
    expect(disk.bytesOf(`${TARGET_DIRECTORY}/0000000001.hints`)).toEqual(frame);
  });
});

describe('a torn tail', () => {
  it('never has hints behind it: a file of an earlier life takes no more', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('one');
    const [path = ''] = hints.filesOf();
    hints.disk.place(path, Buffer.concat([hints.disk.bytesOf(path), Buffer.alloc(45, 7)]));
    for (const life of ['two', 'three']) {
      const restarted = new Hints(hints.disk);
      await restarted.addAll(life);
      expect(hints.disk.bytesOf(path)).toHaveLength(hints.disk.bytesOf(restarted.filesOf()[0] ?? '').length);
      restarted.log.close();
    }
    const last = new Hints(hints.disk);
    const first = await last.next();
    expect(first).toMatchObject({ bytesDamaged: 45 });
    expect(await last.drain()).toEqual(['one', 'two', 'three']);
  });
});
