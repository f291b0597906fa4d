import { describe, expect, it } from 'vitest';
import { MiB } from '../../src/base/limits.ts';
import { statusText } from '../../src/cli/cluster-views.ts';
import type { ClusterStatus, KeyStatus, NodeStatus, RingStatus } from '../../src/cluster/administration.ts';
import { FakeServer } from '../client/fake-server.ts';
import { idOf, nodeOf, QUIET, statusOf } from './cluster-statuses.ts';
import { World } from './harness.ts';

const LEAVER: NodeStatus = {
  nodeId: '1f3a77c0'.repeat(4),
  address: '127.0.0.1:9081',
  url: 'http://127.0.0.1:8081',
  rack: 'default',
  weight: 1,
  state: 'up',
  member: true,
  vnodes: 341,
  replicas: 1024,
  ring: 7,
  gains: 0,
  gained: 0,
  gainedBytes: 0,
  leaveHintBytes: 3 * MiB,
  leaveHintBytesMost: 12 * MiB,
  leaveMarks: 4,
  leaveMarksMost: 17,
  hintBytes: 0,
};
const STATUS: ClusterStatus = {
  clusterName: 'ringkv',
  clusterId: '0'.repeat(32),
  ring: 7,
  vnodes: 1024,
  replicas: 3,
  self: LEAVER.nodeId,
  nodes: [LEAVER],
  refusal: '',
  change: {
    kind: 'leave',
    node: LEAVER.nodeId,
    by: '',
    phase: 'switching',
    waitsFor: ['node 9c04d1e2 is down'],
  },
  repair: QUIET,
};

describe('the status of a cluster', () => {
  it('shows how far a node that leaves is with hints and marks, and what the change waits for', () => {
    expect(statusText(STATUS).slice(-4)).toEqual([
      'change: leave 1f3a77c0, switching',
      '  1f3a77c0 has 3.0 MiB of 12.0 MiB of hints to hand on',
      '  1f3a77c0 has 4 of 17 vnodes marked for repair to hand on',
      '  waits: node 9c04d1e2 is down',
    ]);
  });

  it('shows none of it where there is nothing left', () => {
    const done = { ...LEAVER, leaveHintBytes: 0, leaveMarks: 0 };
    const text = statusText({ ...STATUS, nodes: [done], change: null }).join('\n');
    expect(text).not.toContain('hand on');
    expect(text).not.toContain('waits');
  });

  it('shows of each node what it is and has, which one answers, and who is no member', () => {
    const nodes = [
      nodeOf(1, { weight: 2.5, vnodes: 7, replicas: 16, rack: 'z/a' }),
      nodeOf(2, { url: 'http://h:1', state: 'down', hintBytes: 3 * MiB, ring: 3 }),
      nodeOf(3, { member: false, state: 'suspect' }),
    ];
    expect(statusText(statusOf(4, { nodes, self: idOf(2) }))).toEqual([
      'cluster ringkv (00000000), ring 4, 16 vnodes, 3 replicas',
      'node       state               rack     weight  owns  holds  ring  hints    peers           clients',
      '00000001   up                  z/a      2.5     7     16     4     -        127.0.0.1:9081  -',
      '00000002*  down                default  1       1     1      3     3.0 MiB  127.0.0.1:9082  http://h:1',
      '00000003   suspect, no member  default  1       1     1      4     -        127.0.0.1:9083  -',
    ]);
  });

  it('shows how far each node is with what it gains, by whom a node is replaced, and repairs', () => {
    const nodes = [
      nodeOf(1, { gains: 5, gained: 5, gainedBytes: 2 * MiB }),
      nodeOf(4, { gains: 9, gained: 3, gainedBytes: MiB / 2 }),
    ];
    const change = { kind: 'replace', node: idOf(3), by: idOf(4), phase: 'copying', waitsFor: [] } as const;
    const repair = { ...QUIET, running: true, vnodesDone: 3, vnodesWaiting: 8, waitsFor: ['2 vnodes wait'] };
    const text = statusText(statusOf(4, { nodes, change, repair, refusal: 'node d is down' }));
    expect(text.slice(4)).toEqual([
      'not joined yet: node d is down',
      'change: replace 00000003 by 00000004, copying',
      '  00000001 has 5 of 5 vnodes, 2.0 MiB taken',
      '  00000004 has 3 of 9 vnodes, 0.5 MiB taken',
      'repair: 3 vnodes done, 8 waiting',
      '  waits: 2 vnodes wait',
    ]);
  });

  it('shows some hints as some, however few, and a rack that would tear the table as a JSON text', () => {
    const nodes = [
      nodeOf(1, { hintBytes: 1 }),
      nodeOf(2, { hintBytes: MiB / 20, rack: 'a\nb' }),
      nodeOf(3, { hintBytes: MiB / 20 - 1 }),
    ];
    const rows = statusText(statusOf(4, { nodes })).slice(2);
    expect(rows.map((row) => /([0-9.]+ [KM]iB)/.exec(row)?.[1])).toEqual(['1 KiB', '0.1 MiB', '52 KiB']);
    expect(rows[1]).toContain('"a\\nb"');
  });

  it('never shows more to hand on than there was: what was most may come after what is left', () => {
    const ahead = { ...LEAVER, leaveHintBytesMost: 0, leaveMarksMost: 0 };
    expect(statusText({ ...STATUS, nodes: [ahead] }).slice(-3, -1)).toEqual([
      '  1f3a77c0 has 3.0 MiB of 3.0 MiB of hints to hand on',
      '  1f3a77c0 has 4 of 4 vnodes marked for repair to hand on',
    ]);
  });
});

