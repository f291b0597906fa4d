/** Messages of ringkv.v1 as the client reads and writes them, against the codec of the tests. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { ProtocolError } from '../../src/client/errors.ts';
import { KvOp, type KvRequest } from '../../src/client/kv.ts';
import { decodeAnswers } from '../../src/client/ws-answers.ts';
import { encodeRequests } from '../../src/client/ws-requests.ts';
import { decode, encode, type Item } from '../front/ws-client.ts';

describe('a message of answers', () => {
  const whole = {
    ids: [1, 2],
    statuses: [0, 1],
    versions: [2 ** 53 - 1, null],
    ttls: [null, 7],
    sloppy: [true, null],
    messages: [null, 'what was wrong'],
    values: [Buffer.from('v'), null],
  };
  it('comes out as it went in, with null where an answer has nothing of a column', () => {
    const { sloppy, ...read } = whole;
    const { values, limits: told, ...rest } = decodeAnswers(encode({ ...read, sloppy }));
    expect(rest).toEqual({
      ids: read.ids,
      statuses: read.statuses,
      versions: read.versions,
      ttls: read.ttls,
      messages: read.messages,
    });
    expect(values?.map((value) => (value === null ? null : Buffer.from(value).toString()))).toEqual([
      'v',
      null,
    ]);
    expect(told).toBeNull();
  });
  it('may have no answers, and the limits alone', () => {
    const none = { ids: [], versions: null, ttls: null, messages: null, values: null };
    expect(decodeAnswers(encode({ limits: { a: 1, b: 'text' } }))).toEqual({
      ...none,
      statuses: [],
      limits: { a: 1 },
    });
    expect(decodeAnswers(encode({ ids: [], statuses: [] }))).toEqual({ ...none, statuses: [], limits: null });
  });
  const columns = Object.keys(whole).filter((name) => name !== 'ids' && name !== 'sloppy');
  it.each(columns)('is refused where %s has fewer or more elements than ids', (name) => {
    const column = whole[name as keyof typeof whole] as readonly Item[];
    for (const other of [column.slice(0, 1), [...column, ...column.slice(0, 1)], []])
      expect(() => decodeAnswers(encode({ ...whole, [name]: other }))).toThrow(ProtocolError);
  });
  it('is refused without ids, without statuses, with bytes behind it, and in part', () => {
    const { ids, ...withoutIds } = whole;
    expect(() => decodeAnswers(encode(withoutIds))).toThrow('without ids');
    expect(() => decodeAnswers(encode({ ids }))).toThrow(ProtocolError);
    const bytes = encode(whole);
    expect(() => decodeAnswers(Buffer.concat([bytes, Buffer.from([0xf6])]))).toThrow(
      '1 bytes after the message',
    );
    for (let length = 0; length < bytes.length; length++)
      expect(() => decodeAnswers(bytes.subarray(0, length))).toThrow(ProtocolError);
  });
});

describe('a message of requests', () => {
  const none = { consistency: undefined, version: undefined, ttl: undefined, idempotencyKey: undefined };
  const get: KvRequest = { op: KvOp.GET, key: Buffer.from('g'), value: null, ...none };
  const put: KvRequest = { op: KvOp.PUT, key: Buffer.from('p'), value: Buffer.from('value'), ...none };
  const del: KvRequest = { op: KvOp.DELETE, key: Buffer.from('d'), value: null, ...none };
  const read = (requests: readonly KvRequest[], leftMs: readonly number[] = requests.map(() => 5)): Item =>
    decode(
      Buffer.from(
        encodeRequests(
          requests.map((request, at) => ({ id: 300 + at, request })),
          leftMs,
        ),
      ),
    );

  it('has the columns that its requests need and no others, one element where all agree', () => {
    expect(read([get, get])).toEqual({
      ids: [300, 301],
      ops: 2,
      keys: [Buffer.from('g'), Buffer.from('g')],
      timeouts: 5,
    });
    expect(read([put, get, del])).toEqual({
      ids: [300, 301, 302],
      ops: [1, 2, 3],
      keys: ['p', 'g', 'd'].map((key) => Buffer.from(key)),
      values: [Buffer.from('value'), null, null],
      timeouts: 5,
    });
  });
  it('has every option of a request at its place, and null or the default for the others', () => {
    const all = { consistency: 'ONE', version: 2 ** 40, ttl: 0.25, idempotencyKey: 'käy' } as const;
    expect(read([get, { ...put, ...all }, { ...del, consistency: 'SERIAL' }])).toMatchObject({
      versions: [null, 2 ** 40, null],
      ttls: [null, 0.25, null],
      // Who asks for none gets what the server would take: QUORUM.
      consistency: [2, 1, 4],
      idempotencyKeys: [null, 'käy', null],
    });
    expect(read([{ ...put, consistency: 'ALL' }])).toMatchObject({ consistency: 3 });
  });
  it('passes on what no server takes, so that the server says what is wrong', () => {
    expect(read([{ ...del, version: -1 }])).toMatchObject({ versions: [-1] });
    expect(read([{ ...del, version: 1.5 }])).toMatchObject({ versions: [1.5] });
    expect(read([{ ...del, version: 2 ** 53 }])).toMatchObject({ versions: [2 ** 53] });
    expect(read([{ ...put, ttl: -0.5 }])).toMatchObject({ ttls: [-0.5] });
  });
  it('says deadlines that are close to each other once, the latest, and others one by one', () => {
    const slack = limits.clientDeadlineSlackMs;
    expect(read([get, get, get], [100 + slack, 100, 101])).toMatchObject({ timeouts: 100 + slack });
    expect(read([get, get], [100, 101 + slack])).toMatchObject({ timeouts: [100, 101 + slack] });
  });
  it('has room for the longest heads and idempotency keys of any letters', () => {
    const options = {
      consistency: 'ONE',
      version: 2 ** 53 - 1,
      ttl: 0.1,
      idempotencyKey: '\u20ac'.repeat(500),
    } as const;
    const bare = { ...put, ...options, key: Buffer.alloc(0), value: Buffer.alloc(0) };
    const long = { ...bare, key: Buffer.alloc(70_000, 1), value: Buffer.alloc(70_000, 2) };
    for (const requests of [[bare], [long], [long, ...Array.from({ length: 99 }, () => bare)]]) {
      const leftMs = requests.map((_, at) => 2 ** 40 + at * 1000);
      const batch = requests.map((request, at) => ({ id: 2 ** 52 + at, request }));
      expect(decode(Buffer.from(encodeRequests(batch, leftMs)))).toMatchObject({
        ids: batch.map(({ id }) => id),
        timeouts: leftMs.length === 1 ? leftMs[0] : leftMs,
        idempotencyKeys: requests.map(() => options.idempotencyKey),
      });
    }
  });
});
