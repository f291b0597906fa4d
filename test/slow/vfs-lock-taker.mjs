// Takes the lock of a directory, again and again until it has it, and says so; releases it when told to, or is
// killed. One of many in vfs-lock.test.ts. Runs the build.
//   node vfs-lock-taker.mjs <directory> <record | kernel> <try | insist>
import { openSync } from 'node:fs';
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
process.on('message', (message) => {
  if (message === 'take') take();
  if (message === 'release') {
    lock.release();
    lock = null;
    process.send({ event: 'released' });
  }
});
process.on('disconnect', () => process.exit(0));
process.send({ event: 'ready' });
