/** Parts of what a server says of its cluster. */
import type { ClusterStatus } from '../../src/cluster/administration.ts';

/** Nothing to repair, and nothing was. */
export const QUIET: ClusterStatus['repair'] = {
  running: false,
  vnodesWaiting: 0,
  vnodesDone: 0,
  recordsSent: 0,
  recordsReceived: 0,
  resurrections: 0,
  lastEndMs: 0,
  waitsFor: [],
};
