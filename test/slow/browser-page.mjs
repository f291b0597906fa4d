// Runs in Chromium, as the script of a page: what the test asks for by name, with the client of the bundle.
import * as ringkv from '/ringkv-client.js';

const text = (bytes) => (bytes === null ? null : new TextDecoder().decode(bytes));
const classes = { ...ringkv };
const range = (count) => Array.from({ length: count }, (_, n) => n);
/** What a call ends with, as the user's code sees it. */
const outcome = async (call) => {
  try {
    const value = await call;
    return value === undefined ? 'done' : value;
  } catch (error) {
    const { name, code, version, sent } = error;
    const isTyped = error instanceof ringkv.RingKvError && error instanceof classes[name];
    return { name, code, version, sent, isTyped };
  }
};
/** Messages that pages send over their sockets. */
let messages = 0;
const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (...data) {
  messages++;
  return send.apply(this, data);
};
performance.setResourceTimingBufferSize(100_000);
const requests = () => performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname);

/** Whether this page may make code out of text and bytes. When it is loaded: what a debugger calls may. */
const tried = (what) => {
  try {
    what();
    return 'allowed';
  } catch (error) {
    return error.name;
  }
};
const forbidden = [
  tried(() => new Function('return 1')()),
  await WebAssembly.compile(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)).then(
    () => 'allowed',
    (error) => error.name,
  ),
];

