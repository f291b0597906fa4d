import { describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { DIRECTORY, Hints, namesOf, newDisk, TARGET, TARGET_DIRECTORY } from './hint-harness.ts';

const OTHER = 0xcd;

describe('the bounds', () => {
  it('refuse a hint whose record is longer than any, or is none, and take the longest', async () => {
    const hints = new Hints(newDisk());
    const head = 40;
    hints.add('too long', TARGET, limits.peerRecordBytesMax - head);
    hints.add('k', TARGET, limits.peerRecordBytesMax - head - 1);
    await hints.settle();
    expect(hints.answers.get('too long')).toBe(Status.BAD_REQUEST);
    expect(hints.messages.get('too long')).toContain(`the limit is ${limits.peerRecordBytesMax}`);
    expect(hints.answers.get('k')).toBe(Status.OK);
    expect(await new Hints(hints.disk).drain()).toEqual(['k']);
    const answer = await new Promise<number>((resolve) =>
      hints.log.add(
        TARGET,
        { record: new Uint8Array(50), also: null, mode: 2, deadlineMs: deadlineIn(hints.clock, 1) },
        ({ status }) => resolve(status),
      ),
    );
    expect(answer).toBe(Status.BAD_REQUEST);
  });

  it('for one target, for all and for targets refuse what goes beyond, on their way or on disk, until there is room', async () => {
    const disk = newDisk();
    const one = 80;
    const open = (clock?: Hints['clock']): Hints =>
      new Hints(disk, clock, { bytesMax: 3 * one, bytesTotalMax: 5 * one, targetsMax: 3 });
    let hints = open();
    const add = async (names: readonly string[], target: number): Promise<string> => {
      for (const name of names) hints.add(name, target);
      await hints.settle();
      return names.map((name) => hints.answers.get(name)).join();
    };
    const { OK, OVERLOADED } = Status;
    expect(await add(['a1', 'a2', 'a3', 'a4'], 0xa)).toBe([OK, OK, OK, OVERLOADED].join());
    expect(hints.bytes(0xa)).toBe(3 * one);
    expect(hints.messages.get('a4')).toContain(`the limits are ${3 * one} and ${5 * one}`);
    expect(await add(['b1', 'b2', 'b3'], 0xb)).toBe([OK, OK, OVERLOADED].join());
    hints.log.close();
    hints = open(hints.clock);
    expect(await add(['a5'], 0xa)).toBe(`${OVERLOADED}`);
    expect(await add(['c1'], 0xc)).toBe(`${OVERLOADED}`);
    expect(await hints.drain(0xb)).toEqual(['b1', 'b2']);
    expect(await add(['c2', 'c3'], 0xc)).toBe([OK, OK].join());
    expect(await add(['d1'], 0xd)).toBe(`${OVERLOADED}`);
    hints.clock.advanceMs(limits.hintAgeMsMax + limits.hintSegmentAgeMs + 1);
    hints.expire();
    expect(await add(['d2'], 0xd)).toBe(`${OK}`);
    expect(await add(['e1'], 0xe)).toBe(`${OK}`);
    expect(await add(['f1'], 0xf)).toBe(`${OK}`);
    expect(await add(['g1'], 0x10)).toBe(`${OVERLOADED}`);
    expect(hints.messages.get('g1')).toContain('3 nodes, which is the limit');
    await hints.drain(0xe);
    expect(await add(['g2'], 0x10)).toBe(`${OK}`);
  });

  it('refuse what waits for a slow disk beyond the queue, and nothing else after it moved', async () => {
    const hints = new Hints(newDisk());
    const bytes = 8 * 1024 * 1024;
    const fit = Math.floor(limits.hintQueueBytesMax / (bytes + 100));
    for (let i = 0; i <= fit; i++) hints.add(`hint ${i}`, TARGET, bytes);
    await Promise.resolve();
    await Promise.resolve();
    expect(hints.answers.get(`hint ${fit}`)).toBe(Status.OVERLOADED);
    expect(hints.messages.get(`hint ${fit}`)).toContain(`the limit is ${limits.hintQueueBytesMax}`);
    await hints.settle();
    expect(hints.acknowledged).toHaveLength(fit);
    // One file for each: it is full with the first.
    expect(hints.filesOf()).toHaveLength(fit);
    hints.add('later');
    await hints.settle();
    expect(hints.answers.get('later')).toBe(Status.OK);
  });

  it.each([600_000, -600_000])(
    'keep their deadlines where the wall clock is set by %i ms',
    async (jumpMs) => {
      const hints = new Hints(newDisk());
      hints.add('first');
      await Promise.resolve();
      hints.add('in time');
      hints.clock.jumpMs(jumpMs);
      await hints.settle();
      hints.add('before');
      await Promise.resolve();
      hints.add('late');
      hints.clock.jumpMs(-2 * jumpMs);
      hints.clock.advanceMs(5000);
      await hints.settle();
      expect([...hints.answers].sort()).toEqual([
        ['before', Status.OK],
        ['first', Status.OK],
        ['in time', Status.OK],
        ['late', Status.TIMEOUT],
      ]);
    },
  );

  it('refuse hints whose deadline passed while they waited', async () => {
    const hints = new Hints(newDisk());
    hints.add('first');
    await Promise.resolve();
    hints.add('late');
    hints.clock.advanceMs(6000);
    hints.add('in time');
    await hints.settle();
    expect([...hints.answers].sort()).toEqual([
      ['first', Status.OK],
      ['in time', Status.OK],
      ['late', Status.TIMEOUT],
    ]);
  });

  it('begin a new file when the first hint of the last is old, or the file is long', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('a');
    hints.clock.advanceMs(limits.hintSegmentAgeMs);
    await hints.addAll('b');
    expect(hints.filesOf()).toHaveLength(1);
    hints.clock.advanceMs(1);
    await hints.addAll('c');
    expect(hints.filesOf()).toHaveLength(2);
    hints.add('long', TARGET, limits.hintSegmentBytes);
    await hints.settle();
    await hints.addAll('d');
    expect(hints.filesOf()).toHaveLength(3);
    expect(await hints.drain()).toEqual(['a', 'b', 'c', 'long', 'd']);
  });

  it('count files that cannot be removed, which are tried again and never handed out', async () => {
    const hints = new Hints(newDisk());
    const fault = hints.disk.inject({ operation: 'unlink', errno: 'EIO' });
    await hints.addAll('one');
    const held = hints.bytes();
    expect(await hints.drain()).toEqual(['one']);
    expect(hints.reports.join()).toContain('stays behind');
    expect([hints.filesOf().length, hints.bytes(), hints.log.bytesHeld]).toEqual([1, 0, held]);
    hints.log.expire(hints.clock.nowMs());
    expect(hints.log.bytesHeld).toBe(held);
    fault.stop();
    hints.log.expire(hints.clock.nowMs());
    expect([hints.filesOf().length, hints.log.bytesHeld]).toEqual([0, 0]);
  });

  it('hold for files that cannot be removed as well', async () => {
    const hints = new Hints(newDisk());
    hints.disk.inject({ operation: 'unlink', errno: 'EIO' });
    const fault = hints.disk.inject({ operation: 'sync-directory', path: '000000ab', errno: 'EIO' });
    for (let i = 0; i < limits.hintUndeletedMax; i++) await hints.addAll('refused');
    expect(hints.messages.get('refused')).toContain('EIO');
    expect(hints.filesOf()).toHaveLength(limits.hintUndeletedMax);
    fault.stop();
    await hints.addAll('refused too');
    expect(hints.messages.get('refused too')).toContain(`the limit is ${limits.hintUndeletedMax}`);
    expect(hints.filesOf()).toHaveLength(limits.hintUndeletedMax);
  });
});

