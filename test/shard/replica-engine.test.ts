import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { originAt, versionAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import type { PrepareAnswer, WriteAnswer } from '../../src/cluster/contract.ts';
import { viewOf } from '../cluster/records.ts';
import { newDisk } from '../engine/disk.ts';
import { testSeed } from '../seed.ts';
import {
  type Answer,
  LIFE_SHAPE,
  prepareOf,
  ReplicaLife,
  type Request,
  randomRequest,
  statesOf,
  writeOf,
} from './replica-life.ts';

const seed = testSeed();
const BASE = 1_700_000_000_000_000;
const KEYS = ['a', 'b', 'c', 'd', 'e'];
const LIVES = 8;
const RECORD = { key: 'a', version: 0, origin: 1, value: 'v', tombstone: false, outcomes: false };

/** Requests of one turn. Reads go by themselves: they do not wait for the writes of their key. */
function batchOf(random: Random): Request[] {
  const batch = Array.from({ length: random.pick([1, 1, 2, 4]) }, () => randomRequest(random, KEYS, BASE));
  const [first] = batch as [Request];
  if (batch.some(({ isRead }) => isRead)) return [first];
  // What is met and not durable yet: the same once more, and an older copy.
  if (random.chance(0.3)) batch.push(first);
  if (random.chance(0.3))
    batch.push(
      writeOf(false, { ...RECORD, key: first.key, version: BASE, value: '', tombstone: random.chance(0.5) }),
    );
  return batch;
}

const recordIn = (state: string): string => state.split('\n').find((line) => line.startsWith('0:')) ?? '';

/**
 * Asks the replica and the reference the same until the disk crashes or `steps` are through. Gives, for each key that was
 * asked about when it crashed, every state that may be found: those from the last answered change on.
 */
async function live(life: ReplicaLife, random: Random, steps: number): Promise<Map<string, string[]> | null> {
  for (let step = 0; step < steps; step++) {
    const batch = batchOf(random);
    const states = new Map<string, string[]>(batch.map(({ key }) => [key, [life.stateOfReference(key)]]));
    const expected: Answer[] = batch.map((request) => {
      const answer = life.answerOfReference(request);
      states.get(request.key)?.push(life.stateOfReference(request.key));
      return answer;
    });
    const answers = await life.ask(batch);
    const answered = new Map<string, number>();
    const met = new Map<string, number>();
    for (const [i, answer] of answers.entries()) {
      const { key, label, statusOnly } = batch[i] as Request;
      if (answer === null) continue;
      const wanted = expected[i] as Answer;
      if (statusOnly) expect(answer.status, label).toBe(wanted.status);
      // Told at length only where it fails: values are long.
      else if (!isDeepStrictEqual({ ...answer, message: '' }, { ...wanted, message: '' }))
        expect({ ...answer, message: '' }, label).toEqual({ ...wanted, message: '' });
      // A refusal promises nothing: it may rest on a record that is not durable yet.
      if (answer.status !== Status.OK) continue;
      const place = batch.slice(0, i + 1).filter((one) => one.key === key).length;
      const all = states.get(key) as string[];
      // A write that changed nothing rests on the record that it met, and on no promise.
      const rests = all[place] === all[place - 1] && (batch[i] as Request).isWrite ? met : answered;
      rests.set(key, Math.max(rests.get(key) ?? 0, place));
    }
    if (life.disk.crashed)
      return new Map(
        [...states].map(([key, all]) => {
          const records = all.slice(met.get(key) ?? 0).map(recordIn);
          return [key, all.slice(answered.get(key) ?? 0).filter((one) => records.includes(recordIn(one)))];
        }),
      );
    try {
      if (random.chance(0.03)) await life.wait(life.engine.flush());
      if (random.chance(0.01)) await life.wait(life.engine.compactAll());
      if (random.chance(0.1)) await life.settle();
    } catch (error) {
      if (!life.disk.crashed) throw error;
      return new Map();
    }
  }
  return null;
}

describe(`a replica on its engine (seed ${seed})`, () => {
  it('answers as the reference does and keeps what it answered, over crashes at any call of the disk', async () => {
    let crashes = 0;
    for (let round = 0; round < 8; round++) {
      const random = new Random(seed + round);
      const shape = {
        ...LIFE_SHAPE,
        dial: random.pick([-4, 0, 4]),
        inlineUsMax: random.pick([0, 1000]),
        blockCacheBytes: random.pick([0, 64 * 1024]),
      };
      const life = new ReplicaLife(newDisk({ seed: random.uint32() }), shape, random);
      for (let number = 0; number < LIVES; number++) {
        life.disk.resetCounts();
        let doubts: Map<string, string[]> | null = new Map();
        const before = statesOf(life.reference.all());
        if (random.chance(0.9)) life.disk.crashAtChange(random.below(number % 2 === 0 ? 400 : 60));
        try {
          await life.start();
          expect(statesOf(life.records())).toEqual(before);
          doubts = await live(life, random, 150);
        } catch (error) {
          if (!life.disk.crashed) throw error;
        }
        const expected = statesOf(life.reference.all());
        if (doubts === null) {
          life.disk.crashAtChange(Number.POSITIVE_INFINITY);
          expect(statesOf(life.records())).toEqual(expected);
          if (random.chance(0.5)) await life.wait(life.engine.close());
        } else crashes++;
        life.cut(random);
        await life.start();
        const found = statesOf(life.records());
        for (const key of KEYS) {
          const may = doubts?.get(key) ?? [expected.get(key) ?? ''];
          expect(may, `round ${round}, life ${number}, key ${key}`).toContain(found.get(key) ?? '');
        }
        life.takeUp();
        await life.wait(life.engine.close());
        life.store = null;
      }
    }
    expect(crashes).toBeGreaterThan(8);
  });

  it('refuses what is older than a promise that it gave before the power was cut', async () => {
    const random = new Random(seed);
    let kept = 0;
    for (let change = 0; ; change++) {
      const life = new ReplicaLife(newDisk({ seed: random.uint32() }), LIFE_SHAPE, random);
      await life.start();
      await life.ask([writeOf(true, { ...RECORD, version: BASE + 1 })]);
      life.disk.resetCounts();
      life.disk.crashAtChange(change);
      const [promise] = await life.ask([prepareOf('a', BASE + 10, 2)]);
      const isOver = !life.disk.crashed;
      life.cut(random);
      await life.start();
      const status = async (request: Request): Promise<Answer> => (await life.ask([request]))[0] as Answer;
      if (promise?.status === Status.OK) {
        kept++;
        for (const older of [
          prepareOf('a', BASE + 9, 3),
          prepareOf('a', BASE + 10, 1),
          writeOf(true, { ...RECORD, version: BASE + 9 }),
          writeOf(false, { ...RECORD, version: BASE + 9 }),
        ]) {
          const { status: refused, beat } = (await status(older)) as WriteAnswer;
          expect([refused, beat], older.label).toEqual([PeerStatus.STALE_VERSION, BASE + 10]);
        }
        const accept = writeOf(true, { ...RECORD, version: BASE + 10, origin: 2 });
        expect((await status(accept)).status).toBe(Status.OK);
      }
      await life.wait(life.engine.close());
      if (isOver) break;
    }
    expect(kept).toBeGreaterThan(0);
  });

  it('still has what it accepted under a ballot when the power was cut, and shows it to the next ballot', async () => {
    const random = new Random(seed);
    let kept = 0;
    for (let change = 0; ; change++) {
      const life = new ReplicaLife(newDisk({ seed: random.uint32() }), LIFE_SHAPE, random);
      await life.start();
      await life.ask([prepareOf('a', BASE + 10, 2)]);
      life.disk.resetCounts();
      life.disk.crashAtChange(change);
      const [accepted] = await life.ask([
        writeOf(true, { ...RECORD, version: BASE + 10, origin: 2, outcomes: true }),
      ]);
      const isOver = !life.disk.crashed;
      life.cut(random);
      await life.start();
      const [stale] = await life.ask([prepareOf('a', BASE + 10, 1)]);
      expect(stale?.status).toBe(PeerStatus.STALE_VERSION);
      const [next] = (await life.ask([prepareOf('a', BASE + 20, 1)])) as PrepareAnswer[];
      expect(next?.status).toBe(Status.OK);
      // Both or neither: with the record alone a repeat would not find its outcome.
      expect(next?.record === null).toBe(next?.outcomes === null);
      if (accepted?.status === Status.OK) {
        kept++;
        const view = viewOf(next?.record ?? new Uint8Array(40));
        expect([versionAt(view, 0), originAt(view, 0)]).toEqual([BASE + 10, 2]);
      }
      await life.wait(life.engine.close());
      if (isOver) break;
    }
    expect(kept).toBeGreaterThan(0);
  });
});
