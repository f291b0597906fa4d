// A front end in a worker thread, as a node runs it: starts on the port it is told, closes on 'close'.
import { parentPort } from 'node:worker_threads';
import { systemClock } from '../../dist/src/base/clock.js';
import { startFront } from '../../dist/src/front/front.js';

const nothing = () => undefined;
const client = {
  shards: 1,
  vnodes: 64,
  slotsMax: 4,
  request: {},
  local: {},
  getLocal: () => 2,
  submit: () => -7,
  flush: nothing,
  setHandler: nothing,
  close: nothing,
};
let front = null;
parentPort.on('message', async (message) => {
  if (message === 'close') {
    await front.close(100);
    parentPort.close();
    return;
  }
  const sizes = { maxKeyBytes: 1024, maxValueBytes: 1024 };
  const address = { host: '127.0.0.1', port: message, sharedPort: true };
  front = await startFront({ client, clock: systemClock, ...address, ...sizes, notReady: () => '' });
  parentPort.postMessage('up');
});
