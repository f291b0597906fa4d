// The load of paced.mjs, in a thread of its own: half GET, half raw PUT of 2 KB over raw keep-alive sockets, one request
// at a time on each. Phases, one at a time, by message:
//
//   { kind: 'fill' }                    every key once
//   { kind: 'closed', seconds }         each connection sends when it has its answer
//   { kind: 'open', rate, settle,       a request is due every 1/rate s; where no connection is idle it waits, and its
//     seconds }                         latency counts from when it was due. What is due in the first `settle` s does not
//                                       count, and nothing stops between the two
//
// Each phase ends with a message: { answers, seconds, failures: { status: count }, late, latency, ownLateMs }. ownLateMs: the
// most that this thread's own timer came late, which is in the latency and not the server's doing alone.
import { connect } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { build } from 'hdr-histogram-js';

const { port, connections, keys, seed } = workerData;
const VALUE_BYTES = 2048;
const HISTOGRAM = {
  lowestDiscernibleValue: 1,
  highestTrackableValue: 120_000_000,
  numberOfSignificantValueDigits: 3,
};
/** An answer that takes longer ends the run. */
const ANSWER_MS_MAX = 30_000;
/** Requests that are due and wait for a connection: beyond it the rate cannot be kept, and the run ends. */
const WAITING_MAX = 2 ** 20;
const LATE_US = 1000;
const TICK_MS = 1;
const nowUs = () => performance.now() * 1000;

