/** Processor time of another process by the priority of its threads, from /proc: Linux alone tells. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ThreadTimes {
  /** Microseconds of threads with the priority of the process. */
  readonly normalUs: number;
  /** Of those that give way to them: compactions. */
  readonly lowUs: number;
}
const NICE_FIELD = 16;
const NS_PER_US = 1000;

/** Threads that end between two looks are missing in the second: those of a node live as long as it does. */
export function threadTimes(pid: number): ThreadTimes {
  let normalUs = 0;
  let lowUs = 0;
  const own = niceOf(`/proc/${pid}`);
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const directory = `/proc/${pid}/task/${thread}`;
    try {
      const us = Number(readFileSync(`${directory}/schedstat`, 'utf8').split(' ')[0]) / NS_PER_US;
      if (niceOf(directory) > own) lowUs += us;
      else normalUs += us;
    } catch (error) {
      // It has just ended.
      if (
        (error as NodeJS.ErrnoException).code !== 'ENOENT' &&
        (error as NodeJS.ErrnoException).code !== 'ESRCH'
      )
        throw error;
    }
  }
  return { normalUs, lowUs };
}
function niceOf(directory: string): number {
  const stat = readFileSync(`${directory}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[NICE_FIELD]);
}
export const timesBetween = (before: ThreadTimes, after: ThreadTimes): ThreadTimes => ({
  normalUs: after.normalUs - before.normalUs,
  lowUs: after.lowUs - before.lowUs,
});
