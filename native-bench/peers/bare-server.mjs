// The least that uWebSockets.js can do: a constant of 2 KB for every GET. The measure for RingKV's front end.
//   node native-bench/peers/bare-server.mjs PORT
import uws from 'uWebSockets.js';

const value = Buffer.alloc(2048, 0x61);
const app = uws.App();
app.get('/*', (response) => {
  response.writeHeader('Content-Type', 'application/octet-stream').end(value);
});
app.listen('127.0.0.1', Number(process.argv[2]), (token) => {
  if (!token) throw new Error(`cannot listen on ${process.argv[2]}`);
});
process.on('SIGTERM', () => process.exit(0));