describe('the commands that show a cluster', () => {
  const RING: RingStatus = {
    ring: 4,
    vnodes: 100,
    replicas: 2,
    ranges: [
      { first: 0, last: 7, nodes: [idOf(1), idOf(2)] },
      { first: 8, last: 8, nodes: [idOf(1)] },
      { first: 9, last: 99, nodes: [idOf(2)] },
    ],
  };
  const KEY: KeyStatus = {
    key: 'k',
    token: '00000000ffffffff',
    vnode: 3,
    replicas: [
      { nodeId: idOf(1), state: 'live', version: 17, origin: 1, bytes: 0, checksum: 'ab' },
      { nodeId: idOf(2), state: 'error', message: 'node 2 is down' },
    ],
  };
  const shown: readonly (readonly [command: string, path: string, answer: object, lines: string[]])[] = [
    ['status', '/v1/cluster', STATUS, statusText(STATUS)],
    [
      'ring',
      '/v1/cluster/ring',
      RING,
      ['ring 4, 100 vnodes, 2 replicas', ' 0-7   00000001 00000002', ' 8     00000001', ' 9-99  00000002'],
    ],
    [
      'key k',
      '/v1/cluster/key/k',
      KEY,
      [
        'token 00000000ffffffff, vnode 3',
        'node      state                  version  bytes  checksum',
        '00000001  live                   17       0      ab',
        '00000002  error: node 2 is down  -        -      -',
      ],
    ],
  ];

  it.each(shown)(
    'ringkv %s shows it as a table, and with --json as it came',
    async (command, path, answer, lines) => {
      const world = new World();
      const server = await FakeServer.start();
      const run = async (...flags: string[]): Promise<string> => {
        const headers = { 'content-type': 'application/json' };
        server.tricks.push({ kind: 'answer', status: 200, body: JSON.stringify(answer), headers });
        return (await world.run([...command.split(' '), '--url', server.url, ...flags])).out;
      };
      try {
        expect(await run()).toBe(`${lines.join('\n')}\n`);
        expect(await run('--json')).toBe(`${JSON.stringify(answer, null, 2)}\n`);
        expect(server.seen.map((one) => one.path)).toEqual([path, path]);
      } finally {
        world.remove();
        await server.stop();
      }
    },
  );
});
