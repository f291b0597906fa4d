// CBOR batches of 64 operations: arrays of rows against columns, and what decoding copies.
//   node native-bench/cbor.mjs
import b from 'benny';
import { Decoder, Encoder } from 'cbor-x';

const OPS = 64;
const settings = { useRecords: false, tagUint8Array: false, mapsAsObjects: true };
const encoder = new Encoder(settings);
const decoder = new Decoder(settings);
const keys = Array.from({ length: OPS }, (_, index) => Buffer.from(`user:${index}`));

for (const valueBytes of [16, 2048]) {
  const value = Buffer.alloc(valueBytes, 7);
  const rows = keys.map((key, id) => ({ id, op: 1, key, value }));
  const columns = {
    ids: keys.map((_, id) => id),
    ops: Buffer.alloc(OPS, 1),
    keys,
    values: keys.map(() => value),
  };
  const encodedRows = Buffer.from(encoder.encode(rows));
  const encodedColumns = Buffer.from(encoder.encode(columns));
  await b.suite(
    `CBOR, ${OPS} operations with values of ${valueBytes} bytes`,
    b.add('encode rows', () => encoder.encode(rows)),
    b.add('encode columns', () => encoder.encode(columns)),
    b.add('decode rows', () => decoder.decode(encodedRows)),
    b.add('decode columns', () => decoder.decode(encodedColumns)),
    b.cycle(),
    b.complete(),
  );
}