let state = seed >>> 0;
function random() {
  state = (state + 0x9e3779b9) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
const noise = Buffer.from(new Uint32Array(2 ** 18).map(random).buffer);
const keyText = (key) => `k${String(key).padStart(9, '0')}`;

function putOf(key) {
  const head = Buffer.from(
    `PUT /v1/kv/${keyText(key)} HTTP/1.1\r\nHost: l\r\nContent-Type: application/octet-stream\r\nContent-Length: ${VALUE_BYTES}\r\n\r\n`,
  );
  const request = Buffer.allocUnsafe(head.length + VALUE_BYTES).fill('ringkv', head.length);
  head.copy(request);
  noise.copy(request, head.length, random() % (noise.length - VALUE_BYTES), undefined);
  // Half of the value compresses.
  request.fill('ringkv', head.length + VALUE_BYTES / 2);
  return request;
}
const getOf = (key) =>
  Buffer.from(`GET /v1/kv/${keyText(key)} HTTP/1.1\r\nHost: l\r\nAccept: application/octet-stream\r\n\r\n`);
const mixed = () => {
  const key = random() % keys;
  return random() % 2 === 0 ? getOf(key) : putOf(key);
};

/** What runs: hears of connections that are idle. */
let phase = null;

class Connection {
  dueUs = 0;
  busy = false;
  #socket;
  /** Of the answer: bytes wanted behind the head, and bytes there. */
  #head = null;
  #left = -1;
  #status = 0;

  constructor() {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (chunk) => this.#take(chunk));
    this.#socket.on('error', (error) => phase?.broken(`a connection failed: ${error.message}`));
    this.#socket.on('close', () => phase?.broken('a connection was closed'));
  }
  send(request, dueUs) {
    this.busy = true;
    this.dueUs = dueUs;
    this.#socket.write(request);
  }
  close() {
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }

  #take(chunk) {
    let body = chunk;
    if (this.#left < 0) {
      const all = this.#head === null ? chunk : Buffer.concat([this.#head, chunk]);
      const end = all.indexOf('\r\n\r\n');
      if (end < 0) {
        this.#head = all;
        return;
      }
      this.#head = null;
      const text = all.latin1Slice(0, end);
      this.#status = Number(text.slice(9, 12));
      const length = /\r\ncontent-length: *(\d+)/i.exec(text);
      this.#left = length === null ? 0 : Number(length[1]);
      body = all.subarray(end + 4);
    }
    this.#left -= body.length;
    if (this.#left > 0) return;
    if (this.#left < 0) {
      phase?.broken('more bytes than the answer has');
      return;
    }
    this.#left = -1;
    this.busy = false;
    phase?.answered(this, this.#status);
  }
}

class Phase {
  #done;
  #fail;
  #started = nowUs();
  #watch;
  #answers = 0;
  #counted = 0;
  #failures = {};
  late = 0;
  ownLateMs = 0;
  #countFrom = Number.NEGATIVE_INFINITY;
  sent = 0;
  latency = build(HISTOGRAM);
  over = false;
  result = new Promise((resolve, reject) => {
    this.#done = resolve;
    this.#fail = reject;
  });
  constructor() {
    let seen = 0;
    this.#watch = setInterval(() => {
      if (this.#answers === seen && this.sent > this.#answers)
        this.broken(`no answer in ${ANSWER_MS_MAX} ms`);
      seen = this.#answers;
    }, ANSWER_MS_MAX);
  }
  /** What was due before does not count. */
  countFrom(us) {
    this.#countFrom = us;
    this.#started = us;
  }
  broken(why) {
    clearInterval(this.#watch);
    this.over = true;
    this.#fail(new Error(why));
  }
  send(connection, request, dueUs) {
    this.sent++;
    connection.send(request, dueUs);
  }
  answered(connection, status) {
    this.#answers++;
    if (connection.dueUs >= this.#countFrom) {
      this.#counted++;
      this.latency.recordValue(Math.max(1, Math.round(nowUs() - connection.dueUs)));
    }
    if (status < 200 || status > 299) this.#failures[status] = (this.#failures[status] ?? 0) + 1;
    if (!this.over) this.idle(connection);
    this.settle();
  }
  /** Ends when nothing more is sent and all answers are there. */
  settle() {
    if (!this.over || this.sent > this.#answers) return;
    clearInterval(this.#watch);
    const { late, latency, ownLateMs } = this;
    const seconds = (nowUs() - this.#started) / 1e6;
    this.#done({ answers: this.#counted, seconds, failures: this.#failures, late, latency, ownLateMs });
  }
}

class Fill extends Phase {
  #next = 0;
  idle(connection) {
    if (this.#next < keys) this.send(connection, putOf(this.#next++), nowUs());
    else this.over = true;
  }
}

class Closed extends Phase {
  #endUs;
  constructor(seconds) {
    super();
    this.#endUs = nowUs() + seconds * 1e6;
  }
  idle(connection) {
    const now = nowUs();
    if (now >= this.#endUs) this.over = true;
    else this.send(connection, mixed(), now);
  }
}

class Open extends Phase {
  #idle = [];
  #everyUs;
  #dueUs = nowUs();
  #endUs;
  #countUs;
  #tickedMs = performance.now();
  constructor(rate, settle, seconds) {
    super();
    this.#everyUs = 1e6 / rate;
    this.#countUs = this.#dueUs + settle * 1e6;
    this.#endUs = this.#countUs + seconds * 1e6;
    this.countFrom(this.#countUs);
    this.#tick();
  }
  idle(connection) {
    this.#idle.push(connection);
    // Late already: at once, not with the next tick.
    this.#sendDue();
  }
  #tick() {
    if (this.over) return;
    const nowMs = performance.now();
    if (nowMs * 1000 >= this.#countUs)
      this.ownLateMs = Math.max(this.ownLateMs, nowMs - this.#tickedMs - TICK_MS);
    this.#tickedMs = nowMs;
    this.#sendDue();
    // By a timer, so that what is due comes in bursts of a millisecond: to look all the time would take one of two
    // cores from the server, and the rate with it.
    setTimeout(() => this.#tick(), TICK_MS);
  }
  #sendDue() {
    const now = nowUs();
    while (this.#dueUs <= now && this.#dueUs < this.#endUs && this.#idle.length > 0) {
      // No connection was idle, or this thread had no time: it counts all the same.
      if (now - this.#dueUs > LATE_US && this.#dueUs >= this.#countUs) this.late++;
      this.send(this.#idle.pop(), mixed(), this.#dueUs);
      this.#dueUs += this.#everyUs;
    }
    if ((now - this.#dueUs) / this.#everyUs > WAITING_MAX)
      this.broken(`more than ${WAITING_MAX} requests are due`);
    if (this.#dueUs >= this.#endUs) {
      this.over = true;
      this.settle();
    }
  }
}

const lanes = Array.from({ length: connections }, () => new Connection());
parentPort.on('message', async ({ kind, rate, settle, seconds }) => {
  try {
    phase =
      kind === 'fill'
        ? new Fill()
        : kind === 'closed'
          ? new Closed(seconds)
          : new Open(rate, settle, seconds);
    for (const connection of lanes) phase.idle(connection);
    const { latency, ...result } = await phase.result;
    const { encodeIntoCompressedBase64 } = await import('hdr-histogram-js');
    parentPort.postMessage({ ...result, latency: encodeIntoCompressedBase64(latency) });
  } catch (error) {
    parentPort.postMessage({ error: error.message });
    for (const connection of lanes) connection.close();
  }
});
