// Sessions that expire, over one WebSocket: `node examples/session-store.mjs [http://127.0.0.1:8080 ...]`.
import { connect } from 'ringkv/client';

const nodes = process.argv.length > 2 ? process.argv.slice(2) : ['http://127.0.0.1:8080'];
const client = await connect({ nodes, transport: 'ws', hedge: {} });

// A thousand logins at once go in a few messages.
const users = Array.from({ length: 1000 }, (_, n) => ({ name: `user ${n}`, loggedInMs: Date.now() }));
await Promise.all(users.map((user, n) => client.putJson(`session:${n}`, user, { ttl: 1800 })));

const session = await client.getJson('session:7');
const entry = await client.getEntry('session:7');
console.log(`session:7 is ${session.name}, for ${entry.ttl} s more`);

await client.delete('session:7');
console.log(`after logout: ${await client.get('session:7')}`);
await client.close();
