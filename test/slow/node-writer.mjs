// A process that writes to a store without end and says which writes were acknowledged: each line of its output is
// the number of a write to the key of that number modulo `keys`. Numbers of one key rise. Killed from outside.
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from '../../dist/src/index.js';

const { path, keys, first, options } = JSON.parse(process.argv[2] ?? '{}');
const store = await open({ path, ...options });
const lanes = 64;
let acknowledged = '';
const report = () => {
  if (acknowledged !== '') writeSync(1, acknowledged);
  acknowledged = '';
  setImmediate(report);
};
report();
// Small memtables fill faster than a busy machine flushes them: OVERLOADED says that nothing was written.
async function put(key, value) {
  for (;;)
    try {
      return await store.put(key, value);
    } catch (error) {
      if (error.code !== 'OVERLOADED') throw error;
      await sleep(5);
    }
}
// Lane l writes keys l, l + lanes, ... in turn, so that the writes to a key follow each other.
async function write(lane) {
  for (let number = first - (first % keys) + keys + lane; ; number += lanes) {
    await put(`key-${number % keys}`, `${number} ${'v'.repeat(number % 3000)}`);
    acknowledged += `${number}\n`;
  }
}
await Promise.all(Array.from({ length: lanes }, (_, lane) => write(lane)));
