/** Exit codes of `ringkv`: a promise to scripts, described in docs/cli.md. */
export const ExitCode = {
  OK: 0,
  /** The operation failed: key not found, version mismatch, damage found, not all records acknowledged. */
  FAILED: 1,
  /** Unknown command or flag, wrong argument, wrong setting. */
  USAGE: 2,
  /** No server answers, or it cannot do the work now: overloaded, unavailable, deadline passed. */
  UNAVAILABLE: 3,
  /** The address cannot be listened on: port taken, no such address, not permitted. */
  LISTEN: 4,
  /** The data directory cannot be used: locked, unreadable, full, damaged, of a newer format. */
  DATA: 5,
  /** A node that served gave up. */
  NODE_FAILED: 6,
  /** A defect of RingKV itself, as sysexits.h counts (EX_SOFTWARE). */
  INTERNAL: 70,
  /** 128 + SIGINT, as shells count. */
  INTERRUPTED: 130,
} as const;
export type ExitCodeValue = (typeof ExitCode)[keyof typeof ExitCode];
