/** What the system says of this process and of the machine; nothing is kept. Linux tells all of it. */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { MachineFigures } from './bench-figures.ts';

export function machineFigures(): MachineFigures {
  return {
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    processor: cpus()[0]?.model.trim() ?? '',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
  };
}

/** Processor time of all threads of this process so far, microseconds. */
export function processorUs(): number {
  const { system, user } = process.cpuUsage();
  return user + system;
}

export const residentBytes = (): number => process.memoryUsage.rss();

/**
 * Bytes that this process has given to write calls so far (proc(5), io: wchar), or null where the system does not count them: elsewhere
 * than on Linux, and where it is forbidden to look. Files take nearly all of it: doorbells are 8 bytes each. `write_bytes` of the
 * same file is of no use: it counts a whole folio of the page cache where a page of it is written. On Linux 6.18 with ext4 it gave
 * 9.3 bytes for each byte put where the disk itself counted at most 2.8, and wchar 1.7.
 */
export function writtenBytes(): number | null {
  let text: string;
  try {
    text = readFileSync('/proc/self/io', 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EPERM') return null;
    throw error;
  }
  const found = /^wchar: (\d+)$/m.exec(text)?.[1];
  return found === undefined ? null : Number(found);
}
