// The least that uWebSockets.js can do: constants of 2 KB for every GET, as bytes or in base64 in JSON as the request's Accept says; of a PUT
// the body is read to its end and forgotten. The measure for RingKV's front end.
//   node native-bench/peers/bare-server.mjs PORT
import uws from 'uWebSockets.js';
import { makeValues } from './workload.mjs';

const JSON_TYPE = 'application/json';
const [value] = makeValues();
const document = Buffer.from(
  JSON.stringify({
    key: 'user:00000000000',
    value: value.toString('base64'),
    version: 1_700_000_000_000_000,
  }),
);
const app = uws.App();
app.get('/*', (response, request) => {
  if (request.getHeader('accept') === JSON_TYPE)
    response.writeHeader('Content-Type', JSON_TYPE).end(document);
  else response.writeHeader('Content-Type', 'application/octet-stream').end(value);
});
app.put('/*', (response, request) => {
  const isJson = request.getHeader('content-type') === JSON_TYPE;
  response.onAborted(() => undefined);
  response.onData((_, isLast) => {
    if (!isLast) return;
    if (isJson) response.writeHeader('Content-Type', JSON_TYPE).end('{"version":1700000000000000}');
    else response.writeStatus('204 No Content').endWithoutBody();
  });
});
app.listen('127.0.0.1', Number(process.argv[2]), (token) => {
  if (!token) throw new Error(`cannot listen on ${process.argv[2]}`);
});
process.on('SIGTERM', () => process.exit(0));
