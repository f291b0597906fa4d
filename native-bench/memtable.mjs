// The shared-memory memtable: appends, and lock-free lookups that hit and miss, with records of 2 KB and 100 bytes.
// Needs `npm run build`.
//   node native-bench/memtable.mjs
import b from 'benny';
import { MiB } from '../dist/src/base/limits.js';
import { recordBytes } from '../dist/src/base/record.js';
import { hashToken, token } from '../dist/src/base/token.js';
import { createMemtableSet } from '../dist/src/ipc/memtable-layout.js';
import { SharedMemtableReader } from '../dist/src/ipc/memtable-reader.js';
import { SharedMemtableWriter } from '../dist/src/ipc/memtable-writer.js';

const ARENA_BYTES = 64 * MiB;
const options = { slots: 2, arenaBytes: ARENA_BYTES, vnodes: 1024, shard: 0, shards: 1 };

for (const valueBytes of [2048, 100]) {
  const memory = createMemtableSet(options);
  const writer = new SharedMemtableWriter(memory);
  const reader = new SharedMemtableReader(memory);
  const record = {
    ...{ tokenHi: 0, tokenLo: 0, keyspace: 0, key: Buffer.alloc(0), value: Buffer.alloc(valueBytes, 'v') },
    ...{ version: 1, origin: 1, flags: 0, expiresMs: 0 },
  };
  const keys = Array.from({ length: 16_384 }, (_, index) => Buffer.from(`user:${index}`.padEnd(16)));
  const absent = keys.map((key) => Buffer.from(`${key}!`));
  const size = recordBytes(17, valueBytes);
  const append = (key) => {
    hashToken(key);
    record.key = key;
    record.tokenHi = token.hi;
    record.tokenLo = token.lo;
    record.version++;
    writer.setDurable(writer.active, writer.append(record));
  };
  const renew = () => {
    if (writer.active >= 0) {
      const slot = writer.active;
      writer.freeze();
      writer.release(slot);
    }
    writer.activate(64);
  };
  const lookup = (key) => {
    hashToken(key);
    return reader.lookup(0, token.hi, token.lo, key, 1);
  };
  let at = 0;
  const next = (list) => list[at++ & (list.length - 1)];
  renew();
  await b.suite(
    `memtable, values of ${valueBytes} bytes`,
    b.add('append and publish', () => {
      if (!writer.fits(size, 64)) renew();
      append(next(keys));
    }),
    b.add('lookup, hit', () => {
      renew();
      for (const key of keys) append(key);
      return () => lookup(next(keys));
    }),
    b.add('lookup, miss', () => () => lookup(next(absent))),
    b.cycle(),
    b.complete(),
  );
}
