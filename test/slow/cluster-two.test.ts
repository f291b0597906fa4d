/** Two nodes of which one is lost for good: what is refused, what still works, and the way out that docs/cluster.md names. */
import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { urlOf, Workplace } from './cli-process.ts';
import {
  type ClusterMember,
  eventually,
  missing,
  ProcessCluster,
  statusOf,
  Writer,
} from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

describe('a cluster of two nodes of which one is lost', () => {
  it(
    'refuses changes with the numbers, reads on at ONE, and goes into a new cluster without a loss',
    async () => {
      const cluster = new ProcessCluster(place);
      for (const name of ['n1', 'n2']) await cluster.start(name);
      await cluster.settled(2);
      const [left, lost] = cluster.members as [ClusterMember, ClusterMember];
      const writer = new Writer(() => cluster.members.map(({ url }) => url), 4);
      try {
        await writer.more(200);
      } finally {
        await writer.stop();
      }
      await cluster.kill(lost);
      rmSync(place.path('n2'), { recursive: true });
      await eventually('the lost node is called down', async () =>
        (await statusOf(left.url)).nodes.some(
          ({ nodeId, state }) => nodeId === lost.nodeId && state === 'down',
        ),
      );

      const votes = /needs the votes of 2 of its 2 members, and 1 are up/;
      for (const words of [
        ['decommission', lost.nodeId],
        ['reweigh', lost.nodeId, '--weight', '0'],
      ]) {
        const { code, err } = await place.run(...words, '--url', left.url);
        expect([code, err]).toEqual([3, expect.stringMatching(votes)]);
      }
      const fresh = place.start(
        ...['serve', '--port', '0', '--peer-port', '0', '--data', 'n3', '--vnodes', '64'],
        ...['--seeds', left.peer, '--replace', lost.nodeId],
      );
      await urlOf(fresh);
      await eventually('the new node says why it is not joined', () =>
        Promise.resolve(votes.test(fresh.err)),
      );
      fresh.kill('SIGTERM');
      expect((await fresh.ended).code).toBe(0);
      const [key = '', value = ''] = [...writer.acknowledged][0] ?? [];
      const atOne = await fetch(`${left.url}/v1/kv/${key}?consistency=ONE`, {
        headers: { accept: 'application/octet-stream' },
      });
      expect(await atOne.text()).toBe(value);

      left.process.kill('SIGTERM');
      expect((await left.process.ended).code).toBe(0);
      expect((await place.run('export', 'everything.ndjson', '--data', 'n1')).code).toBe(0);
      const again = await place.serve('--peer-port', '0', '--data', 'new1', '--vnodes', '64');
      const { code, err } = await place.run('import', 'everything.ndjson', '--url', again.url);
      expect(code, err).toBe(0);
      expect(await missing(again.url, writer.acknowledged)).toEqual([]);
      expect((await statusOf(again.url)).nodes.length).toBe(1);
    },
    TIMEOUT_MS,
  );
});
