import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { DataDirectory } from '../../src/node/data-directory.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const CALLS_MAX = 500;
const PATH = '/srv/stores/data';
const OLD = 'a'.repeat(32);
const NEW = 'b'.repeat(32);

const open = (fs: SimulatedFileSystem, nodeId: string): DataDirectory =>
  DataDirectory.open(fs, { path: PATH, vnodes: 16, shards: 3, newNodeId: () => nodeId });

/** Opens on a disk that dies at call `at`; the node's id where it got through all the same. */
function attempt(fs: SimulatedFileSystem, nodeId: string, at: number): string {
  fs.resetCounts();
  fs.crashAtCall(at);
  try {
    return open(fs, nodeId).nodeId;
  } catch (error) {
    if (!(error instanceof Crash)) throw error;
    return '';
  }
}

describe(`making a data directory (seed ${seed})`, () => {
  it('recovers from a power cut at every call, and from one in the recovery', () => {
    const random = new Random(seed);
    let calls = 0;
    for (; calls < CALLS_MAX; calls++) {
      const disk = new SimulatedFileSystem({ seed: random.uint32() });
      const whole = attempt(disk, OLD, calls);
      const after = disk.powerCut(random);
      attempt(after, NEW, random.below(60));
      const again = after.powerCut(random);
      const data = open(again, NEW);
      expect(data.layout).toMatchObject({ number: 1, shards: 3 });
      // An id that somebody was told of stays.
      if (whole !== '') expect(data.nodeId).toBe(OLD);
      const last = open(again.powerCut(random), 'c'.repeat(32));
      expect(last.nodeId).toBe(data.nodeId);
      if (whole !== '') break;
    }
    expect(calls).toBeGreaterThan(50);
    expect(calls).toBeLessThan(CALLS_MAX);
  });

  it('is durable when it is done, with the directories above it', () => {
    const random = new Random(seed);
    for (let round = 0; round < 30; round++) {
      const disk = new SimulatedFileSystem({ seed: random.uint32() });
      open(disk, OLD);
      expect(open(disk.powerCut(random), NEW).nodeId).toBe(OLD);
    }
  });

  it('fails clearly where the disk is full, and succeeds once there is room', () => {
    let refused = 0;
    for (let room = 0; room < 2000; room += 100) {
      const fs = new SimulatedFileSystem({ seed: 1, capacityBytes: room });
      try {
        open(fs, OLD);
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: 'DISK_FULL' });
        refused++;
      }
      fs.capacityBytes = 1_000_000;
      expect(open(fs, NEW).nodeId).toBe(NEW);
    }
    expect(refused).toBeGreaterThan(3);
  });
});
