import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { type Channel, createChannel, portsOf } from '../../src/ipc/channel.ts';
import { createDoorbell, type DoorbellMemory } from '../../src/ipc/doorbell.ts';
import { testSeed } from '../seed.ts';

interface Outcome {
  readonly sent: number;
  readonly received: number;
  readonly refused: number;
  readonly beside: number;
  readonly sleeps: number;
}
interface Setting {
  readonly count: number;
  readonly ringBytes: number;
  /** One in so many records is too long for the ring; 0 never. */
  readonly largeEvery: number;
  readonly seed: number;
}

function runPeer(setting: Setting, own: DoorbellMemory, out: Channel, back: Channel): Promise<Outcome> {
  const ends = { writer: out.writer, reader: back.reader };
  const worker = new Worker(resolve(import.meta.dirname, 'channel-peer.mjs'), {
    workerData: { ...setting, ends, doorbell: own },
    transferList: [...portsOf(out.writer), ...portsOf(back.reader)],
  });
  return new Promise((done, failed) => {
    worker.once('message', done);
    worker.once('error', failed);
    worker.once('exit', (code) => failed(new Error(`a peer ended with ${code} and no outcome`)));
  });
}

async function exchange(setting: Setting): Promise<Outcome[]> {
  const left = createDoorbell();
  const right = createDoorbell();
  const there = createChannel(right, setting.ringBytes);
  const back = createChannel(left, setting.ringBytes);
  return await Promise.all([
    runPeer(setting, left, there, back),
    runPeer({ ...setting, seed: setting.seed ^ 0x5555 }, right, back, there),
  ]);
}

const seed = testSeed();

describe(`two threads on a pair of channels (seed ${seed})`, () => {
  it('pass a million records each way, every one whole and in order, and wake each other from sleep', async () => {
    const count = 1_000_000;
    for (const outcome of await exchange({ count, ringBytes: 1 << 20, largeEvery: 0, seed })) {
      expect(outcome).toMatchObject({ sent: count, received: count });
      expect(outcome.sleeps).toBeGreaterThan(100);
    }
  });
  it('pass records beside a small and often full ring without loss or reordering', async () => {
    const count = 200_000;
    const outcomes = await exchange({ count, ringBytes: 1 << 14, largeEvery: 500, seed });
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ sent: count, received: count });
      expect(outcome.beside).toBeGreaterThan(100);
      expect(outcome.refused).toBeGreaterThan(10);
    }
  });
});
