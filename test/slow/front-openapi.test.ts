import { expect, it } from 'vitest';
import { serve } from '../front/harness.ts';
import { openApiDocument, schemas } from '../front/openapi-document.ts';
import { HANDSHAKE, WsClient } from '../front/ws-client.ts';

it('real answers, and the bodies that get them, match the schemas of the OpenAPI document', async () => {
  const at = await serve();
  const value = Buffer.from('value').toString('base64');
  const body = { value, ttl: 5, consistency: 'ALL', version: 0, sloppy: true };
  schemas.PutBody.parse(body);
  expect((await at.putJson('/v1/kv/a', body)).status).toBe(204);
  await at.call('PUT', '/v1/kv/%ff', {}, 'x');
  const get = async (path: string): Promise<unknown> => (await at.call('GET', path)).json;
  schemas.Record.parse(await get('/v1/kv/a'));
  schemas.Record.parse(await get('/v1/kv/%ff'));
  schemas.Error.parse(await get('/v1/kv/none'));
  schemas.Error.parse((await at.putJson('/v1/kv/a', { value, version: 0 })).json);
  schemas.Error.parse((await at.putJson('/v1/kv/a', { value }, { 'if-none-match': '*' })).json);
  schemas.ScanPage.parse(await get('/v1/scan'));
  schemas.ScanPage.parse(await get('/v1/scan?values=true&limit=1'));
  schemas.Health.parse(await get('/healthz'));
  const batch = {
    ops: [
      { op: 'put', key: 'b', value, version: 0 },
      { op: 'get', key: { base64: '/w==' } },
      { op: 'get', key: 'a' },
      { op: 'delete', key: 'a', version: 1 },
    ],
  };
  schemas.BatchBody.parse(batch);
  const results = await at.call(
    'POST',
    '/v1/batch',
    { 'content-type': 'application/json' },
    JSON.stringify(batch),
  );
  expect(schemas.BatchResults.parse(results.json).results.map(({ status }) => status)).toEqual([
    204, 200, 200, 409,
  ]);
  await at.close();
});

it('an upgrade to WebSocket, granted or refused, is answered as the OpenAPI document says', async () => {
  const at = await serve({ wsConnectionsMax: 1 });
  const { paths } = openApiDocument('test') as {
    readonly paths: Readonly<Record<string, { readonly get: { readonly responses: object } }>>;
  };
  const documented = paths['/v1/ws']?.get.responses as Readonly<
    Record<string, { readonly headers?: object; readonly content?: object }>
  >;
  const seen = new Set<string>();
  const upgrade = async (change: (line: string) => string): Promise<void> => {
    const text = `${HANDSHAKE.map(change)
      .filter((line) => line !== '')
      .join('\r\n')}\r\n\r\n`;
    const isWhole = (all: string): boolean =>
      all.startsWith('HTTP/1.1 101') ? all.includes('\r\n\r\n') : all.includes('}}');
    const [head = '', body = ''] = (await at.talk([text], isWhole)).seen.split('\r\n\r\n');
    const status = /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? head;
    seen.add(status);
    expect(Object.keys(documented)).toContain(status);
    for (const name of Object.keys(documented[status]?.headers ?? {}))
      expect(head.toLowerCase()).toContain(`\r\n${name.toLowerCase()}: `);
    if (documented[status]?.content !== undefined) schemas.Error.parse(JSON.parse(body));
  };
  try {
    await upgrade((line) => line);
    for (const wrong of [/^(Sec-WebSocket-Protocol): .*/, /^(Sec-WebSocket-Version): .*/])
      await upgrade((line) => line.replace(wrong, '$1: 7'));
    await upgrade((line) => (line.startsWith('Host') ? `${line}\r\nOrigin: http://evil.example` : line));
    // One connection is open and holds the only place.
    const holder = await WsClient.connect(at.front.port);
    await upgrade((line) => line);
    await holder.close();
    expect([...seen].sort()).toEqual(Object.keys(documented).sort());
  } finally {
    await at.close();
  }
});