const clients = new Map();
const scenarios = {
  async connect({ name, ...options }) {
    clients.set(name, await ringkv.connect(options));
  },
  async close({ name }) {
    const call = outcome(clients.get(name).get('key'));
    await clients.get(name).close();
    return [await call, await outcome(clients.get(name).get('key'))];
  },
  put: ({ name, key, value }) => outcome(clients.get(name).put(key, value)),
  get: async ({ name, key }) => text(await clients.get(name).get(key)),
  outcomeOfGet: ({ name, key }) => outcome(clients.get(name).get(key)),

  /** Values and keys of all kinds, conditions, times to live. */
  async values({ name }) {
    const client = clients.get(name);
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    const keys = [all, '.', '..', 'a/b?c#d%20', 'schlüssel ☃', Uint8Array.of(0), Uint8Array.of(0xff, 0xfe)];
    const kept = [];
    for (const [at, key] of keys.entries()) {
      await client.put(key, Uint8Array.of(at, 0, 255, 10, 13));
      kept.push([...(await client.get(key))].join());
    }
    await client.put('empty', '');
    await client.putJson('json', { name: 'Ada', tags: [1, null, 'ü'] });
    const version = await client.put('timed', 'value', { ttl: 3600, version: 0 });
    const timed = await client.getEntry('timed', { consistency: 'ALL' });
    const again = await client.put('timed', 'b', { version, idempotencyKey: `once ${name}` });
    const repeated = await client.put('timed', 'b', { version, idempotencyKey: `once ${name}` });
    const deleted = await outcome(client.delete('timed', { version: again }));
    const large = crypto.getRandomValues(new Uint8Array(65_536));
    await client.put('large', large);
    return {
      kept,
      empty: (await client.get('empty')).length,
      json: await client.getJson('json'),
      absent: [await client.get('absent'), await client.getEntry('absent')],
      isVersion: Number.isSafeInteger(version) && timed.version === version,
      timed: [text(timed.value), timed.ttl > 3000 && timed.ttl <= 3600],
      isRepeat: again === repeated,
      deleted: [deleted, await client.get('timed')],
      isSame: String(await client.get('large')) === String(large),
      isBytes: (await client.get('large')) instanceof Uint8Array,
    };
  },

  /** Many at once, in how many messages; and a scan of what is left. */
  async many({ name }) {
    const client = clients.get(name);
    await client.get('first');
    const [messagesBefore, requestsBefore] = [messages, requests().length];
    const entries = range(100).map((n) => ({ key: `many ${n}`, value: `value ${n}` }));
    const versions = await client.putMany(entries);
    const values = await client.getMany(entries.map(({ key }) => key));
    const sent = { messages: messages - messagesBefore, requests: requests().slice(requestsBefore) };
    const partial = await client
      .putMany([
        { key: 'many 0', value: 'x', version: 0 },
        { key: 'many 1', value: 'new' },
        { key: 'k'.repeat(2000), value: 'x' },
      ])
      .catch((error) => error);
    await client.deleteMany(entries.slice(10).map(({ key }) => key));
    const scanned = [];
    for await (const { key, value } of client.scan({ prefix: 'many ', values: true }))
      scanned.push(`${text(key)}: ${text(value)}`);
    const keysAlone = [];
    for await (const { value } of client.scan({ prefix: 'many ', limit: 3 })) keysAlone.push(value);
    return {
      versions: versions.filter(Number.isSafeInteger).length,
      isSame: values.every((value, n) => text(value) === `value ${n}`),
      sent: { messages: sent.messages, requests: [...new Set(sent.requests)], count: sent.requests.length },
      partial: [partial.name, ...partial.results.map((one) => one.code ?? typeof one)],
      scanned: scanned.sort(),
      keysAlone,
    };
  },

  /** Errors that servers and client tell apart. */
  async errors({ name }) {
    const client = clients.get(name);
    const version = await client.put('key', 'value');
    return {
      mismatch: await outcome(client.put('key', 'x', { version: 1 })),
      version,
      empty: await outcome(client.put('', 'x')),
      long: await outcome(client.put('k'.repeat(2000), 'x')),
      large: await outcome(client.put('key', new Uint8Array((1 << 20) + 1))),
      ttl: await outcome(client.put('key', 'x', { ttl: -1 })),
      level: await outcome(client.get('key', { consistency: 'SOME' })),
      noBytes: await outcome(client.put('key', undefined)),
      tls: await outcome(ringkv.connect({ nodes: [location.origin], tls: {} })),
      url: await outcome(ringkv.connect({ nodes: ['here'] })),
    };
  },

  /** Calls that are aborted before, at once, and on the way; `held`: a path that nobody answers. */
  async aborts({ name, transport, held }) {
    const reasonOf = (call) =>
      call.then(
        () => 'done',
        (reason) => (reason instanceof DOMException ? reason.name : reason),
      );
    const client = clients.get(name);
    const before = await reasonOf(client.get('key', { signal: AbortSignal.abort('before') }));
    const abort = new AbortController();
    const atOnce = reasonOf(client.put('aborted', 'x', { signal: abort.signal }));
    abort.abort('at once');
    const slow = await ringkv.connect({ nodes: [`${location.origin}${held}`], transport });
    const onTheWay = await reasonOf(slow.get('key', { signal: AbortSignal.timeout(50) }));
    const late = await outcome(slow.get('key', { timeoutMs: 50 }));
    await slow.close();
    return { before, atOnce: await atOnce, onTheWay, late, left: await client.get('aborted') };
  },

  forbidden: () => forbidden,

  /** What a page may send anywhere without asking: posts of the types of forms, and of no type. */
  async forged({ url, key }) {
    const body = JSON.stringify({ ops: [{ op: 'put', key, value: 'eA==' }] });
    const types = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', ''];
    const posts = types.map((type) => new Blob([body], { type }));
    const sent = await Promise.all(
      posts.map((blob) => fetch(`${url}/v1/batch`, { method: 'POST', mode: 'no-cors', body: blob })),
    );
    return sent.map(({ type }) => type);
  },

  /** Calls go by the ring: which of the page's paths are asked. */
  async routed({ nodes, transport, path, inARow: wanted }) {
    const client = await ringkv.connect({ nodes, transport, timeoutMs: 30_000 });
    const seen = async () => {
      const before = requests().length;
      await client.getMany(range(50).map((n) => `routed ${n}`));
      return [...new Set(requests().slice(before))];
    };
    // Before the ring is known calls take turns among the paths: so many in a row at one of them are by the ring.
    let inARow = 0;
    let now = [];
    for (let tries = 0; tries < 200 && inARow < wanted; tries++) {
      now = await seen();
      inARow = String(now) === path ? inARow + 1 : 0;
      if (inARow === 0) await new Promise((done) => setTimeout(done, 10));
    }
    await client.close();
    return { now, inARow };
  },
};
globalThis.run = async (name, options) => await scenarios[name](options);
