/** The priority of the calling thread. */
import { platform, setPriority } from 'node:os';

/** Nice value of threads whose work nobody waits for: a tenth of the weight of the others (sched(7)). */
const NICE_LOW = 10;

/**
 * Lets other threads go first. On Linux alone: there process id 0 of setpriority(2) is the calling thread, elsewhere it
 * is the whole process.
 */
export function lowerThreadPriority(): void {
  if (platform() === 'linux') setPriority(0, NICE_LOW);
}
