// A task that ends as it is told, with a file that it goes on writing to for as long as its thread lives.
import { openSync, write, writeSync } from 'node:fs';

export async function run({ how, file }) {
  if (how === 'return') return 'done';
  if (how === 'reject') throw new Error('rejected');
  const descriptor = openSync(file, 'a');
  writeSync(descriptor, 'x');
  const more = () => write(descriptor, 'x'.repeat(1 << 20), more);
  for (let i = 0; i < 4; i++) more();
  setTimeout(() => {
    if (how === 'exit') process.exit(3);
    if (how === 'throw') throw new Error('thrown');
    if (how === 'heap') for (const all = []; ; ) all.push(new Array(1000).fill(all.length));
  }, 5);
  return new Promise(() => undefined);
}
