/** TLS of the client: the authority that it is given, by both transports. */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { Authority } from '../peer/certificates.ts';

it('trusts the authority that it is given and no other, with its own certificate, over HTTP and for a WebSocket', async () => {
  const [authority, stranger] = [await Authority.make(), await Authority.make('CN=Stranger')];
  // Of the names of a certificate those without a scheme count for hosts; this one is found by its subject, CN=node.
  const own = await authority.issue({ uris: [] });
  const mine = await authority.issue({ uris: [] });
  const upgrades: string[] = [];
  const server = createServer(
    { cert: own.cert, key: own.key, ca: own.ca, requestCert: true, rejectUnauthorized: true },
    (_, response) => {
      response.writeHead(200, { etag: '"7"' }).end('value');
    },
  );
  server.on('upgrade', (request, socket) => {
    upgrades.push(`${request.url} ${request.headers['sec-websocket-protocol']}`);
    socket.destroy();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const nodes = [`https://127.0.0.1:${port}`];
  const tls = { ca: own.ca, cert: mine.cert, key: mine.key, servername: 'node' };
  const clients = [
    await connect({ nodes, tls, retries: 0 }),
    await connect({ nodes, tls: { ...tls, ca: stranger.pem }, retries: 0 }),
    await connect({ nodes, tls, transport: 'ws', retries: 0 }),
    await connect({ nodes, tls: { ...tls, ca: stranger.pem }, transport: 'ws', retries: 0 }),
  ] as const;
  try {
    expect(await clients[0].getEntry('key')).toMatchObject({ version: 7 });
    await expect(clients[1].get('key')).rejects.toMatchObject({ code: 'CONNECTION' });
    await expect(clients[3].get('key')).rejects.toMatchObject({ code: 'CONNECTION', sent: false });
    expect(upgrades).toEqual([]);
    await expect(clients[2].get('key')).rejects.toMatchObject({ code: 'CONNECTION', sent: false });
    expect(upgrades).toEqual(['/v1/ws ringkv.v1']);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
});
