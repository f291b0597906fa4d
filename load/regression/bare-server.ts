/**
 * The measure for RingKV's front end: as little as a server on uWebSockets.js can do that keeps what was PUT and gives it to a GET,
 * whole bodies by their URL, in memory. Entry of a process: `node bare-server.js`; says "ready URL" when it listens.
 */
import uws from 'uWebSockets.js';

const VERSION = '{"version":1700000000000000}';
const bodies = new Map<string, Buffer>();

const app = uws.App();
app.get('/*', (response, request) => {
  const body = bodies.get(request.getUrl());
  if (body === undefined) response.writeStatus('404 Not Found').end();
  else response.end(body);
});
app.put('/*', (response, request) => {
  const url = request.getUrl();
  const isJson = request.getHeader('content-type') === 'application/json';
  let parts: Buffer | null = null;
  response.onAborted(() => undefined);
  response.onData((chunk, isLast) => {
    // The chunk is the server's own again when this returns.
    parts = parts === null ? Buffer.from(chunk.slice(0)) : Buffer.concat([parts, Buffer.from(chunk)]);
    if (!isLast) return;
    bodies.set(url, parts);
    if (isJson) response.end(VERSION);
    else response.writeStatus('204 No Content').endWithoutBody();
  });
});
app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('the bare server cannot listen');
  process.stdout.write(`ready http://127.0.0.1:${uws.us_socket_local_port(socket)}\n`);
});
// It ends with the program that started it.
process.stdin.on('end', () => process.exit(0)).resume();
