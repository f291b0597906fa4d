/**
 * The lock on a data directory: between processes, between threads, and between two opens of one thread.
 * Held twice over: by the kernel's lock on the file LOCK where there is one, and by a record of the holder
 * in the folder LOCK.holder. The kernel is right about dead holders whatever namespace they lived in; the
 * record names the holder, and excludes by itself where the kernel's lock is not to be had. Invariants:
 *
 * 1. LOCK.holder is either empty or holds one record, whose file has a name that is never used again. The
 *    lock is held by the process whose record it holds.
 * 2. A record comes in only with its folder: a folder with the record is made aside and renamed to
 *    LOCK.holder, which rename(2) does only where that is missing or empty. One of many takers succeeds.
 * 3. A record goes only by its own name, so that a taker who judged an older one cannot remove it.
 * 4. A record of a process that lives, or of which nobody can say, is never removed.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { LockedError } from '../base/errors.ts';
import { systemSeed } from '../base/random.ts';
import type { FileLock } from './file-system.ts';
import { failureOf, isSystemError } from './io-failure.ts';
import { type KernelLock, openLocked } from './kernel-lock.ts';
import {
  describeHolder,
  judge,
  type LockHolder,
  readHolder,
  thisProcess,
  type Verdict,
} from './lock-holder.ts';

const LOCK_NAME = 'LOCK';
const HOLDER_NAME = 'LOCK.holder';
const TAKING_PREFIX = 'LOCK.taking-';
/** Each attempt that fails without an answer means that another process got further meanwhile. */
const ATTEMPTS_MAX = 100;

/** How the lock looks at the system; tests put other answers in. */
export interface LockSystem {
  openLocked(path: string): KernelLock;
  thisProcess(kernel: boolean): LockHolder;
  judge(holder: LockHolder, self: LockHolder): Verdict;
}
const system: LockSystem = { openLocked, thisProcess, judge };

/** Takes the lock of `directory`, which must exist. Throws LockedError with the holder, IoError, DiskFullError. */
export function lockDirectory(directory: string, use: LockSystem = system): FileLock {
  try {
    const kernel = use.openLocked(join(directory, LOCK_NAME));
    if (kernel.state === 'busy') throw busy(directory, use);
    try {
      const name = claim(directory, kernel.state === 'held', use);
      clearAside(directory, use);
      return new HeldLock(directory, name, kernel.descriptor);
    } catch (error) {
      fs.closeSync(kernel.descriptor);
      throw error;
    }
  } catch (error) {
    throw failureOf(error, 'lock', directory);
  }
}

/** Puts this process's record in place; the name of its file. */
function claim(directory: string, kernel: boolean, use: LockSystem): string {
  const folder = join(directory, HOLDER_NAME);
  const self = use.thisProcess(kernel);
  const name = `${self.pid}-${unique()}`;
  const aside = join(directory, `${TAKING_PREFIX}${name}`);
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (!prepare(aside, name, self)) continue;
    if (moveInto(aside, folder) && fs.existsSync(join(folder, name))) return name;
    const found = readHolder(folder);
    if (found === null) remove(fs.rmdirSync, folder);
    else {
      const verdict = found.holder === null ? 'gone' : use.judge(found.holder, self);
      // Both had the kernel's lock, and we have it now: the holder's is released, so it is gone.
      const released = verdict === 'unknown' && kernel && found.holder?.kernel === true;
      if (verdict !== 'gone' && !released && found.holder !== null) {
        discard(aside, name);
        throw held(directory, found.holder, self, verdict);
      }
      remove(fs.unlinkSync, join(folder, found.name));
    }
  }
  discard(aside, name);
  throw new LockedError(`${directory} is locked: other processes took it in ${ATTEMPTS_MAX} attempts`);
}

/** Makes the folder aside, whole; false where another process cleared it away meanwhile. */
function prepare(aside: string, name: string, self: LockHolder): boolean {
  const path = join(aside, name);
  if (fs.existsSync(path)) return true;
  try {
    fs.mkdirSync(aside, { recursive: true, mode: 0o700 });
    fs.writeFileSync(path, `${JSON.stringify(self)}\n`, { mode: 0o600 });
    return true;
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return false;
    discard(aside, name);
    throw error;
  }
}

function moveInto(aside: string, folder: string): boolean {
  try {
    fs.renameSync(aside, folder);
    return true;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    // Taken; or, for ENOENT, the folder aside was cleared away by another process.
    if (error.code === 'ENOTEMPTY' || error.code === 'EEXIST' || error.code === 'ENOENT') return false;
    // Windows never renames over a folder, empty or not.
    if (process.platform === 'win32' && fs.existsSync(folder)) return false;
    throw error;
  }
}

/** Removes folders of takers that died. What belongs to a process that may live is never touched. */
function clearAside(directory: string, use: LockSystem): void {
  const self = use.thisProcess(false);
  for (const name of fs.readdirSync(directory)) {
    if (!name.startsWith(TAKING_PREFIX)) continue;
    const aside = join(directory, name);
    const found = readHolder(aside);
    if (found !== null) {
      if (found.holder === null || use.judge(found.holder, self) !== 'gone') continue;
      remove(fs.unlinkSync, join(aside, found.name));
    }
    remove(fs.rmdirSync, aside);
  }
}

function discard(aside: string, name: string): void {
  remove(fs.unlinkSync, join(aside, name));
  remove(fs.rmdirSync, aside);
}

/** Removes what may be gone already, or filled again. */
function remove(call: (path: string) => void, path: string): void {
  try {
    call(path);
  } catch (error) {
    if (!isSystemError(error) || !['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error;
  }
}

function unique(): string {
  return [systemSeed(), systemSeed()].map((part) => part.toString(16).padStart(8, '0')).join('');
}

function held(directory: string, holder: LockHolder, self: LockHolder, verdict: Verdict): LockedError {
  const advice =
    verdict === 'alive'
      ? ''
      : `; whether it still runs cannot be told from here: if it does not, delete ${join(directory, HOLDER_NAME)}`;
  return new LockedError(`${directory} is locked by ${describeHolder(holder, self)}${advice}`);
}

/** The kernel's lock is taken; the record may be missing or old while its taker is on the way. */
function busy(directory: string, use: LockSystem): LockedError {
  const self = use.thisProcess(false);
  const holder = readHolder(join(directory, HOLDER_NAME))?.holder ?? null;
  const who =
    holder === null || use.judge(holder, self) === 'gone'
      ? 'another process that is just starting or ending'
      : describeHolder(holder, self);
  return new LockedError(`${directory} is locked by ${who}`);
}

class HeldLock implements FileLock {
  readonly #directory: string;
  readonly #name: string;
  readonly #descriptor: number;
  #released = false;

  constructor(directory: string, name: string, descriptor: number) {
    this.#directory = directory;
    this.#name = name;
    this.#descriptor = descriptor;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    const folder = join(this.#directory, HOLDER_NAME);
    try {
      discard(folder, this.#name);
    } catch (error) {
      throw failureOf(error, 'unlock', this.#directory);
    } finally {
      fs.closeSync(this.#descriptor);
    }
  }
}
