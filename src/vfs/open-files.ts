/** How many files and sockets the process may have open, and has. Main thread: a report of Node takes some milliseconds. */
import { readdirSync } from 'node:fs';

export interface OpenFiles {
  /** RLIMIT_NOFILE; Node has raised the soft limit to the hard one when it started. */
  readonly max: number;
  readonly open: number;
}

/** Where the system does not tell: what a node of two shards has, and some more. */
const OPEN_ABOUT = 128;
const DIRECTORIES = ['/proc/self/fd', '/dev/fd'];

/** Null where there is no limit, or the system does not tell. */
export function openFiles(): OpenFiles | null {
  const report = process.report?.getReport() as
    | { readonly userLimits?: { readonly open_files?: { readonly soft?: unknown } } }
    | undefined;
  const max = report?.userLimits?.open_files?.soft;
  return typeof max === 'number' && Number.isSafeInteger(max) ? { max, open: openNow() } : null;
}

function openNow(): number {
  for (const directory of DIRECTORIES)
    try {
      return readdirSync(directory).length;
    } catch {
      // Not this one: the next.
    }
  return OPEN_ABOUT;
}