describe('a directory of hints', () => {
  it('leaves alone what is not its own', async () => {
    const disk = newDisk();
    const foreign = [
      `${DIRECTORY}/hints/lost+found/x`,
      `${DIRECTORY}/hints/000000cd`,
      `${DIRECTORY}/hints/00000000/0000000001.hints`,
      `${TARGET_DIRECTORY}/notes.txt`,
      `${TARGET_DIRECTORY}/0000000000.hints`,
      `${TARGET_DIRECTORY}/12.hints`,
      `${TARGET_DIRECTORY}/0000000009.hints/inside`,
    ];
    for (const path of foreign) disk.place(path, Buffer.from('foreign'));
    const hints = new Hints(disk);
    expect(hints.log.targets().size).toBe(0);
    await hints.addAll('one');
    expect(await new Hints(disk).drain()).toEqual(['one']);
    for (const path of foreign) expect(Buffer.from(disk.bytesOf(path)).toString(), path).toBe('foreign');
    // Another file is where a target's directory should be: its hints are refused.
    hints.add('for the other', OTHER);
    await hints.settle();
    expect(hints.answers.get('for the other')).toBe(Status.UNAVAILABLE);
  });

  it('is made again, durably, where somebody took it away', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('gone');
    expect(await hints.drain()).toEqual(['gone']);
    hints.disk.rmdir(TARGET_DIRECTORY);
    await hints.addAll('refused', 'kept');
    expect(hints.answers.get('refused')).toBe(Status.UNAVAILABLE);
    expect(hints.answers.get('kept')).toBe(Status.OK);
    expect(await new Hints(hints.disk.powerCut()).drain()).toEqual(['kept']);
  });

  it('goes on behind the highest number that is there', async () => {
    const disk = newDisk();
    disk.place(`${TARGET_DIRECTORY}/9999999999.hints`, new Uint8Array(0));
    const hints = new Hints(disk);
    await hints.addAll('one');
    expect(hints.filesOf()).toEqual([`${TARGET_DIRECTORY}/10000000000.hints`]);
    expect(await new Hints(disk).drain()).toEqual(['one']);
  });
});

describe('handing out', () => {
  it('is not held up by hints that go on coming', async () => {
    const hints = new Hints(newDisk());
    await hints.addAll('first');
    hints.add('second');
    await Promise.resolve();
    // Its file is being written to: from now on it takes no more.
    expect(await hints.next()).toBeNull();
    hints.add('third');
    await hints.settle();
    const batch = await hints.next();
    expect(batch === null ? [] : namesOf(batch)).toEqual(['first', 'second']);
    expect(hints.acknowledged).toEqual(['first', 'second', 'third']);
    expect(await hints.drain()).toEqual(['first', 'second', 'third']);
  });

  it('takes the others first after a part that could not be delivered', async () => {
    const hints = new Hints(newDisk());
    for (const name of ['one', 'two', 'three']) {
      await hints.addAll(name);
      hints.clock.advanceMs(limits.hintSegmentAgeMs + 1);
    }
    const order: string[] = [];
    for (let i = 0; i < 4; i++) {
      const batch = await hints.next();
      if (batch === null) break;
      order.push(...namesOf(batch));
      if (i === 1) hints.log.discard(batch);
      else hints.log.postpone(batch);
    }
    expect(order).toEqual(['one', 'two', 'three', 'one']);
  });
});
