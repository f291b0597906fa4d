import { describe, expect, it } from 'vitest';
import { GONE, idOf, leaving, nodeOf, QUIET, statusOf } from './cluster-statuses.ts';
import { answers, server, withServer, world } from './server-world.ts';

withServer();
const run = (...command: readonly string[]) => world.run([...command, '--wait', '--url', server.url]);

describe('a change that is waited for', () => {
  it('is followed to its end; what it waits for is said once, as long as that is the same', async () => {
    answers(statusOf(4), { warnings: ['2 of 3 replicas'] });
    answers(
      leaving(['node a is down']),
      leaving(['node a is down']),
      leaving([]),
      leaving(['node b is down']),
    );
    answers(statusOf(7, { nodes: GONE }));
    const { code, out, err } = await run('decommission', idOf(3).slice(0, 8));
    expect([code, out]).toEqual([0, 'decommission is done\n']);
    expect(err).toBe(
      'ringkv: 2 of 3 replicas\nringkv: waits: node a is down\nringkv: waits: node b is down\n',
    );
  });

  it('that another operator took back meanwhile is no success', async () => {
    for (const [command, after] of [
      [['decommission', idOf(3)], statusOf(6)],
      [['decommission'], statusOf(6)],
      [
        ['replace', idOf(3), '--by', idOf(4)],
        statusOf(6, { nodes: [...GONE, nodeOf(4, { member: false })] }),
      ],
      [['replace', idOf(3), '--by', idOf(4)], statusOf(6, { nodes: [nodeOf(3), nodeOf(4)] })],
      [['reweigh', idOf(3), '--weight', '2'], statusOf(6)],
      [['reweigh', idOf(3), '--rack', 'z/r'], statusOf(6)],
    ] as const) {
      answers(statusOf(4), { warnings: [] }, after);
      const { code, out, err } = await run(...command);
      expect([code, out]).toEqual([1, '']);
      expect(err).toContain(`${command[0]} was undone, or changed again`);
    }
  });

  it('is a success where the cluster is as it was to be', async () => {
    for (const [command, after] of [
      [['decommission', idOf(3)], statusOf(6, { nodes: GONE })],
      [['decommission'], statusOf(6, { nodes: [nodeOf(1, { member: false })] })],
      [['replace', idOf(3), '--by', idOf(4)], statusOf(6, { nodes: [...GONE, nodeOf(4)] })],
      [['reweigh', idOf(3), '--weight', '2'], statusOf(6, { nodes: [nodeOf(3, { weight: 2 })] })],
      [['undo'], statusOf(6)],
    ] as const) {
      answers(statusOf(4), { warnings: [] }, after);
      const { code, out } = await run(...command);
      expect([code, out]).toEqual([0, `${command[0]} is done\n`]);
    }
  });

  it('is followed through a server that is overloaded, or does not answer, for a moment', async () => {
    answers(statusOf(4), { warnings: [] });
    for (const code of ['UNAVAILABLE', 'OVERLOADED', 'UNAVAILABLE'])
      for (let attempts = 0; attempts < 2; attempts++)
        server.tricks.push({
          kind: 'answer',
          status: 503,
          body: JSON.stringify({ error: { code, message: 'a shard restarts' } }),
          headers: { 'content-type': 'application/json' },
        });
    answers(statusOf(6, { nodes: GONE }));
    expect((await run('decommission', idOf(3))).out).toBe('decommission is done\n');
  });

  it('says for a repair which replicas it waits for, and for a join why it is refused', async () => {
    const repair = { ...QUIET, running: true, vnodesWaiting: 2, waitsFor: ['2 vnodes wait for replicas: c'] };
    answers(
      statusOf(4),
      { vnodes: 2 },
      statusOf(4, { repair }),
      statusOf(4, { repair: { ...QUIET, lastEndMs: 5 } }),
    );
    const repaired = await run('repair');
    expect([repaired.out, repaired.err]).toEqual([
      'repair is done\n',
      'ringkv: waits: 2 vnodes wait for replicas: c\n',
    ]);
    const outside = [nodeOf(1, { member: false }), nodeOf(2)];
    answers({ warnings: [] }, statusOf(4, { nodes: outside, refusal: 'node d is down' }), statusOf(7));
    const joined = await run('join', '127.0.0.1:9082');
    expect([joined.out, joined.err]).toEqual([
      'join is done\n',
      'ringkv: waits: not joined yet: node d is down\n',
    ]);
  });
});

describe('a change that is not waited for', () => {
  it('tells its warnings all the same', async () => {
    answers({ warnings: ['2 of 3 replicas'] });
    const { out, err } = await world.run(['decommission', idOf(3), '--url', server.url]);
    expect(out).toMatch(/^decommission has begun/);
    expect(err).toBe('ringkv: 2 of 3 replicas\n');
  });
});
