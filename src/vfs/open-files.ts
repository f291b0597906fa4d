/** How many files and sockets the process may have open, and has. Main thread. */
import { readdirSync, readFileSync } from 'node:fs';

export interface OpenFiles {
  /** RLIMIT_NOFILE; Node has raised the soft limit to the hard one when it started. */
  readonly max: number;
  readonly open: number;
}

/** Where the system does not tell: what a node of two shards has, and some more. */
const OPEN_ABOUT = 128;
const DIRECTORIES = ['/proc/self/fd', '/dev/fd'];
const LIMITS_FILE = '/proc/self/limits';

/**
 * Null where there is no limit, or the system does not tell. To be called before there are sockets and threads: where Linux does not
 * tell it by a file, a report of Node does, which stops all threads and asks the DNS for the name of each end of each connection.
 */
export function openFilesMax(file = LIMITS_FILE): number | null {
  const text = textOf(file);
  const max = text === null ? ofReport() : Number(/^Max open files +(\d+)/m.exec(text)?.[1] ?? Number.NaN);
  return typeof max === 'number' && Number.isSafeInteger(max) ? max : null;
}

export function openFilesNow(): number {
  for (const directory of DIRECTORIES)
    try {
      return readdirSync(directory).length;
    } catch {
      // Not this one: the next.
    }
  return OPEN_ABOUT;
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function ofReport(): unknown {
  const report = process.report?.getReport() as
    | { readonly userLimits?: { readonly open_files?: { readonly soft?: unknown } } }
    | undefined;
  return report?.userLimits?.open_files?.soft;
}
