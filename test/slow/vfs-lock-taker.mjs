// Takes the lock of a directory, again and again until it has it, and says so; releases it when told to, or is
// killed. One of many in vfs-lock.test.ts. Runs the build.
//   node vfs-lock-taker.mjs <directory> <record | kernel> <try | insist>
import { closeSync, openSync, readdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LockedError } from '../../dist/src/base/errors.js';
import { openLocked } from '../../dist/src/vfs/kernel-lock.js';
import { lockDirectory } from '../../dist/src/vfs/lock.js';
import { judge, thisProcess } from '../../dist/src/vfs/lock-holder.js';

const [directory, mode, patience] = process.argv.slice(2);
const system = {
  openLocked: mode === 'kernel' ? openLocked : (path) => ({ state: 'none', descriptor: openSync(path, 'a') }),
  thisProcess,
  judge,
};
let lock = null;
/** Turns of one process in a storm. */
const TURNS = 1500;

function take() {
  try {
    lock = lockDirectory(directory, system);
    process.send({ event: 'held' });
  } catch (error) {
    if (!(error instanceof LockedError)) throw error;
    if (patience === 'insist') setTimeout(take, 1);
    else process.send({ event: 'locked', message: error.message });
  }
}

/**
 * Takes the lock as often as it can beside others that do the same, and ends each turn by a release or by
 * leaving the record as a dead process leaves it. While it has the lock, a file is there that nobody else makes.
 */
function storm() {
  const mark = join(directory, 'held');
  let descriptor = -1;
  const recordOnly = {
    ...system,
    openLocked: (path) => ({ state: 'none', descriptor: openSync(path, 'a') }),
  };
  const spied = {
    ...recordOnly,
    openLocked: (path) => {
      const kernel = recordOnly.openLocked(path);
      descriptor = kernel.descriptor;
      return kernel;
    },
  };
  for (let turn = 0; turn < TURNS; ) {
    let held = null;
    try {
      held = lockDirectory(directory, spied);
    } catch (error) {
      if (!(error instanceof LockedError)) throw error;
      continue;
    }
    turn++;
    closeSync(openSync(mark, 'wx'));
    const folder = join(directory, 'LOCK.holder');
    const records = readdirSync(folder);
    if (records.length !== 1) throw new Error(`${records.length} records`);
    unlinkSync(mark);
    if (turn % 2 === 0) held.release();
    else {
      writeFileSync(join(folder, records[0]), JSON.stringify({ ...thisProcess(false), start: '1' }));
      closeSync(descriptor);
    }
  }
  process.send({ event: 'released' });
}
process.on('message', (message) => {
  if (message === 'storm') storm();
  if (message === 'take') take();
  if (message === 'release') {
    lock.release();
    lock = null;
    process.send({ event: 'released' });
  }
});
process.on('disconnect', () => process.exit(0));
process.send({ event: 'ready' });
