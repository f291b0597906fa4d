// A process with one shard on the real disk under writes, whose hash trees background threads build: compares them with trees
// from pages of heads, beside a compaction that takes minutes, kills the thread of a tree in the middle, and closes the shard
// under one. Reports as JSON.
import { started } from './node-threads.mjs';

const load = (path) => import(new URL(`../../dist/src/${path}`, import.meta.url).href);
const { systemClock } = await load('base/clock.js');
const { Random } = await load('base/random.js');
const { flagsAt, keyAt, keyspaceAt, originAt, recordBytesAt, tokenHiAt, versionAt } =
  await load('base/record.js');
const { hashToken, token, vnodeOf } = await load('base/token.js');
const { createDoorbell } = await load('ipc/doorbell.js');
const { LocalPeer } = await load('node/client-peer.js');
const { NodeThreads } = await load('node/node-threads.js');
const { configOfOpen } = await load('node/open-options.js');
const { Store } = await load('node/store.js');
const { RingReplica } = await load('shard/ring-replica.js');
const { RingShardClient } = await load('shard/shard-client.js');

const { path, seed } = JSON.parse(process.argv[2] ?? '{}');
const VNODES = 4;
const LEAVES = 4096;
const random = new Random(seed);
const log = [];
const config = configOfOpen({
  path,
  shards: 1,
  vnodes: VNODES,
  memtableBytes: '2MiB',
  compactionBytesPerSecond: 100_000,
});
const threads = new NodeThreads(config, { shards: false, vnodes: false }, (level, message) =>
  log.push(`${level} ${message}`),
);
const newClient = () => {
  const doorbell = createDoorbell();
  const client = new RingShardClient({ shards: 1, vnodes: VNODES, doorbell, clock: systemClock });
  return { client, peer: new LocalPeer(client, doorbell) };
};
const [front, coordinator] = [newClient(), newClient()];
const timers = {
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
const replica = new RingReplica(coordinator.client, {}, systemClock, timers);
await threads.start([front.peer, coordinator.peer], false);
const store = new Store({
  client: front.client,
  clock: systemClock,
  maxKeyBytes: 1024,
  maxValueBytes: 1 << 20,
  onClose: () => {
    for (const { peer } of [front, coordinator]) peer.close();
    return threads.close();
  },
});
const soonMs = () => systemClock.monotonicMs() + 60_000;
const treeOf = (session, vnodes) =>
  new Promise((done) => replica.tree({ session, vnodes, ignoreDeadBeforeMs: 0, deadlineMs: soonMs() }, done));
const leavesOf = (session, vnode) =>
  new Promise((done) => {
    const indexes = Array.from({ length: LEAVES }, (_, leaf) => leaf);
    replica.treeNodes({ session, vnode, level: 3, indexes }, ({ status, hashes }) => {
      const view = new DataView(hashes.buffer, hashes.byteOffset, hashes.length);
      done(status === 0 ? indexes.map((leaf) => view.getBigUint64(8 * leaf, true)) : null);
    });
  });

/** The leaves of a vnode from its heads: nothing in this store is dead. */
async function foldOf(vnode) {
  const width = 2 ** 32 / VNODES;
  const range = { firstHi: vnode * width, firstLo: 0, lastHi: (vnode + 1) * width - 1, lastLo: 0xffff_ffff };
  const bounds = {
    userOnly: false,
    prefix: new Uint8Array(0),
    headOnly: true,
    recordsMax: 1000,
    bytesMax: 1e6,
  };
  const leaves = new Array(LEAVES).fill(0n);
  for (let after = null; ; ) {
    const page = await new Promise((done) =>
      replica.page({ ...range, ...bounds, after, deadlineMs: soonMs() }, done),
    );
    if (page.status !== 0) throw new Error(`no page: ${page.message}`);
    const bytes = page.records;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length; at += recordBytesAt(view, at)) {
      const tail = Buffer.alloc(13);
      tail.writeDoubleLE(versionAt(view, at), 0);
      tail.writeUInt32LE(originAt(view, at), 8);
      tail[12] = flagsAt(view, at);
      hashToken(Buffer.concat([Buffer.from([keyspaceAt(view, at)]), keyAt(view, bytes, at), tail]));
      const leaf = Math.floor(tokenHiAt(view, at) / (width / LEAVES)) % LEAVES;
      leaves[leaf] = BigInt.asUintN(64, leaves[leaf] + (BigInt(token.hi) << 32n) + BigInt(token.lo));
    }
    if (page.next === null) return leaves;
    after = page.next;
  }
}

// 40 MB in tables, some of it in memtables, written several times over.
const value = (bytes) => Buffer.from(Array.from({ length: bytes }, () => random.below(256)));
const values = Array.from({ length: 16 }, () => value(random.between(500, 3000)));
const vnodeOfKey = (key) => {
  hashToken(Buffer.from(key));
  return vnodeOf(token.hi, VNODES);
};
const put = (number) => store.put(`key-${number}`, random.pick(values));
const insist = async (number) => {
  while ((await put(number).catch((error) => error.code)) === 'OVERLOADED')
    await new Promise((done) => setTimeout(done, 5));
};
await Promise.all(
  Array.from({ length: 32 }, async (_, lane) => {
    for (let i = 0; i < 600; i++) await insist((lane * 600 + i) % 15_000);
  }),
);

// Equal to a fold, while vnode 3 alone is written, flushed and merged.
const wrong = [];
let isWriting = true;
let written = 0;
const writer = (async () => {
  for (let number = 0; isWriting; number++) {
    if (vnodeOfKey(`key-${number % 15_000}`) !== 3) continue;
    await insist(number % 15_000);
    written++;
  }
})();
for (let session = 1; session <= 3; session++) {
  const { status, message } = await treeOf(session, [0, 1, 2, 3]);
  if (status !== 0) wrong.push(`session ${session}: ${status} ${message}`);
  for (const vnode of [0, 1, 2]) {
    const [leaves, fold] = [await leavesOf(session, vnode), await foldOf(vnode)];
    if (leaves === null || leaves.some((hash, leaf) => hash !== fold[leaf]))
      wrong.push(`session ${session}: vnode ${vnode} differs from its records`);
  }
}
isWriting = false;
await writer;

// The thread that was started last builds trees. It dies under one, at the latest some time in; the next tree has another.
let killed = null;
let afterKill = null;
for (let attempt = 1; killed?.status !== 8 && attempt <= 40; attempt++) {
  const victim = started.at(-1);
  const dying = treeOf(10, [0, 1, 2]);
  await new Promise((done) => setTimeout(done, attempt));
  await Promise.all([victim.terminate(), new Promise((done) => victim.once('exit', done))]);
  killed = await dying;
  afterKill = await treeOf(11, [0]);
}

// All of it while one compaction went on, which takes minutes at its rate: nothing has come of it.
const [{ compactions, tables }] = await store.stats();
void treeOf(13, [0, 1, 2, 3]);
await store.close();
coordinator.client.close();
console.log(
  JSON.stringify({
    wrong,
    written,
    killed,
    afterKill: afterKill?.status,
    compactions,
    tables,
    log: log.slice(-20),
  }),
);
