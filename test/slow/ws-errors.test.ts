import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Op } from '../../src/shard/contract.ts';
import { type Served, serve } from '../front/harness.ts';
import { type Columns, DELETE, eventually, GET, PUT, WsClient } from '../front/ws-client.ts';

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
const bytes = (text: string): Buffer => Buffer.from(text);

describe('the error table', () => {
  const wrong: [string, Columns, number, string][] = [
    ['an unknown op', { ops: 5, keys: ['k'] }, 3, 'op 5 is none of 1 (put), 2 (get), 3 (delete), 4 (ping)'],
    ['a ping with a key', { ops: 4, keys: ['k'] }, 3, 'a ping with a key or a value'],
    ['a ping with a value', { ops: 4, keys: [''], values: [bytes('')] }, 3, 'a ping with a key or a value'],
    ['an op with a fraction', { ops: 1.5, keys: ['k'] }, 3, 'op 1.5 is none of'],
    ['an empty key', { ops: GET, keys: [''] }, 3, 'an empty key; a key has 1 to 1024 bytes'],
    ['a long key', { ops: GET, keys: ['k'.repeat(1025)] }, 4, 'a key of 1025 bytes; the limit is 1024'],
    [
      'a long value',
      { ops: PUT, keys: ['k'], values: [Buffer.alloc(65_537)] },
      5,
      'a value of 65537 bytes; the limit is 65536',
    ],
    ['a put without a value', { ops: PUT, keys: ['k'], values: [null] }, 3, 'a put without a value'],
    [
      'a get with a value',
      { ops: GET, keys: ['k'], values: [bytes('')] },
      3,
      'a value beside op 2; a put alone has one',
    ],
    [
      'a ttl of 0',
      { ops: PUT, keys: ['k'], values: [bytes('')], ttls: 0 },
      3,
      'ttl 0 is not a number of seconds above 0',
    ],
    [
      'a ttl that is too long',
      { ops: PUT, keys: ['k'], values: [bytes('')], ttls: limits.ttlSecondsMax + 1 },
      3,
      `at most ${limits.ttlSecondsMax}`,
    ],
    ['a ttl of a get', { ops: GET, keys: ['k'], ttls: [5] }, 3, 'ttls beside op 2, which takes none'],
    ['a version of a get', { ops: GET, keys: ['k'], versions: [5] }, 3, 'versions beside op 2'],
    ['a ttl of a delete', { ops: DELETE, keys: ['k'], ttls: [5] }, 3, 'ttls beside op 3'],
    [
      'an idempotency key of a get',
      { ops: GET, keys: ['k'], idempotencyKeys: ['x'] },
      3,
      'idempotencyKeys beside op 2',
    ],
    [
      'a version that is negative',
      { ops: DELETE, keys: ['k'], versions: -1 },
      3,
      'version -1 is not an integer from 0',
    ],
    [
      'a version above 2^53',
      { ops: DELETE, keys: ['k'], versions: 2 ** 53 },
      3,
      'version 9007199254740992 is not an integer',
    ],
    [
      'versions and exists',
      { ops: DELETE, keys: ['k'], versions: 1, exists: true },
      3,
      'versions and exists for one request',
    ],
    [
      'consistency 5',
      { ops: GET, keys: ['k'], consistency: 5 },
      3,
      'consistency 5 is none of 1 (ONE), 2 (QUORUM), 3 (ALL), 4 (SERIAL)',
    ],
    [
      'versions and exists that say the same',
      { ops: DELETE, keys: ['k'], versions: 0, exists: false },
      3,
      'versions and exists for one request',
    ],
    ['consistency 0', { ops: GET, keys: ['k'], consistency: 0 }, 3, 'consistency 0 is none of'],
    [
      'a timeout that is too long',
      { ops: GET, keys: ['k'], timeouts: 30_001 },
      3,
      'timeout 30001 is not a whole number of milliseconds from 1 to 30000',
    ],
    [
      'a timeout with a fraction',
      { ops: GET, keys: ['k'], timeouts: 0.5 },
      3,
      'timeout 0.5 is not a whole number',
    ],
    [
      'an idempotency key that is too long',
      { ops: DELETE, keys: ['k'], idempotencyKeys: ['x'.repeat(65)] },
      3,
      '(65 characters) is not 1 to 64 printable ASCII',
    ],
    [
      'an idempotency key of other letters',
      { ops: DELETE, keys: ['k'], idempotencyKeys: ['é'] },
      3,
      'is not 1 to 64 printable ASCII',
    ],
    [
      'an empty idempotency key',
      { ops: DELETE, keys: ['k'], idempotencyKeys: [''] },
      3,
      '(0 characters) is not',
    ],
  ];
  it.each(wrong)('%s is the mistake of its request', async (_, columns, status, message) => {
    const sent = served.client.sent.length;
    const answer = await client.one(columns);
    expect(answer.status).toBe(status);
    expect(answer.message).toContain(message);
    expect(served.client.sent.length).toBe(sent);
  });

  it('a mistake leaves the other requests of its message alone', async () => {
    const answers = await client.request({
      ops: [PUT, 7, PUT],
      keys: ['good1', 'bad', 'good2'].map(bytes),
      values: ['1', null, '2'].map((text) => (text === null ? null : bytes(text))),
    });
    expect(answers.map(({ status }) => status)).toEqual([0, 3, 0]);
    expect(served.client.itemOf('good2')?.value.length).toBe(1);
  });

  it('has every status that a shard answers, with its message, or the one of the table', async () => {
    for (const [name, status] of Object.entries(Status)) {
      if (status === Status.OK || status === Status.NOT_FOUND || status === Status.VERSION_MISMATCH) continue;
      for (const [op, shardOp] of [
        [GET, Op.GET],
        [PUT, Op.PUT],
        [DELETE, Op.DELETE],
      ] as const) {
        served.client.failure = { op: shardOp, shard: 0, status };
        const answer = await client.one({ ops: op, keys: ['e'], values: op === PUT ? [bytes('')] : [null] });
        const expected = status === Status.PRECONDITION_FAILED ? Status.VERSION_MISMATCH : status;
        expect([name, answer.status, answer.message]).toEqual([name, expected, 'as told']);
      }
    }
    served.client.failure = null;
  });

  it('says why the node takes no request, where it knows', async () => {
    served.client.refusal = 'the ring is not known yet';
    expect(await client.put('k', 'x')).toMatchObject({
      status: Status.UNAVAILABLE,
      message: 'the ring is not known yet',
    });
    served.client.refusal = '';
  });

  it('says OVERLOADED where the slots of the node are all in flight, and nothing is done', async () => {
    const small = await serve({}, 2);
    const one = await WsClient.connect(small.front.port);
    small.client.held = [];
    const waiting = one.request({ ops: PUT, keys: ['a', 'b'], values: [bytes('1'), bytes('2')] });
    await eventually('two are held', () => small.client.held?.length === 2);
    expect(await one.put('c', 'x')).toMatchObject({
      status: 7,
      message: 'a queue is full; nothing was done, repeat later',
    });
    small.client.release();
    expect((await waiting).map(({ status }) => status)).toEqual([0, 0]);
    expect(small.client.itemOf('c')).toBeUndefined();
    await one.close();
    await small.close();
  });
});
