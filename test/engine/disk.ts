import { SimulatedFileSystem, type SimulatedOptions } from '../../src/vfs/simulated.ts';

/** A disk with the empty directory of one shard, durable, and nothing counted or logged yet. */
export function newDisk(options: SimulatedOptions = {}): SimulatedFileSystem {
  const disk = new SimulatedFileSystem(options);
  disk.mkdir('/shard');
  disk.syncDirectory('/');
  disk.resetCounts();
  return disk;
}
