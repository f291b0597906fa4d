/** What the commands that change a cluster ask of a server, and what they refuse to ask. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { GONE, statusOf } from './cluster-statuses.ts';
import { answers, server, withServer, world } from './server-world.ts';

withServer();
const TOP = limits.vnodesMax - 1;

const asked: readonly (readonly [command: string, path: string, fields: object])[] = [
  ['join a:1,b:2 c:3', 'join', { seeds: ['a:1', 'b:2', 'c:3'] }],
  ['decommission', 'decommission', {}],
  ['decommission 1f', 'decommission', { node: '1f' }],
  ['replace 1f --by 9c', 'replace', { node: '1f', by: '9c' }],
  ['reweigh 1f --weight 0', 'reweigh', { node: '1f', weight: 0 }],
  ['reweigh 1f --weight 2.5 --rack z/r', 'reweigh', { node: '1f', weight: 2.5, rack: 'z/r' }],
  [`reweigh 1f --weight ${limits.ringWeightMax}`, 'reweigh', { node: '1f', weight: limits.ringWeightMax }],
  ['repair', 'repair', {}],
  ['repair --vnodes 20-22,3,21,0', 'repair', { vnodes: [0, 3, 20, 21, 22] }],
  [`repair --vnodes ${TOP}`, 'repair', { vnodes: [TOP] }],
  ['undo', 'undo', {}],
];
const refused: readonly string[] = [
  'join',
  'replace 1f',
  'replace --by 9c',
  'reweigh 1f',
  'reweigh 1f --weight 1e1',
  'reweigh 1f --weight=',
  'reweigh 1f --weight -1',
  `reweigh 1f --weight ${limits.ringWeightMax + 1}`,
  'reweigh 1f --rack=',
  'reweigh 1f --rack a/b/c',
  'reweigh 1f --rack a\nb',
  `reweigh 1f --rack ${'r'.repeat(65)}`,
  'repair --vnodes 5-4',
  'repair --vnodes a',
  'repair --vnodes 1,,2',
  'repair --vnodes 1-2-3',
  `repair --vnodes ${limits.vnodesMax}`,
];

describe('a command that changes a cluster', () => {
  it.each(asked)('ringkv %s asks for what was said, and for nothing else', async (command, path, fields) => {
    answers({ warnings: [] });
    const { code, out, err } = await world.run([...command.split(' '), '--url', server.url]);
    expect([code, out, err]).toEqual([0, `${path} has begun; ringkv status shows how far it is\n`, '']);
    const requests = server.seen.map((one) => [one.method, one.path, JSON.parse(one.body.toString())]);
    expect(requests).toEqual([['POST', `/v1/cluster/${path}`, fields]]);
  });

  it.each(refused)('ringkv %s is refused before anybody is asked', async (command) => {
    const { code, out } = await world.run([...command.split(' '), '--url', server.url]);
    expect([code, out]).toEqual([2, '']);
    expect(server.seen).toEqual([]);
  });

  it('prints with --json what the server answered, once it is done', async () => {
    const answer = { warnings: ['2 of 3 replicas'] };
    answers(statusOf(4), answer, statusOf(6, { nodes: GONE }));
    const command = ['decommission', '00000003', '--wait', '--json', '--url', server.url];
    const { code, out } = await world.run(command);
    expect([code, JSON.parse(out)]).toEqual([0, answer]);
    expect(server.seen).toHaveLength(3);
  });
});
