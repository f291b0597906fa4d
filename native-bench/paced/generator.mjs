// The load of paced.mjs and cluster.mjs, in a thread of its own: GET, and PUT of 2 KB (`puts` of all, half where nothing is said)
// over raw keep-alive sockets, one request at a time on each, spread evenly over `ports`. Phases, one at a time, by message:
//
//   { kind: 'fill' }                    every key once
//   { kind: 'closed', seconds }         each connection sends when it has its answer
//   { kind: 'open', rate, settle,       a request is due every 1/rate s; where no connection is idle it waits, and its
//     seconds }                         latency counts from when it was due. What is due in the first `settle` s does not
//                                       count, and nothing stops between the two
//
// Each phase ends with a message: { answers, seconds, failures: { status: count }, late, latency, getLatency, ownLateMs }.
// ownLateMs: the most that this thread's own timer came late, which is in the latency and not the server's doing alone.
// With `verify` a GET must give the bytes that some PUT of its key wrote, none of which a later acknowledged PUT had
// replaced before it was sent; what does not is counted as a failure, `wrong` or `stale`.
import { connect } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { build } from 'hdr-histogram-js';
import { AnswerReader } from './answers.mjs';
import { dialects } from './dialects.mjs';
import { Register, randomOf, Values } from './values.mjs';

const {
  ports,
  connections,
  keys,
  seed,
  puts = 0.5,
  dialect = 'ringkv',
  dialectOptions = {},
  verify = false,
} = workerData;
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
/** What a socket has read: for all of them, until the next read. A buffer and a stream for each read would cost a fifth of this thread. */
const received = Buffer.allocUnsafeSlow(65_536);
const nowUs = () => performance.now() * 1000;

const random = randomOf(seed);
const values = new Values(random);
const register = new Register(keys);
const wire = dialects[dialect](dialectOptions);
const isPut = () => random() < puts * 2 ** 32;
const anyKey = () => random() % keys;

/** What runs: hears of connections that are idle. */
let phase = null;

class Connection {
  dueUs = 0;
  busy = false;
  isPut = false;
  #key = 0;
  #serial = 0;
  #floorUs = 0;
  #socket;
  #reader = new AnswerReader(
    verify,
    (status, body) => this.#answered(status, body),
    (why) => phase?.broken(why),
  );

  constructor(port) {
    this.#socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: received,
        callback: (bytes) => {
          this.#reader.push(received.subarray(0, bytes));
          return true;
        },
      },
    });
    this.#socket.on('error', (error) => phase?.broken(`a connection failed: ${error.message}`));
    this.#socket.on('close', () => phase?.broken('a connection was closed'));
  }
  put(key, dueUs) {
    this.isPut = true;
    this.#serial = register.put(nowUs());
    this.#send(
      key,
      wire.put(key, (into, at) => values.write(into, at, key, this.#serial)),
      dueUs,
    );
  }
  get(key, dueUs) {
    this.isPut = false;
    this.#floorUs = register.floor(key);
    this.#send(key, wire.get(key), dueUs);
  }
  #send(key, request, dueUs) {
    this.#key = key;
    this.busy = true;
    this.dueUs = dueUs;
    this.#socket.write(request);
  }
  close() {
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }

  #answered(status, body) {
    this.busy = false;
    const ok = status >= 200 && status <= 299;
    let failure = ok ? '' : String(status);
    const takenUs = nowUs();
    if (ok && this.isPut) register.acknowledged(this.#key, this.#serial, takenUs);
    else if (ok && verify) {
      const serial = values.serialOf(wire.valueOf(body), this.#key);
      if (serial < 0) failure = 'wrong';
      else if (register.isStale(serial, this.#floorUs)) failure = 'stale';
    }
    phase?.answered(this, failure, takenUs);
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
  getLatency = build(HISTOGRAM);
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
  /** Any key, GET or PUT. */
  send(connection, dueUs) {
    this.sent++;
    const key = anyKey();
    if (isPut()) connection.put(key, dueUs);
    else connection.get(key, dueUs);
  }
  answered(connection, failure, takenUs) {
    this.#answers++;
    if (connection.dueUs >= this.#countFrom) {
      this.#counted++;
      const us = Math.max(1, Math.round(takenUs - connection.dueUs));
      this.latency.recordValue(us);
      if (!connection.isPut) this.getLatency.recordValue(us);
    }
    if (failure !== '') this.#failures[failure] = (this.#failures[failure] ?? 0) + 1;
    if (!this.over) this.idle(connection);
    this.settle();
  }
  /** Ends when nothing more is sent and all answers are there. */
  settle() {
    if (!this.over || this.sent > this.#answers) return;
    clearInterval(this.#watch);
    const { late, latency, getLatency, ownLateMs } = this;
    const seconds = (nowUs() - this.#started) / 1e6;
    const failures = this.#failures;
    this.#done({ answers: this.#counted, seconds, failures, late, latency, getLatency, ownLateMs });
  }
}

class Fill extends Phase {
  #next = 0;
  idle(connection) {
    if (this.#next < keys) {
      this.sent++;
      connection.put(this.#next++, nowUs());
    } else this.over = true;
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
    else this.send(connection, now);
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
      this.send(this.#idle.pop(), this.#dueUs);
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

const lanes = Array.from({ length: connections }, (_, index) => new Connection(ports[index % ports.length]));
parentPort.on('message', async ({ kind, rate, settle, seconds }) => {
  try {
    phase =
      kind === 'fill'
        ? new Fill()
        : kind === 'closed'
          ? new Closed(seconds)
          : new Open(rate, settle, seconds);
    for (const connection of lanes) phase.idle(connection);
    const { latency, getLatency, ...result } = await phase.result;
    const { encodeIntoCompressedBase64: encode } = await import('hdr-histogram-js');
    parentPort.postMessage({ ...result, latency: encode(latency), getLatency: encode(getLatency) });
  } catch (error) {
    parentPort.postMessage({ error: error.message });
    for (const connection of lanes) connection.close();
  }
});
