// One shard's engine on the real disk, without threads in front of it: durable puts of 2 KB (mode `always`)
// with 256 in flight and group commit, flushes and compactions on two background threads; then gets of random keys
// from the memtables and from tables in the page cache. Medians of the rounds. Needs `npm run build`.
//   node native-bench/engine.mjs [directory, default: a new one below the working directory]
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Piscina from 'piscina';
import { systemClock } from '../dist/src/base/clock.js';
import { MiB } from '../dist/src/base/limits.js';
import { hashToken, token } from '../dist/src/base/token.js';
import { openEngine } from '../dist/src/engine/engine.js';
import { createMemtableSet } from '../dist/src/ipc/memtable-layout.js';
import { createStopFlag } from '../dist/src/ipc/stop-flag.js';
import { errorOfPlain } from '../dist/src/node/job-port.js';
import { realFileSystem } from '../dist/src/vfs/real.js';

const IN_FLIGHT = 256;
const VALUE = Buffer.alloc(2048, 'v');
const KEYS = 100_000;
const PUTS_PER_ROUND = 100_000;
const GETS_PER_ROUND = 200_000;
const ROUNDS = 5;

const parent = process.argv[2] ?? process.cwd();
const directory = mkdtempSync(join(parent, 'wal-bench-engine-'));
const ownership = { vnodes: 1024, shards: 1, shard: 0 };
const pool = new Piscina({
  filename: new URL('../dist/workers/background.js', import.meta.url).href,
  minThreads: 2,
  maxThreads: 2,
  atomics: 'disabled',
});
const jobs = {
  async run(job) {
    const { result, error } = await pool.run(job, { name: 'runBackgroundJob' });
    if (error !== null) throw errorOfPlain(error);
    return result;
  },
};
const keys = Array.from({ length: KEYS }, (_, i) => Buffer.from(`benchmark-key-${i}`));

/** Puts and gets as a shard thread makes them: many in one turn, one commit after them. */
class Load {
  engine;
  #record = {
    tokenHi: 0,
    tokenLo: 0,
    keyspace: 0,
    key: keys[0],
    value: VALUE,
    version: 0,
    origin: 1,
    flags: 0,
    expiresMs: 0,
  };
  #version = 0;
  #next = 0;
  #left = 0;
  #sent = 0;
  #durable = 0;
  #refused = 0;
  #done = () => undefined;
  #answered = 0;

  onDurable(seq) {
    this.#durable = seq;
    this.#fill();
  }
  onWriteFailure(_status, error) {
    throw error;
  }
  onLookup(_ticket, outcome, error) {
    if (error !== null || outcome !== 1) throw error ?? new Error('a key is missing');
    this.#answered++;
  }
  onEvent(level, message) {
    if (level === 'error') console.error(message);
  }

  #fill() {
    while (this.#left > 0 && this.#sent - this.#durable < IN_FLIGHT) {
      this.#next = (this.#next + 7919) % KEYS;
      const key = keys[this.#next];
      hashToken(key);
      this.#record.tokenHi = token.hi;
      this.#record.tokenLo = token.lo;
      this.#record.key = key;
      this.#record.version = ++this.#version;
      const seq = this.engine.append(this.#record, null);
      if (seq < 0) {
        // Every memtable waits for its flush.
        this.#refused++;
        setTimeout(() => this.#fill(), 1);
        break;
      }
      this.#sent = seq;
      this.#left--;
    }
    this.engine.commit();
    if (this.#left === 0 && this.#durable === this.#sent) this.#done();
  }
  async put(count) {
    this.#left = count;
    const start = performance.now();
    await new Promise((done) => {
      this.#done = done;
      this.#fill();
    });
    return count / ((performance.now() - start) / 1000);
  }
  /** Random keys among the last `among` that were put; those that wait for a file are waited for in batches. */
  async get(count, among) {
    const start = performance.now();
    this.#answered = 0;
    for (let sent = 0; sent < count; ) {
      for (let i = 0; i < IN_FLIGHT; i++, sent++) {
        const back = Math.floor(Math.random() * among);
        const key = keys[(((this.#next - back * 7919) % KEYS) + KEYS) % KEYS];
        hashToken(key);
        const outcome = this.engine.lookup(0, token.hi, token.lo, key, false, sent);
        if (outcome === 1) this.#answered++;
        else if (outcome === 0) throw new Error('a key is missing');
      }
      await new Promise((done) => setImmediate(done));
      while (this.#answered < sent) await new Promise((done) => setImmediate(done));
    }
    return count / ((performance.now() - start) / 1000);
  }
  get refused() {
    return this.#refused;
  }
}

const median = (numbers) => Math.round([...numbers].sort((a, b) => a - b)[numbers.length >> 1]);
const load = new Load();
try {
  load.engine = await openEngine(
    {
      directory,
      ownership,
      fileSystem: { kind: 'real' },
      memory: createMemtableSet({ slots: 3, arenaBytes: 64 * MiB, ...ownership }),
      stop: createStopFlag(),
      durability: 'always',
      syncIntervalMs: 0,
      table: { blockBytes: 16 * 1024, compression: 'none', bloomBitsPerKey: 10 },
      blockCacheBytes: 64 * MiB,
      compactionDial: 0,
      compactionBytesPerSecond: 0,
      compactionsMax: 1,
      tablesMax: 64,
      tableTargetBytes: 256 * MiB,
      gcGraceMs: 864_000_000,
      purgeBefore: Number.POSITIVE_INFINITY,
      origin: 1,
    },
    realFileSystem,
    jobs,
    systemClock,
    load,
  );
  await load.put(20_000);
  const puts = [];
  for (let i = 0; i < ROUNDS; i++) puts.push(await load.put(PUTS_PER_ROUND));
  const memory = [];
  for (let i = 0; i < ROUNDS; i++) memory.push(await load.get(GETS_PER_ROUND, 10_000));
  await load.engine.compactAll();
  const tables = [];
  for (let i = 0; i < ROUNDS; i++) tables.push(await load.get(GETS_PER_ROUND / 4, KEYS));
  console.log(
    `put, durable, ${IN_FLIGHT} in flight: ${median(puts)}/s of ${puts.map(Math.round).join(' ')}; refused ${load.refused} times`,
  );
  console.log(`get from a memtable:            ${median(memory)}/s of ${memory.map(Math.round).join(' ')}`);
  console.log(`get from tables:                ${median(tables)}/s of ${tables.map(Math.round).join(' ')}`);
  console.log(JSON.stringify(load.engine.stats()));
  await load.engine.close();
} finally {
  await pool.destroy();
  rmSync(directory, { recursive: true, force: true });
}
