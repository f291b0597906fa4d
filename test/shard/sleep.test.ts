import { afterEach, describe, expect, it } from 'vitest';
import { Status } from '../../src/base/status.ts';
import { allAsleep, answered, answerOf, Harness } from './harness.ts';

const harnesses: Harness[] = [];
afterEach(async () => {
  for (const harness of harnesses.splice(0)) await harness.close();
});
function newHarness(): Harness {
  const harness = new Harness({ clients: 2 });
  harnesses.push(harness);
  return harness;
}

describe('a shard and its clients', () => {
  it('sleep from the start, and again each time that all is answered', async () => {
    const { doorbells, clients } = newHarness();
    await allAsleep(doorbells);
    for (let round = 0; round < 3; round++) {
      await answered(...clients.flatMap((client) => [client.get('a'), client.get('b')]));
      await allAsleep(doorbells);
    }
  });

  it('sleep while a write waits for the disk, and wake when it is durable', async () => {
    const { doorbells, client, engine } = newHarness();
    engine.automatic = false;
    const put = client.put('key', 'value');
    await allAsleep(doorbells);
    expect(put.answer).toBe(null);
    engine.sync();
    expect((await answerOf(put)).status).toBe(Status.OK);
    await allAsleep(doorbells);
  });
});
