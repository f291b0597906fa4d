/** A log that strangers cannot fill: peerLogLinesMax lines a minute, and how many were left out. */
import { limits } from '../base/limits.ts';

type Log = (level: 'info' | 'warn' | 'error', message: string) => void;
const PERIOD_MS = 60_000;

export function limitedLog(log: Log, nowMs: () => number): Log {
  let since = nowMs();
  let lines = 0;
  return (level, message) => {
    const now = nowMs();
    if (now - since >= PERIOD_MS) {
      const left = lines - limits.peerLogLinesMax;
      if (left > 0) log('warn', `${left} lines about connections were left out`);
      since = now;
      lines = 0;
    }
    lines++;
    if (lines <= limits.peerLogLinesMax) log(level, message);
  };
}
