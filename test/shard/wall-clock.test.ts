import { afterEach, describe, expect, it } from 'vitest';
import { msAfter } from '../../src/base/clock.ts';
import { Status } from '../../src/base/status.ts';
import { Condition, Op } from '../../src/shard/contract.ts';
import { answerOf, BEGIN_MS, Harness, START_MS, settled, until } from './harness.ts';

let open: Harness[] = [];
function harness(): Harness {
  const one = new Harness();
  open.push(one);
  return one;
}
afterEach(async () => {
  await Promise.all(open.map((one) => one.close()));
  open = [];
});

const TEN_MINUTES_MS = 600_000;
const VERSION_0 = { condition: Condition.VERSION, version: 0 } as const;

describe.each([
  ['ahead', TEN_MINUTES_MS],
  ['back', -TEN_MINUTES_MS],
])('a wall clock that is set %s while requests are in flight', (_, jumpMs) => {
  it('times none of them out: not in the ring, nor while it waits for a file or for its sync', async () => {
    const { client, engine, clock } = harness();
    const deadlineMs = msAfter(BEGIN_MS, 50);
    const inRing = [
      client.put('a', 'v', { deadlineMs }),
      client.get('b', { deadlineMs }),
      client.send(Op.SCAN, { deadlineMs }),
    ];
    clock.jumpMs(jumpMs);
    client.client.expire();
    expect((await Promise.all(inRing.map(answerOf))).map(({ status }) => status)).toEqual([
      Status.OK,
      Status.NOT_FOUND,
      Status.OK,
    ]);
    engine.pends = () => true;
    const conditional = client.put('c', 'v', { ...VERSION_0, deadlineMs });
    await until(() => engine.waiting.length === 1);
    engine.pends = () => false;
    engine.automatic = false;
    clock.jumpMs(-2 * jumpMs);
    clock.advanceMs(49);
    engine.endLookup();
    await until(() => engine.appends === 2);
    client.client.expire();
    expect(conditional.answer).toBeNull();
    await until(() => {
      engine.sync();
      return conditional.answer !== null;
    });
    expect((await answerOf(conditional)).status).toBe(Status.OK);
  });

  it('lets none wait longer than its deadline, at the client or in the shard', async () => {
    const { client, engine, clock } = harness();
    const deadlineMs = msAfter(BEGIN_MS, 50);
    engine.automatic = false;
    const unsynced = client.put('a', 'v', { deadlineMs });
    await until(() => engine.appends === 1);
    engine.pends = () => true;
    const conditional = client.put('b', 'v', { ...VERSION_0, deadlineMs });
    await until(() => engine.waiting.length === 1);
    engine.pends = () => false;
    clock.jumpMs(jumpMs);
    clock.advanceMs(50);
    client.client.expire();
    const inRing = client.put('c', 'v', { deadlineMs });
    expect([unsynced, conditional].map(({ answer }) => answer?.status)).toEqual([
      Status.TIMEOUT,
      Status.TIMEOUT,
    ]);
    engine.endLookup();
    expect(await answerOf(inRing)).toMatchObject({
      status: Status.TIMEOUT,
      text: 'the deadline passed; nothing was written',
    });
    await settled(client);
    expect(engine.appends).toBe(1);
  });
});

it('records expire by the wall clock, as it is set', async () => {
  const { client, clock } = harness();
  await answerOf(client.put('k', 'v', { expiresMs: START_MS + TEN_MINUTES_MS }));
  expect((await answerOf(client.get('k'))).status).toBe(Status.OK);
  clock.jumpMs(TEN_MINUTES_MS);
  expect((await answerOf(client.get('k'))).status).toBe(Status.NOT_FOUND);
  clock.jumpMs(-1);
  expect((await answerOf(client.get('k'))).status).toBe(Status.OK);
});
