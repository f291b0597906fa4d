/**
 * How long the calling thread has waited for a processor: what a call to the disk took without that is what the disk took. Linux
 * alone tells it (/proc/thread-self/schedstat, proc(5): nanoseconds on a processor, nanoseconds of waiting in a run queue,
 * timeslices). State of this module belongs to its thread, as each thread loads it anew.
 */
import { openSync, readSync } from 'node:fs';

/** Three numbers of up to 20 digits. */
const LINE_BYTES = 64;
const SPACE = 0x20;
const ZERO = 0x30;
const line = Buffer.allocUnsafeSlow(LINE_BYTES);
/** -1: not opened yet. -2: the system does not tell. Node closes it when the thread ends. */
let file = -1;

/** Microseconds since the thread began; always 0 where the system does not tell. */
export function processorWaitUs(): number {
  if (file === -2) return 0;
  try {
    if (file === -1) file = openSync('/proc/thread-self/schedstat', 'r');
    return secondNumber(readSync(file, line, 0, LINE_BYTES, 0)) / 1000;
  } catch {
    file = -2;
    return 0;
  }
}

function secondNumber(length: number): number {
  let at = 0;
  while (at < length && line[at] !== SPACE) at++;
  let number = 0;
  for (at++; at < length && line[at] !== SPACE; at++) number = number * 10 + (line[at] as number) - ZERO;
  return number;
}
