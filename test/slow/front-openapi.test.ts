import { expect, it } from 'vitest';
import { serve } from '../front/harness.ts';
import { schemas } from '../front/openapi-document.ts';

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
