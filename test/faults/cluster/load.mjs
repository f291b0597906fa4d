/**
 * Clients over HTTP: each writes keys of its own (PUT, DELETE, PUT on a condition), reads everybody's at QUORUM, and takes part
 * in compare-and-set of a few keys that all share. What they are answered is judged at once (history.mjs).
 */
import { OwnKey, Register } from './history.mjs';
import { sleep } from './random.mjs';

const RAW = { 'content-type': 'application/octet-stream' };
const REGISTERS = 6;
const VALUE_BYTES_MAX = 2000;
/** Between two requests of one client, on average. */
const PAUSE_MS = 40;
/** Who asks a node that is cut off, and how long they wait: what such a node writes alone is seen after the cut. */
const CUT_OFF_CLIENTS = 3;
const CUT_OFF_TIMEOUT = { 'x-ringkv-timeout': '500' };
const QUORUM_ONLY = '?consistency=QUORUM&sloppy=false';
const NOTHING_WRITTEN = 'nothing was written';
/**
 * Compare-and-set of one key by several at once: an end that nobody can tell, unless it bears an idempotency key, or that does
 * not come in time. Not a failure of a node.
 */
const CONTENDED = /another write came after it|the deadline passed|ballots lost/;
const REPEATS_MAX = 20;

export class Load {
  /** What may not be, in words. */
  violations = [];
  /** Every answer of 500 and more: when, from whom, to what, in words. */
  failures = [];
  acknowledged = 0;
  unknown = 0;
  reads = 0;
  contended = 0;
  sloppy = 0;
  keys = [];
  registers = Array.from({ length: REGISTERS }, (_, i) => new Register(`register-${i}`));
  /** A node that is cut off from the others: the first clients go on asking it alone, with little patience. */
  cutOff = null;
  #cluster;
  #random;
  #clients = [];
  #stopped = false;
  #count = 0;

  constructor(cluster, random, { clients, keysOfEach }) {
    this.#cluster = cluster;
    this.#random = random;
    for (let client = 0; client < clients; client++) {
      const keys = Array.from({ length: keysOfEach }, (_, i) => new OwnKey(`key-${client}-${i}`));
      this.keys.push(...keys);
      this.#clients.push(this.#run(client, keys));
    }
  }

  async stop() {
    this.#stopped = true;
    await Promise.all(this.#clients);
  }

  async #run(client, keys) {
    while (!this.#stopped) {
      const node = client < CUT_OFF_CLIENTS && this.cutOff !== null ? this.cutOff : this.#node();
      if (node === null) await sleep(PAUSE_MS);
      else await this.#step(node, keys);
      await sleep(this.#random.below(2 * PAUSE_MS));
    }
  }
  #node() {
    const { serving } = this.#cluster;
    return serving.length === 0 ? null : this.#random.pick(serving);
  }

