// One embedded store, one workload, in a process of its own; prints one line of JSON. Called by ../peers.mjs.
//   node native-bench/peers/embedded.mjs STORE WORKLOAD DIRECTORY SECONDS
// Workloads: `put` durable puts of new keys, 256 in flight; `get-memory` reads of 10,000 keys just written;
// `get-tables` reads of 200,000 keys that went to files which the page cache holds.
import { join } from 'node:path';
import { drive, driveSync, keyOf, makeValues, randomKeys } from './workload.mjs';

const [store, workload, directory, secondsText] = process.argv.slice(2);
const seconds = Number(secondsText);
const IN_FLIGHT = 256;
const MEMORY_KEYS = 10_000;
const TABLE_KEYS = 200_000;
const values = makeValues();
const valueFor = (index) => values[index % values.length];

async function ringkv() {
  const { open } = await import('../../dist/src/index.js');
  const db = await open({ path: join(directory, 'ringkv'), durability: 'always' });
  return {
    put: (key, value) => db.put(key, value),
    get: (key) => db.get(key),
    // The memtable answers on the calling thread; what it does not hold would be `undefined`.
    getSync: (key) => db.getSync(key),
    toTables: () => db.compact(),
    close: () => db.close(),
  };
}

async function lmdb() {
  const { open } = await import('lmdb');
  const db = open({ path: join(directory, 'lmdb'), encoding: 'binary', mapSize: 8 * 2 ** 30 });
  return {
    // `put` resolves at the commit; `flushed` when that commit is on the disk.
    put: (key, value) => db.put(key, value).then(() => db.flushed),
    get: (key) => Promise.resolve(db.getBinary(key)),
    getSync: (key) => db.getBinary(key),
    toTables: () => db.flushed,
    close: () => db.close(),
  };
}

async function classicLevel() {
  const { ClassicLevel } = await import('classic-level');
  const db = new ClassicLevel(join(directory, 'level'), { keyEncoding: 'utf8', valueEncoding: 'buffer' });
  await db.open();
  return {
    put: (key, value) => db.put(key, value, { sync: true }),
    get: (key) => db.get(key),
    getSync: (key) => db.getSync(key),
    toTables: () => db.compactRange(keyOf(0), keyOf(1e10)),
    close: () => db.close(),
  };
}

const db = await { ringkv, lmdb, 'classic-level': classicLevel }[store]();
const fill = (keys) =>
  drive((index) => db.put(keyOf(index), valueFor(index)), { inFlight: 1024, count: keys });

function mustBe(found, key) {
  if (found === undefined || found === null || found.length !== values[0].length)
    throw new Error(`${store}: ${key} has not come back`);
}

let result;
if (workload === 'put') {
  let next = 0;
  result = await drive(() => db.put(keyOf((Math.imul(next++, 2_654_435_761) >>> 0) % 1e9), valueFor(next)), {
    inFlight: IN_FLIGHT,
    seconds,
  });
} else if (workload === 'get-memory') {
  await fill(MEMORY_KEYS);
  const key = randomKeys(7, MEMORY_KEYS);
  result = await driveSync(
    () => {
      const wanted = key();
      mustBe(db.getSync(wanted), wanted);
    },
    { seconds },
  );
} else {
  await fill(TABLE_KEYS);
  await db.toTables();
  const key = randomKeys(7, TABLE_KEYS);
  result = await drive(
    async () => {
      const wanted = key();
      mustBe(await db.get(wanted), wanted);
    },
    { inFlight: IN_FLIGHT, seconds },
  );
}
await db.close();
console.log(JSON.stringify({ store, workload, ...result }));
