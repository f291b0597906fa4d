import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Served, serve } from '../front/harness.ts';
import { DELETE, GET, PUT, WsClient } from '../front/ws-client.ts';

let served: Served;
let client: WsClient;
beforeAll(async () => {
  served = await serve();
  client = await WsClient.connect(served.front.port);
});
afterAll(async () => {
  await client.close();
  await served.close();
});

describe('put, get and delete', () => {
  it('of one key each, with versions', async () => {
    const put = await client.put('a', 'one');
    expect(put).toMatchObject({ status: 0, sloppy: false, message: null, value: null });
    expect(await client.get('a')).toMatchObject({
      status: 0,
      version: put.version,
      value: Buffer.from('one'),
    });
    expect(await client.delete('a')).toMatchObject({ status: 0 });
    expect(await client.get('a')).toMatchObject({ status: 1, version: null, value: null, message: null });
  });

  it('in one message, answered in as few as possible', async () => {
    await client.put('m1', 'x');
    const before = client.messages.length;
    const answers = await client.request({
      ops: [PUT, GET, DELETE, GET],
      keys: ['m2', 'm1', 'm3', 'none'].map((key) => Buffer.from(key)),
      values: [Buffer.from('y'), null, null, null],
    });
    expect(answers.map(({ status }) => status)).toEqual([0, 0, 0, 1]);
    expect(answers[1]?.value?.toString()).toBe('x');
    expect(client.messages.length).toBe(before + 1);
  });
});
