import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock, msAfter } from '../../src/base/clock.ts';
import { CorruptionError, IoError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { KEYSPACE_IDEMPOTENCY } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { Condition } from '../../src/shard/contract.ts';
import {
  type Answer,
  answered,
  answerOf,
  BEGIN_MS,
  Harness,
  type HarnessOptions,
  START_MS,
  settled,
  until,
} from './harness.ts';

let open: Harness[] = [];
function harness(options: HarnessOptions = {}): Harness {
  const one = new Harness(options);
  open.push(one);
  return one;
}
afterEach(async () => {
  await Promise.all(open.map((one) => one.close()));
  open = [];
});
const version = (expected: number) => ({ condition: Condition.VERSION, version: expected });
const exists = { condition: Condition.EXISTS };
const text = ({ status, text: body }: Answer) => ({ status, body });

describe('a write', () => {
  it('is answered with its version, and read back with value, version and expiry', async () => {
    const { client } = harness();
    const put = await answerOf(client.put('k', 'value', { expiresMs: START_MS + 60_000 }));
    expect(put).toMatchObject({ status: Status.OK, text: '' });
    const got = await answerOf(client.get('k'));
    expect(got).toMatchObject({
      status: Status.OK,
      text: 'value',
      version: put.version,
      expiresMs: START_MS + 60_000,
    });
  });
  it('gets a version above every one before, also above those of the files', async () => {
    const { engine, server, client } = harness();
    const first = await answerOf(client.put('k', '1'));
    expect((await answerOf(client.put('k', '2'))).version).toBeGreaterThan(first.version);
    // A shard that opens over files from the future of its clock.
    engine.versionMax = first.version + 10 ** 9;
    await server.stop();
    open[0]?.client.client.detach(0);
    const again = open[0]?.restart();
    expect((await answerOf(client.put('k', '3'))).version).toBeGreaterThan(first.version + 10 ** 9);
    await again?.stop();
  });
  it('is not answered, and not read, before it is durable', async () => {
    const { engine, client } = harness();
    engine.automatic = false;
    const put = client.put('k', 'v');
    await settled(client);
    expect([engine.appends, put.answer]).toEqual([1, null]);
    expect(await answerOf(client.get('k'))).toMatchObject({ status: Status.NOT_FOUND });
    engine.sync();
    expect(await answerOf(put)).toMatchObject({ status: Status.OK });
    expect(await answerOf(client.get('k'))).toMatchObject({ text: 'v' });
  });
  it('is answered as soon as its own sync is done, in order of the log', async () => {
    const { engine, client } = harness();
    engine.automatic = false;
    const calls = [client.put('a', '1'), client.put('b', '2'), client.put('c', '3')];
    await settled(client);
    engine.sync(2);
    await answered(calls[0] as never, calls[1] as never);
    await settled(client);
    expect(calls[2]?.answer).toBeNull();
    engine.sync();
    await answered(...calls);
  });
  it('shares one commit with all that came in the same turn', async () => {
    const { engine, client } = harness();
    await answered(...Array.from({ length: 100 }, (_, i) => client.put(`k${i}`, 'v')));
    expect(engine.commits).toBeLessThan(5);
  });
  it('deletes, also what is not there', async () => {
    const { client } = harness();
    await answerOf(client.put('k', 'v'));
    await answerOf(client.delete('k'));
    expect(await answerOf(client.get('k'))).toMatchObject({ status: Status.NOT_FOUND });
    expect(await answerOf(client.delete('never'))).toMatchObject({ status: Status.OK });
  });
  it('reads as absent when it has expired', async () => {
    const { client, clock } = harness();
    await answerOf(client.put('k', 'v', { expiresMs: START_MS + 1000 }));
    clock.advanceMs(999);
    expect(await answerOf(client.get('k'))).toMatchObject({ text: 'v' });
    clock.advanceMs(1);
    expect(await answerOf(client.get('k'))).toMatchObject({ status: Status.NOT_FOUND });
  });
  it('is refused with the reason of the engine, and nothing was done', async () => {
    const { engine, client } = harness();
    engine.refusal = Status.DISK_FULL;
    engine.refusalReason = '/data: 0 bytes free';
    expect(text(await answerOf(client.put('k', 'v')))).toEqual({
      status: Status.DISK_FULL,
      body: '/data: 0 bytes free; nothing was written',
    });
    engine.refusal = 0;
    expect(await answerOf(client.put('k', 'v'))).toMatchObject({ status: Status.OK });
  });
  it('gets UNAVAILABLE, outcome unknown, when its sync fails; DISK_FULL when nothing was written', async () => {
    const { engine, client } = harness();
    await answerOf(client.put('k', 'old'));
    engine.automatic = false;
    const lost = client.put('k', 'new');
    await settled(client);
    engine.failSync(Status.READ_ONLY, new IoError('fdatasync /data/wal: EIO', 'EIO'));
    expect(text(await answerOf(lost))).toEqual({
      status: Status.UNAVAILABLE,
      body: 'fdatasync /data/wal: EIO; outcome unknown',
    });
    const full = client.put('k', 'new');
    await settled(client);
    engine.failSync(Status.DISK_FULL, new IoError('write /data/wal: ENOSPC', 'ENOSPC'));
    expect(text(await answerOf(full))).toEqual({
      status: Status.DISK_FULL,
      body: 'write /data/wal: ENOSPC; nothing was written',
    });
    expect(await answerOf(client.get('k'))).toMatchObject({ text: 'old' });
  });
  it('that became durable before a failure was reported is answered with OK', async () => {
    const { engine, client } = harness();
    engine.automatic = false;
    const [first, second] = [client.put('a', '1'), client.put('b', '2')];
    await settled(client);
    engine.durableSeq = 1;
    engine.failSync(Status.READ_ONLY, new IoError('EIO', 'EIO'));
    expect((await answered(first, second)).map(({ status }) => status)).toEqual([
      Status.OK,
      Status.UNAVAILABLE,
    ]);
  });
});

describe('a deadline', () => {
  it('that has passed drops the work before it is done', async () => {
    const { engine, client, clock } = harness({ clientClock: new ManualClock(START_MS) });
    const late = client.put('k', 'v', { deadlineMs: msAfter(BEGIN_MS, 10) });
    const inTime = client.put('k', 'w', { deadlineMs: msAfter(BEGIN_MS, 11) });
    const read = client.get('k', { deadlineMs: msAfter(BEGIN_MS, 10) });
    clock.advanceMs(10);
    await answered(late, inTime, read);
    expect(late.answer).toMatchObject({
      status: Status.TIMEOUT,
      text: 'the deadline passed; nothing was written',
    });
    expect(read.answer).toMatchObject({
      status: Status.TIMEOUT,
      text: 'the deadline passed; nothing was read',
    });
    expect(inTime.answer).toMatchObject({ status: Status.OK });
    expect(engine.appends).toBe(1);
  });
  it('that passes while a conditional write waits for a lookup drops it', async () => {
    const { engine, client, clock } = harness();
    engine.pends = () => true;
    client.put('k', 'v', { ...version(0), deadlineMs: msAfter(BEGIN_MS, 10) });
    await until(() => engine.waiting.length === 1);
    clock.advanceMs(10);
    engine.endLookup();
    engine.pends = () => false;
    await settled(client);
    expect(engine.appends).toBe(0);
  });
});

describe('a conditional write', () => {
  it('happens only where the version is the current one; 0 is absent', async () => {
    const { engine, client } = harness();
    const refused = await answerOf(client.put('k', 'x', version(7)));
    expect(refused).toMatchObject({ status: Status.VERSION_MISMATCH, version: 0 });
    expect(refused.text).toBe('the key is absent, and it must be 7; nothing was written');
    const first = await answerOf(client.put('k', '1', version(0)));
    expect(first.status).toBe(Status.OK);
    const taken = await answerOf(client.put('k', 'x', version(0)));
    expect(taken).toMatchObject({ status: Status.VERSION_MISMATCH, version: first.version });
    expect(taken.text).toBe(
      `the version is ${first.version}, and the key must be absent; nothing was written`,
    );
    const second = await answerOf(client.put('k', '2', version(first.version)));
    expect(second.status).toBe(Status.OK);
    expect((await answerOf(client.delete('k', version(first.version)))).status).toBe(Status.VERSION_MISMATCH);
    expect((await answerOf(client.delete('k', version(second.version)))).status).toBe(Status.OK);
    expect((await answerOf(client.put('k', '3', version(0)))).status).toBe(Status.OK);
    expect(engine.appends).toBe(4);
  });
  it('with EXISTS happens only where the key is live', async () => {
    const { client, clock } = harness();
    expect(await answerOf(client.put('k', 'x', exists))).toMatchObject({
      status: Status.VERSION_MISMATCH,
      version: 0,
    });
    await answerOf(client.put('k', '1', { expiresMs: START_MS + 100 }));
    expect((await answerOf(client.put('k', '2', { ...exists, expiresMs: START_MS + 100 }))).status).toBe(
      Status.OK,
    );
    clock.advanceMs(100);
    expect((await answerOf(client.delete('k', exists))).status).toBe(Status.VERSION_MISMATCH);
  });
  it('sees writes that are not durable yet, and its refusal waits for them', async () => {
    const { engine, client } = harness();
    engine.automatic = false;
    client.put('k', '1');
    const refused = client.put('k', '2', version(0));
    await settled(client);
    expect([engine.appends, refused.answer]).toEqual([1, null]);
    engine.sync();
    expect(await answerOf(refused)).toMatchObject({ status: Status.VERSION_MISMATCH });
  });
  it('is refused as soon as the record that it met is durable, whatever was appended since', async () => {
    const { engine, client } = harness();
    engine.automatic = false;
    const met = client.put('k', '1');
    const later = client.put('j', '1');
    const refused = client.put('k', '2', version(0));
    await settled(client);
    engine.sync(1);
    expect((await answered(met, refused)).map(({ status }) => status)).toEqual([
      Status.OK,
      Status.VERSION_MISMATCH,
    ]);
    expect(later.answer).toBeNull();
    engine.sync();
    await answerOf(later);
  });
  it('keeps its place before a later write to the key while it waits for a lookup', async () => {
    const { engine, client } = harness();
    engine.pends = (_, key) => Buffer.from(key).toString() === 'k';
    const conditional = client.put('k', 'first', version(0));
    const plain = client.put('k', 'second');
    const last = client.put('k', 'third', version(0));
    const other = client.put('other', 'x');
    await answerOf(other);
    expect([plain.answer, engine.appends]).toEqual([null, 1]);
    engine.pends = () => false;
    engine.endLookup();
    const answers = await answered(conditional, plain, last);
    expect(answers.map(({ status }) => status)).toEqual([Status.OK, Status.OK, Status.VERSION_MISMATCH]);
    expect(await answerOf(client.get('k'))).toMatchObject({ text: 'second' });
  });
  it('that met an error in its lookup is answered with it, and those behind it go on', async () => {
    const { engine, client } = harness();
    engine.pends = () => true;
    const failed = client.put('k', '1', version(0));
    const next = client.put('k', '2');
    await until(() => engine.waiting.length === 1);
    engine.pends = () => false;
    engine.endLookup(0, new CorruptionError('/data/sst-4', 512, 'checksum of a block'));
    expect(text(await answerOf(failed))).toEqual({
      status: Status.CORRUPTION,
      body: '/data/sst-4: corrupt at byte 512: checksum of a block; nothing was written',
    });
    expect((await answerOf(next)).status).toBe(Status.OK);
  });
});

describe('an idempotency key', () => {
  const key = { idempotencyKey: 'once', fingerprintHi: 1, fingerprintLo: 2 };
  it('gives a repeat the outcome of the first, and writes nothing more', async () => {
    const { engine, client } = harness();
    const first = await answerOf(client.put('k', 'v', key));
    await answerOf(client.put('k', 'later'));
    expect(await answerOf(client.put('k', 'v', key))).toMatchObject({
      status: Status.OK,
      version: first.version,
    });
    expect(engine.appends).toBe(2);
    expect(await answerOf(client.get('k'))).toMatchObject({ text: 'later' });
  });
  it('keeps the reply to a repeat back until the first is durable', async () => {
    const { engine, client } = harness();
    engine.automatic = false;
    const [first, repeat] = [client.put('k', 'v', key), client.put('k', 'v', key)];
    await settled(client);
    expect([engine.appends, first.answer, repeat.answer]).toEqual([1, null, null]);
    engine.sync();
    const answers = await answered(first, repeat);
    expect(answers[1]).toMatchObject({ status: Status.OK, version: answers[0]?.version });
  });
  it('lets a repeat fail with the first when its sync fails, and a third is done', async () => {
    const { engine, client } = harness();
    engine.automatic = false;
    const [first, repeat] = [client.put('k', 'v', key), client.put('k', 'v', key)];
    await settled(client);
    engine.failSync(Status.DISK_FULL, new IoError('ENOSPC', 'ENOSPC'));
    for (const { status } of await answered(first, repeat)) expect(status).toBe(Status.DISK_FULL);
    engine.automatic = true;
    expect((await answerOf(client.put('k', 'v', key))).status).toBe(Status.OK);
    expect(engine.appends).toBe(2);
  });
  it('remembers a condition that did not hold, though it would hold now', async () => {
    const { client } = harness();
    const { version: current } = await answerOf(client.put('k', '1'));
    const refused = await answerOf(client.put('k', '2', { ...key, ...version(0) }));
    expect(refused).toMatchObject({ status: Status.VERSION_MISMATCH, version: current });
    await answerOf(client.delete('k'));
    const repeat = await answerOf(client.put('k', '2', { ...key, ...version(0) }));
    expect(repeat).toMatchObject({ status: Status.VERSION_MISMATCH, version: current, text: refused.text });
    expect((await answerOf(client.get('k'))).status).toBe(Status.NOT_FOUND);
  });
  it('keeps a refusal of a condition back until its own record is durable', async () => {
    const { engine, client } = harness();
    await answerOf(client.put('k', '1'));
    engine.automatic = false;
    const refused = client.put('k', '2', { ...key, ...version(0) });
    await settled(client);
    expect([engine.stored(KEYSPACE_IDEMPOTENCY), refused.answer]).toEqual([1, null]);
    engine.sync();
    expect((await answerOf(refused)).status).toBe(Status.VERSION_MISMATCH);
  });
  it('is refused for a different request', async () => {
    const { engine, client } = harness();
    await answerOf(client.put('k', 'v', key));
    const other = await answerOf(client.put('k', 'w', { ...key, fingerprintLo: 3 }));
    expect(text(other)).toEqual({
      status: Status.BAD_REQUEST,
      body: 'the idempotency key "once" was used for a different request; nothing was written',
    });
    expect(engine.appends).toBe(1);
  });
  it('means nothing for another key of the store, or beside another idempotency key', async () => {
    const { engine, client } = harness();
    await answerOf(client.put('k', 'v', key));
    expect((await answerOf(client.put('j', 'v', key))).status).toBe(Status.OK);
    expect((await answerOf(client.put('k', 'w', { ...key, idempotencyKey: 'onc' }))).status).toBe(Status.OK);
    expect(engine.appends).toBe(3);
    expect(engine.stored(KEYSPACE_IDEMPOTENCY)).toBe(3);
  });
  it('is forgotten after its time, and then good for another write', async () => {
    const { engine, client, clock } = harness();
    await answerOf(client.put('k', 'v', key));
    clock.advanceMs(limits.idempotencyTtlMs - 1);
    await answerOf(client.put('k', 'v', key));
    expect(engine.appends).toBe(1);
    clock.advanceMs(1);
    await answerOf(client.put('k', 'w', { ...key, fingerprintLo: 9 }));
    expect(engine.appends).toBe(2);
  });
  it('is not used up by a write that the engine refused', async () => {
    const { engine, client } = harness();
    engine.refusal = Status.OVERLOADED;
    expect((await answerOf(client.put('k', 'v', key))).status).toBe(Status.OVERLOADED);
    engine.refusal = 0;
    expect((await answerOf(client.put('k', 'v', key))).status).toBe(Status.OK);
    expect(engine.appends).toBe(1);
  });
  it('holds for a repeat that comes while the first waits for a lookup', async () => {
    const { engine, client } = harness();
    engine.pends = () => true;
    const calls = [1, 2, 3].map(() => client.put('k', 'v', { ...key, ...version(0) }));
    // First the outcome, then the current version.
    for (let i = 0; i < 2; i++) {
      await until(() => engine.waiting.length === 1);
      await settledLookups(engine);
      engine.endLookup();
    }
    engine.pends = () => false;
    while (engine.waiting.length > 0) engine.endLookup();
    const answers = await answered(...calls);
    for (const { status, version: given } of answers)
      expect([status, given]).toEqual([Status.OK, answers[0]?.version]);
    expect(engine.appends).toBe(1);
  });
});

/** No second lookup of the key comes while one is there. */
async function settledLookups(engine: Harness['engine']): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(engine.waiting.length).toBe(1);
}
