import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { builtDisk, countedBytes, countOperations, flipIn, strike } from '../engine/engine-faults.ts';
import { DIRECTORY } from '../engine/engine-harness.ts';
import { testSeed } from '../seed.ts';

describe('one failing call, each in turn,', () => {
  it('loses nothing that was acknowledged and is told by name', async () => {
    const seed = testSeed();
    console.log(`engine faults: seed ${seed}`);
    let told = 0;
    let strikes = 0;
    for (const errno of ['EIO', 'ENOSPC'])
      for (const [operation, count] of await countOperations(seed)) {
        if (
          errno === 'ENOSPC' &&
          !['write', 'create', 'rename', 'sync-directory', 'truncate'].includes(operation)
        )
          continue;
        for (let after = 0; after < count; after++) {
          if ((await strike({ operation, after, times: 1, errno }, seed)) !== '') told++;
          strikes++;
        }
      }
    expect(strikes).toBeGreaterThan(300);
    expect(told).toBeGreaterThan(50);
  });
});

describe('a flipped bit', () => {
  it('in any file of a shard is found, named and never served', async () => {
    const seed = testSeed();
    console.log(`engine flips: seed ${seed}`);
    const random = new Random(seed);
    const names = (await builtDisk(seed)).disk.readdir(DIRECTORY).filter((name) => !name.includes('spare'));
    for (const name of names)
      for (let i = 0; i < 60; i++) {
        const { disk, ledger } = await builtDisk(seed);
        const size = countedBytes(disk, name);
        const byte = random.below(size);
        const wasNamed = await flipIn(disk, ledger, name, byte, random.below(8));
        expect(wasNamed, `seed ${seed}: byte ${byte} of ${name}, ${size} bytes`).toBe(true);
      }
  });
});