  async #step(node, keys) {
    const dice = this.#random.below(100);
    const own = this.#random.pick(keys);
    if (dice < 45) await this.#put(node, own);
    else if (dice < 52) await this.#write(node, own, null, QUORUM_ONLY);
    else if (dice < 60) await this.#putOnCondition(node, own);
    else if (dice < 85) await this.#read(node, this.#random.pick(this.keys));
    else await this.#compareAndSet(node, this.#random.pick(this.registers));
  }

  /** null: no answer, so the outcome is unknown. */
  async #ask(node, kind, method, path, headers, body) {
    const startMs = performance.now();
    const isCutOff = node === this.cutOff;
    try {
      const answer = await node.ask(
        method,
        path,
        isCutOff ? { ...headers, ...CUT_OFF_TIMEOUT } : headers,
        body,
      );
      if (answer.status >= 500 && kind === 'serial' && CONTENDED.test(answer.body)) this.contended++;
      else if (answer.status >= 500)
        this.failures.push({
          startMs,
          endMs: performance.now(),
          node: node.name,
          // One that was told to leave says so, once it has left, to whoever has not heard of it.
          isCutOff: isCutOff || (node.leaves && answer.body.includes('was removed from the cluster')),
          kind,
          isTimeout: answer.status === 504,
          text: `${kind} at ${node.name}: ${answer.status} ${answer.body}`,
        });
      return answer;
    } catch (error) {
      // A node that dies takes its connections with it. Anything else is a mistake of this program.
      if (!/^(UND_ERR|E[A-Z]+$)/.test(error.code ?? '')) throw error;
      return null;
    }
  }

  #violation(text) {
    this.violations.push(text);
  }

  // -------------------------------------------------------------------------------------------- own keys

  async #put(node, key) {
    // A quarter lets stand-ins count: those are missed by reads until they are handed on, and never lost.
    const query = this.#random.below(4) === 0 ? '?consistency=QUORUM' : QUORUM_ONLY;
    await this.#write(node, key, this.#newText(key), query);
  }
  #newText(key) {
    const text = `${key.name} ${this.#count++} `;
    return text.padEnd(text.length + this.#random.below(VALUE_BYTES_MAX), 'x');
  }

  async #write(node, key, text, query) {
    const method = text === null ? 'DELETE' : 'PUT';
    const operation = key.begin(text);
    const body = text ?? undefined;
    const answer = await this.#ask(
      node,
      'write',
      method,
      `/v1/kv/${key.name}${query}`,
      text === null ? {} : RAW,
      body,
    );
    this.#endWrite(key, operation, answer);
  }

  /** On the version of the last write: nobody else writes this key, so the condition holds. */
  async #putOnCondition(node, key) {
    const { expected } = key;
    if (expected === 0) return await this.#put(node, key);
    const text = this.#newText(key);
    const operation = key.begin(text);
    const path = `/v1/kv/${key.name}?version=${expected}`;
    const answer = await this.#ask(node, 'conditional', 'PUT', path, RAW, text);
    if (answer?.status === 409) {
      key.end(operation, 'refused');
      this.#violation(`${key.name}: condition on version ${expected}, the last, refused: ${answer.body}`);
    } else this.#endWrite(key, operation, answer);
  }

  #endWrite(key, operation, answer) {
    if (answer === null) {
      this.unknown++;
      key.end(operation, 'unknown');
      return;
    }
    const { status, headers, body } = answer;
    if (status === 204) {
      const sloppy = headers['x-ringkv-sloppy'] === 'true';
      this.acknowledged++;
      if (sloppy) this.sloppy++;
      key.end(operation, 'acknowledged', versionOf(headers), sloppy);
    } else if (status >= 500 && body.includes(NOTHING_WRITTEN)) {
      key.end(operation, 'refused');
      if (operation.seen) this.#violation(`${key.name}: a read showed what was then refused: ${body}`);
    } else if (status >= 500) {
      this.unknown++;
      key.end(operation, 'unknown');
    } else {
      key.end(operation, 'unknown');
      this.#violation(`${key.name}: a write was answered with ${status} ${body}`);
    }
  }

  async #read(node, key) {
    const { floor, version: versionFloor } = key;
    const answer = await this.#ask(node, 'read', 'GET', `/v1/kv/${key.name}?consistency=QUORUM`, RAW_ANSWER);
    if (answer === null || answer.status >= 500) return;
    this.reads++;
    this.judgeRead(node, key, floor, versionFloor, answer);
  }
  /** `floor`, `versionFloor`: those of the key when the read began. */
  judgeRead(node, key, floor, versionFloor, { status, headers, body }) {
    if (status !== 200 && status !== 404) {
      this.#violation(`${key.name}: a read at ${node.name} was answered with ${status} ${body}`);
      return;
    }
    const fault = key.fault(status === 200 ? body : null, floor);
    if (fault !== '') {
      this.#violation(`read of ${key.name} at ${node.name}: ${fault}`);
      return;
    }
    if (status === 404) return;
    const version = versionOf(headers);
    // Reads at QUORUM never go back in time.
    if (version < versionFloor)
      this.#violation(`read of ${key.name} at ${node.name}: version ${version} after ${versionFloor}`);
    key.version = Math.max(key.version, version);
  }

  // ------------------------------------------------------------------------------------------- registers

  /** Half of them with an idempotency key: a repeat then tells what came of the first. */
  async #compareAndSet(node, register) {
    const path = `/v1/kv/${register.name}`;
    const read = await this.#ask(node, 'serial', 'GET', `${path}?consistency=SERIAL`, RAW_ANSWER);
    if (read === null || read.status >= 500) return;
    const follows = read.status === 200 ? read.body : '';
    const version = read.status === 200 ? versionOf(read.headers) : 0;
    const operation = register.begin(`${register.name}:${this.#count++}`, follows);
    const headers = this.#random.below(2) === 0 ? RAW : { ...RAW, 'idempotency-key': operation.value };
    for (let tries = 1, at = node; at !== null; tries++, at = this.#node()) {
      const answer = await this.#ask(
        at,
        'serial',
        'PUT',
        `${path}?version=${version}`,
        headers,
        operation.value,
      );
      operation.state = this.#outcomeOf(register, answer, tries);
      if (operation.state !== 'unknown' || headers === RAW || tries >= REPEATS_MAX) break;
      await sleep(PAUSE_MS);
    }
    if (operation.state === 'acknowledged') this.acknowledged++;
    if (operation.state === 'unknown') this.unknown++;
  }
  #outcomeOf(register, answer, tries) {
    if (answer === null) return 'unknown';
    const { status, body } = answer;
    if (status === 204) return 'acknowledged';
    if (status === 409) return 'refused';
    // A repeat of which nothing was written says nothing of the first.
    if (status >= 500) return body.includes(NOTHING_WRITTEN) && tries === 1 ? 'refused' : 'unknown';
    this.#violation(`${register.name}: a write was answered with ${status} ${body}`);
    return 'unknown';
  }
}

const RAW_ANSWER = { accept: 'application/octet-stream' };
const versionOf = (headers) => Number(/^"(\d+)"$/.exec(headers.etag ?? '')?.[1] ?? 0);
