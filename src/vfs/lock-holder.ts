/**
 * Who holds a lock, written down so that another process can name the holder and tell whether it still lives.
 * A process is known by its id and its start time, within its boot and its namespace of process ids: ids are
 * given again, soon after a reboot and at once in a container, whose first process is always 1.
 */
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isSystemError } from './io-failure.ts';

export interface LockHolder {
  readonly pid: number;
  /** Clock ticks from boot to the start of the process; '' where the system does not tell. */
  readonly start: string;
  readonly boot: string;
  /** The namespace that the process id belongs to. */
  readonly namespace: string;
  readonly host: string;
  /** Whether the holder has the kernel's lock too. */
  readonly kernel: boolean;
}

/** `unknown` where neither the system nor the record can say; then a lock is never taken over. */
export type Verdict = 'alive' | 'gone' | 'unknown';

function textOf(read: () => string): string {
  try {
    return read().trim();
  } catch (error) {
    if (isSystemError(error)) return '';
    throw error;
  }
}

/** Start time of a process that can still act; '' for none, and where there is no /proc. */
export function startOf(pid: number): string {
  // The name, in parentheses, may itself hold spaces and parentheses.
  const stat = textOf(() => fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  // The first thread of a killed process may be a zombie while another is still inside a write.
  const over =
    state === 'X' ||
    (state === 'Z' && textOf(() => fs.readdirSync(`/proc/${pid}/task`).join(' ')) === `${pid}`);
  return over ? '' : (fields[19] ?? '');
}

export function thisProcess(kernel: boolean): LockHolder {
  return {
    pid: process.pid,
    start: startOf(process.pid),
    boot: textOf(() => fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1')),
    namespace: textOf(() => fs.readlinkSync('/proc/self/ns/pid')),
    host: hostname(),
    kernel,
  };
}

/** Whether the holder lives, as far as `self` can tell. */
export function judge(holder: LockHolder, self: LockHolder): Verdict {
  // The same name with another boot or namespace is this machine or container, started again.
  if (holder.boot !== self.boot || holder.namespace !== self.namespace)
    return holder.host === self.host ? 'gone' : 'unknown';
  if (holder.start !== '') return startOf(holder.pid) === holder.start ? 'alive' : 'gone';
  if (holder.host !== self.host) return 'unknown';
  return canSignal(holder.pid) ? 'unknown' : 'gone';
}

/** Whether there is a process of this id, perhaps another than the one that was meant. */
function canSignal(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isSystemError(error) && error.code === 'EPERM';
  }
}

export function describeHolder(holder: LockHolder, self: LockHolder): string {
  const own = judge(holder, self) === 'alive' && holder.pid === self.pid;
  const where = holder.host === self.host ? '' : ` on host ${holder.host}`;
  return `process ${holder.pid}${own ? ' (this one)' : where}`;
}

/** The record in a folder, with the name of its file; null for none. A record that is no record gives no holder. */
export function readHolder(folder: string): { name: string; holder: LockHolder | null } | null {
  try {
    const name = fs.readdirSync(folder)[0];
    if (name === undefined) return null;
    return { name, holder: parseHolder(fs.readFileSync(join(folder, name), 'utf8')) };
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Records are whole before others can see them: one that is not was left by a power cut. */
export function parseHolder(text: string): LockHolder | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { pid, start, boot, namespace, host, kernel } = value as Record<keyof LockHolder, unknown>;
  if (!Number.isSafeInteger(pid) || typeof pid !== 'number' || pid <= 0) return null;
  if (typeof start !== 'string' || typeof boot !== 'string' || typeof namespace !== 'string') return null;
  if (typeof host !== 'string' || typeof kernel !== 'boolean') return null;
  return { pid, start, boot, namespace, host, kernel };
}
