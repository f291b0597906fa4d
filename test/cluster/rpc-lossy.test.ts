import { describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { WriteMode } from '../../src/cluster/contract.ts';
import { wasNothingSent } from '../../src/cluster/rpc.ts';
import { testSeed } from '../seed.ts';
import { recordOf } from './message-samples.ts';
import { TestNet } from './rpc-harness.ts';

const record = recordOf('k', 'v', 9);
const key = Buffer.from('k');

interface Answered {
  readonly op: string;
  readonly status: number;
  readonly message: string;
}

describe('with a network that loses, duplicates and reorders', () => {
  const seed = testSeed();
  it(`every call is answered exactly once, rightly, and in time (seed ${seed})`, async () => {
    const random = new Random(seed);
    const net = new TestNet(seed);
    const nodes = [1, 2, 3].map((number) => net.add(number));
    for (const node of nodes) node.replica.record = record;
    Object.assign(net.faults, { loss: 0.1, duplication: 0.2, delayMsMax: 60 });
    let open = 0;
    const seen = { ok: 0, timeout: 0, unsent: 0, lost: 0 };
    for (let round = 0; round < 4000; round++) {
      const from = random.pick(nodes);
      const to = random.pick(nodes);
      if (from === to) continue;
      const timeout = random.between(20, 200);
      const started = net.events.clock.monotonicMs();
      let times = 0;
      const way = `${nodes.indexOf(from) + 1}>${nodes.indexOf(to) + 1}`;
      if (random.chance(0.02)) net.refusing.add(way);
      else net.refusing.delete(way);
      open++;
      const done = (answer: Answered | { status: number; message: string }): void => {
        expect(++times).toBe(1);
        open--;
        const took = net.events.clock.monotonicMs() - started;
        expect(took).toBeLessThanOrEqual(timeout + limits.peerCallScanMs + 1);
        if (answer.status === Status.OK) seen.ok++;
        else if (answer.status === Status.TIMEOUT) {
          seen.timeout++;
          expect(took).toBeGreaterThanOrEqual(timeout);
        } else if (wasNothingSent(answer.message)) seen.unsent++;
        else seen.lost++;
      };
      const replica = from.remote.replica(nodes.indexOf(to) + 1);
      const deadlineMs = deadlineIn(net.events.clock, timeout);
      if (random.chance(0.5))
        replica.write({ record, also: null, mode: WriteMode.FRESH, deadlineMs }, done as never);
      else
        replica.read({ tokenHi: 1, tokenLo: 2, keyspace: 0, key, headOnly: false, deadlineMs }, (answer) => {
          if (answer.status === Status.OK) expect(answer.record).toEqual(record);
          done(answer);
        });
      if (random.chance(0.3)) await net.events.pass(random.below(10));
      if (random.chance(0.01)) from.remote.disconnected(nodes.indexOf(to) + 1);
    }
    await net.events.pass(1000);
    expect(open).toBe(0);
    expect(net.events.pending).toBe(0);
    for (const node of nodes) {
      expect(node.remote.waiting).toBe(0);
      expect(node.service.inWork).toBe(0);
    }
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
    expect(seen.ok).toBeGreaterThan(500);
  });
});
