import { afterEach, describe, expect, it } from 'vitest';
import { Status } from '../../src/base/status.ts';
import { Op } from '../../src/shard/contract.ts';
import { answered, answerOf, type Call, Harness, type HarnessOptions, until } from './harness.ts';

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
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};
function many(count: number, send: (i: number) => Call): Call[] {
  return Array.from({ length: count }, (_, i) => send(i));
}

describe('scans', () => {
  async function filled(count: number): Promise<Harness> {
    const one = harness({ ringBytes: 1 << 20 });
    await answered(...many(count, (i) => one.client.put(`${i % 2 ? 'odd' : 'even'}-${i}`, `value ${i}`)));
    return one;
  }
  it('come in pages that go on exactly where the last one ended', async () => {
    const { client } = await filled(25);
    const names: string[] = [];
    let place: readonly [number, number, string] = [0, 0, ''];
    for (let page = 0, done = false; !done; page++) {
      const [tokenHi, tokenLo, key] = place;
      const answer = await answerOf(
        client.send(Op.SCAN, { limit: 10, key, tokenHi, tokenLo, exclusive: page > 0 }),
      );
      names.push(...namesOf(answer.body));
      ({ done, place } = answer);
      expect(page).toBeLessThan(5);
    }
    expect(names.length).toBe(25);
    expect(new Set(names).size).toBe(25);
  });
  it('show keys with a prefix, and leave values out unless asked', async () => {
    const { client } = await filled(10);
    const whole = await answerOf(client.send(Op.SCAN, { value: 'odd', withValues: true }));
    expect(namesOf(whole.body).toSorted()).toEqual(['odd-1', 'odd-3', 'odd-5', 'odd-7', 'odd-9']);
    expect(whole.text).toContain('value 7');
    const keys = await answerOf(client.send(Op.SCAN, { value: 'odd', withValues: false }));
    expect(namesOf(keys.body)).toEqual(namesOf(whole.body));
    expect(keys.text).not.toContain('value');
  });
  it('pass pages that are longer than the ring takes', async () => {
    const { client } = harness();
    for (let i = 0; i < 5; i++) await answerOf(client.put(`k${i}`, new Uint8Array(1 << 20).fill(i)));
    const page = await answerOf(client.send(Op.SCAN, { limit: 5 }));
    expect(page.done).toBe(false);
    expect(namesOf(page.body).length).toBe(4);
  });
});

describe('snapshots', () => {
  it('are read and released by the client that took them, and go with it', async () => {
    const { clients, engine, server } = harness({ clients: 2 });
    const [owner, other] = clients as [Harness['client'], Harness['client']];
    await answerOf(owner.put('k', 'v'));
    const { version: snapshot } = await answerOf(owner.send(Op.SNAPSHOT));
    await answerOf(owner.put('later', 'v'));
    const page = await answerOf(owner.send(Op.SCAN, { snapshot }));
    expect(namesOf(page.body)).toEqual(['k']);
    expect((await answerOf(other.send(Op.SCAN, { snapshot }))).status).toBe(Status.BAD_REQUEST);
    await answerOf(other.send(Op.RELEASE_SNAPSHOT, { snapshot }));
    expect(engine.snapshots.size).toBe(1);
    await answerOf(owner.send(Op.RELEASE_SNAPSHOT, { snapshot }));
    expect(engine.snapshots.size).toBe(0);
    await answerOf(owner.send(Op.SNAPSHOT));
    const { version: others } = await answerOf(other.send(Op.SNAPSHOT));
    server.detach(0);
    expect([...engine.snapshots.keys()]).toEqual([others]);
  });
});

describe('administration', () => {
  it('answers STATS and VERIFY in JSON, FLUSH and COMPACT when done', async () => {
    const { client } = harness();
    expect(JSON.parse((await answerOf(client.send(Op.STATS))).text)).toMatchObject({
      memtableBytes: 1,
      requestsHeld: 0,
    });
    expect(JSON.parse((await answerOf(client.send(Op.VERIFY))).text)).toMatchObject({
      recordsRead: 6,
      damaged: 1,
      damage: [{ file: 'sst-1', offset: 7 }],
    });
    expect((await answerOf(client.send(Op.FLUSH))).status).toBe(Status.OK);
    expect((await answerOf(client.send(Op.COMPACT))).status).toBe(Status.OK);
  });
});

describe('the end of a shard', () => {
  it('answers what became durable by it, closes the engine, and takes no more', async () => {
    const { client, engine, server } = harness();
    engine.automatic = false;
    const write = client.put('k', 'v');
    await until(() => engine.appends === 1);
    await server.stop();
    expect(engine.closed).toBe(true);
    expect((await answerOf(write)).status).toBe(Status.OK);
    const later = client.get('k');
    await turns(20);
    client.client.detach(0);
    expect(later.answer).toMatchObject({ status: Status.SHARD_DOWN });
  });
});

function namesOf(body: Uint8Array): string[] {
  const names: string[] = [];
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  for (let at = 0; at < body.length; ) {
    const valueLength = view.getUint32(at, true);
    const keyLength = view.getUint16(at + 4, true);
    names.push(Buffer.from(body.subarray(at + 40, at + 40 + keyLength)).toString());
    at += (40 + keyLength + valueLength + 7) & ~7;
  }
  return names;
}
