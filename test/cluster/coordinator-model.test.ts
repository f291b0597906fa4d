import { describe, expect, it } from 'vitest';
import { testSeed } from '../seed.ts';
import { faultOfSeed, type Mix } from './coordinator-workload.ts';

/** CLUSTER_SEED=7 CLUSTER_SEEDS=1 runs one seed again; larger CLUSTER_SEEDS hunt. */
const first = Number(process.env.CLUSTER_SEED ?? testSeed() % 1_000_000);
const count = Number(process.env.CLUSTER_SEEDS ?? 60);

function hunt(mix: Mix): void {
  for (let seed = first; seed < first + count; seed++) {
    const fault = faultOfSeed(seed, mix);
    expect(fault, `seed ${seed}, ${seed - first + 1} seeds looked at`).toBe('');
  }
}

describe(`coordinators over a network with faults, clocks that are off and crashes (seeds from ${first})`, () => {
  it('keep SERIAL linearizable, with unknown outcomes and repeats under idempotency keys', () =>
    hunt('serial'));
  it('never miss an acknowledged QUORUM write in a later QUORUM read, nor go back in time', () =>
    hunt('quorum'));
  it('never let a conditional write pass over an acknowledged QUORUM write', () => hunt('mixed'));
});
