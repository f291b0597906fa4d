// A counter that loses no step though many write it: `node examples/counter.mjs [http://127.0.0.1:8080 ...]`.
import { connect, VersionMismatchError } from 'ringkv/client';

const nodes = process.argv.length > 2 ? process.argv.slice(2) : ['http://127.0.0.1:8080'];
const client = await connect({ nodes, transport: 'ws' });

/** Reads, adds and writes on the condition that nobody wrote meanwhile; else once more. */
async function increment(key) {
  for (;;) {
    const entry = await client.getEntry(key, { consistency: 'SERIAL' });
    const count = entry === null ? 0 : Number(new TextDecoder().decode(entry.value));
    try {
      // The idempotency key makes the write safe to repeat where a connection breaks.
      const idempotencyKey = crypto.randomUUID();
      await client.put(key, String(count + 1), { version: entry?.version ?? 0, idempotencyKey });
      return count + 1;
    } catch (error) {
      if (!(error instanceof VersionMismatchError)) throw error;
    }
  }
}

const key = `counter:${crypto.randomUUID()}`;
const line = async () => {
  for (let n = 0; n < 25; n++) await increment(key);
};
await Promise.all([line(), line(), line(), line()]);
console.log(`four writers, 25 steps each: ${new TextDecoder().decode(await client.get(key))}`);
await client.close();
