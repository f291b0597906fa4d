import { expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';
import { ProcessLife } from './process-life.ts';
import { Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';
import { SimNetwork } from './sim-network.ts';

const A = 'a:1';
const B = 'b:1';

/** What two nodes hear of each other over a link that makes each message take `delayMs`. */
async function heardOver(delayMs: number, seed: number): Promise<string[]> {
  const scheduler = new Scheduler();
  const profile = {
    delayUsMin: delayMs * 1000,
    delayUsMean: 0,
    lossChance: 0,
    duplicateChance: 0,
    stragglerChance: 0,
    stragglerUsMax: 0,
  };
  const network = new SimNetwork(scheduler, new Random(seed), profile);
  const heard: string[] = [];
  const join = (self: number, address: string): ReturnType<SimNetwork['attach']> =>
    network.attach({
      self,
      machine: address,
      address,
      clusterId: '',
      life: new ProcessLife(scheduler, new SimClock(scheduler)),
      hears: {
        onMessage: (from) => void heard.push(`${self} heard from ${from}`),
        onConnected: () => undefined,
        onDisconnected: (node) => void heard.push(`${self} lost ${node}`),
      },
    });
  const a = join(1, A);
  join(2, B);
  a.setAddress(2, B);
  expect(a.send(2, Uint8Array.of(7))).toBe(true);
  await scheduler.run(10 * delayMs * 1000);
  return heard;
}

it('a simulated message that takes longer than a connection may be silent breaks it, as both ends hear, and comes late', async () => {
  const seed = testSeed();
  const heard = await heardOver(10 * limits.peerIdleMs, seed);
  expect(heard.slice(0, 2).sort(), `seed ${seed}`).toEqual(['1 lost 2', '2 lost 1']);
  expect(heard.slice(2)).toEqual(['2 heard from 1']);
});

it('a slow simulated message breaks nothing', async () => {
  expect(await heardOver(limits.peerIdleMs / 2, testSeed())).toEqual(['2 heard from 1']);
});
