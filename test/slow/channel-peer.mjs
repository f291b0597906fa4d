// One side of the channel test: sends `count` records of random size and checks those of the other side, all on
// the thread's event loop, and goes to sleep whenever there is nothing to do. Runs the build.
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../../dist/src/base/random.js';
import { ChannelReader, ChannelWriter } from '../../dist/src/ipc/channel.js';
import { DoorbellSleeper } from '../../dist/src/ipc/doorbell.js';

const { count, largeEvery, seed, ends, doorbell } = workerData;
const random = new Random(seed);
const writer = new ChannelWriter(ends.writer);
const reader = new ChannelReader(ends.reader, drain);
const sleeper = new DoorbellSleeper(doorbell);

let sent = 0;
let received = 0;
let refused = 0;
let beside = 0;
let waiting = false;
let ended = false;

/** Words from the sequence number: what a reader sees before it was filled in does not match. */
function fill(view, offset, length, sequence) {
  view.setUint32(offset, sequence, true);
  for (let at = 4; at < length; at += 4)
    view.setUint32(offset + at, (sequence * 0x9e3779b1 + at) >>> 0, true);
}
function check(view, offset, length) {
  if (view.getUint32(offset, true) !== received)
    throw new Error(`record ${received} is ${view.getUint32(offset, true)}`);
  for (let at = 4; at < length; at += 4)
    if (view.getUint32(offset + at, true) !== (received * 0x9e3779b1 + at) >>> 0)
      throw new Error(`record ${received}: wrong word at ${at}`);
}

function drain() {
  sleeper.wake();
  do {
    while (reader.next()) {
      check(reader.view, reader.offset, reader.length);
      received++;
      if ((received & 63) === 0) reader.release();
    }
    reader.release();
  } while (!sleeper.sleep(() => reader.pending()));
  // Credit: with a partner that is far behind, only a record of its own goes on with the burst.
  if (waiting) send();
  endWhenDone();
}

function send() {
  waiting = false;
  for (let burst = random.pick([1, 2, 30, 300]); burst > 0 && sent < count; burst--) {
    const large = largeEvery > 0 && random.below(largeEvery) === 0;
    const length = 4 * (large ? random.between(17_000, 200_000) : random.between(1, 60));
    if (!writer.reserve(length)) {
      refused++;
      break;
    }
    if (large) beside++;
    fill(writer.view, writer.offset, length, sent++);
    writer.commit(length);
  }
  writer.flush();
  if (sent === count) {
    endWhenDone();
    return;
  }
  // Half of the time nothing but the partner's doorbell brings this thread back.
  if (sent < received + 20_000 && received < count && received > 0 && random.chance(0.5) && sent > received)
    waiting = true;
  else setImmediate(send);
}

function endWhenDone() {
  if (ended || sent < count || received < count) return;
  ended = true;
  parentPort.postMessage({ sent, received, refused, beside, sleeps: sleeper.sleeps });
  writer.close();
  reader.close();
}

send();
drain();
