/** Wrong requests to change a cluster, over HTTP and by commands, to three real nodes: each is told what is wrong, and nothing changes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Workplace } from './cli-process.ts';
import { ProcessCluster, statusOf } from './cluster-processes.ts';

const START_MS_MAX = 180_000;
const VNODES = 64;
const NOBODY = 'f'.repeat(32);
let place: Workplace;
let cluster: ProcessCluster;
let url = '';
let before = '';
/** All that a wrong request must leave as it is. */
const standing = async (): Promise<string> => {
  const { ring, change, nodes } = await statusOf(url);
  return JSON.stringify([ring, change, nodes.map(({ nodeId, state, weight }) => [nodeId, state, weight])]);
};
const idOf = (at: number): string => cluster.members[at]?.nodeId ?? '';

beforeAll(async () => {
  place = new Workplace();
  cluster = new ProcessCluster(place);
  for (const name of ['n1', 'n2', 'n3']) await cluster.start(name);
  await cluster.settled(3);
  url = cluster.members[1]?.url ?? '';
  before = await standing();
}, START_MS_MAX);
afterAll(() => place.remove());

interface Refused {
  readonly change: string;
  readonly body: () => unknown;
  readonly status?: number;
  readonly says: RegExp;
}
const long = 'r'.repeat(limits.ringNameBytesMax + 1);
const refused: readonly Refused[] = [
  { change: 'decommission', body: () => ({ nod: idOf(0) }), says: /no field "nod": it has node/ },
  {
    change: 'decommission',
    body: () => ({ node: NOBODY }),
    says: /no node has an id that begins with "f{32}"/,
  },
  { change: 'decommission', body: () => ({ node: '' }), says: /node "" is no id of a node/ },
  { change: 'decommission', body: () => ({ node: null }), says: /node null is no id of a node/ },
  { change: 'decommission', body: () => ({ node: 5 }), says: /node 5 is no id of a node/ },
  { change: 'decommission', body: () => ({ node: [idOf(0)] }), says: /node \[.*\] is no id of a node/ },
  { change: 'decommission', body: () => ({ node: `${idOf(0)}0` }), says: /4 to 32 hexadecimal digits/ },
  { change: 'decommission', body: () => ({ node: 'node-1' }), says: /"node-1" is no id of a node/ },
  { change: 'replace', body: () => ({}), says: /the field node is missing/ },
  { change: 'replace', body: () => ({ node: idOf(0) }), says: /the field by is missing/ },
  { change: 'replace', body: () => ({ node: idOf(0), by: idOf(2) }), says: /is a member already/ },
  { change: 'replace', body: () => ({ node: idOf(0), by: NOBODY }), says: /no node has an id/ },
  { change: 'reweigh', body: () => ({ weight: 2 }), says: /the field node is missing/ },
  { change: 'reweigh', body: () => ({ node: idOf(0) }), says: /weight, the field rack, or both/ },
  {
    change: 'reweigh',
    body: () => ({ node: idOf(0), weight: 1 }),
    says: /has this weight, rack and zone already/,
  },
  {
    change: 'reweigh',
    body: () => ({ node: idOf(0), weight: -1 }),
    says: /weight -1 is no number from 0 to 100/,
  },
  {
    change: 'reweigh',
    body: () => ({ node: idOf(0), weight: limits.ringWeightMax + 1 }),
    says: /weight 101 is no number from 0 to 100 in steps of 1\/1000/,
  },
  { change: 'reweigh', body: () => ({ node: idOf(0), weight: 0.00001 }), says: /in steps of 1\/1000/ },
  { change: 'reweigh', body: () => ({ node: idOf(0), weight: '2' }), says: /weight "2" is no number/ },
  { change: 'reweigh', body: () => ({ node: idOf(0), rack: 5 }), says: /rack 5 is not RACK or ZONE\/RACK/ },
  { change: 'reweigh', body: () => ({ node: idOf(0), rack: '' }), says: /rack "" is not RACK/ },
  { change: 'reweigh', body: () => ({ node: idOf(0), rack: 'a/b/c' }), says: /rack "a\/b\/c" is not RACK/ },
  {
    change: 'reweigh',
    body: () => ({ node: idOf(0), rack: long }),
    says: /letters, digits, dots, dashes and underscores, at most 64 each/,
  },
  { change: 'repair', body: () => ({ vnodes: 5 }), says: /vnodes 5 are no array of 1 to 64 numbers/ },
  { change: 'repair', body: () => ({ vnodes: [] }), says: /vnodes \[\] are no array of 1 to 64/ },
  { change: 'repair', body: () => ({ vnodes: [VNODES] }), says: /vnode 64 is no whole number from 0 to 63/ },
  { change: 'repair', body: () => ({ vnodes: [1, -1] }), says: /vnode -1 is no whole number/ },
  { change: 'repair', body: () => ({ vnodes: [1.5] }), says: /vnode 1\.5 is no whole number/ },
  { change: 'repair', body: () => ({ vnodes: ['1'] }), says: /vnode "1" is no whole number/ },
  { change: 'repair', body: () => ({ vnode: [1] }), says: /no field "vnode": it has vnodes/ },
  { change: 'drain', body: () => ({ node: idOf(0) }), says: /"drain" has no field "node": it has none/ },
  { change: 'undo', body: () => ({ ring: 3 }), says: /"undo" has no field "ring": it has none/ },
  { change: 'undo', body: () => ({}), says: /no change/ },
  { change: 'join', body: () => ({}), says: /seeds nothing are no array of 1 to 64 addresses/ },
  { change: 'join', body: () => ({ seeds: ['nowhere'] }), says: /"nowhere" is no address: use host:port/ },
  { change: 'join', body: () => ({ seeds: ['127.0.0.1:1'] }), says: /this node knows a cluster of \d nodes/ },
  { change: 'undo', body: () => ({ do: 'decommission' }), says: /unknown field do/ },
  { change: 'undo', body: () => ({ ask: 'status' }), says: /unknown field ask/ },
  { change: 'undo', body: () => [], says: /JSON but no object/ },
  { change: 'undo', body: () => null, says: /JSON but no object/ },
  { change: 'remove', body: () => ({}), status: 404, says: /\/v1\/cluster\/remove/ },
];
const JSON_TYPE = { 'content-type': 'application/json' };

describe('a wrong change of a cluster over HTTP', () => {
  it.each(refused)('$change: $says', async ({ change, body, status = 400, says }) => {
    const answer = await fetch(`${url}/v1/cluster/${change}`, {
      method: 'POST',
      headers: JSON_TYPE,
      body: JSON.stringify(body()),
    });
    const text = await answer.text();
    expect([answer.status, (JSON.parse(text) as { error: { message: string } }).error.message]).toEqual([
      status,
      expect.stringMatching(says),
    ]);
    expect(await standing()).toBe(before);
  });

  const requests: readonly (readonly [string, RequestInit, number, RegExp])[] = [
    ['is no JSON', { method: 'POST', headers: JSON_TYPE, body: '{"node": ' }, 400, /not JSON/],
    [
      'names a field twice',
      { method: 'POST', headers: JSON_TYPE, body: '{"node":"a","node":"b"}' },
      400,
      /more than once/,
    ],
    ['says no media type', { method: 'POST', body: new Uint8Array(0) }, 415, /application\/json/],
    [
      'is plain text',
      { method: 'POST', headers: { 'content-type': 'text/plain' }, body: '{}' },
      415,
      /text\/plain/,
    ],
    [
      'is too long',
      { method: 'POST', headers: JSON_TYPE, body: ' '.repeat(limits.clusterChangeBytesMax + 1) },
      413,
      /65537.*65536/,
    ],
    ['has another method', { method: 'PUT', headers: JSON_TYPE, body: '{}' }, 405, /PUT is not allowed here/],
    [
      'has a wrong time limit',
      { method: 'POST', headers: { ...JSON_TYPE, 'x-ringkv-timeout': 'soon' }, body: '{}' },
      400,
      /soon/,
    ],
  ];
  it.each(requests)('that %s is refused', async (_, request, status, says) => {
    const answer = await fetch(`${url}/v1/cluster/decommission`, request);
    expect([answer.status, await answer.text()]).toEqual([status, expect.stringMatching(says)]);
    expect(await standing()).toBe(before);
  });
});

describe('a wrong command about a cluster', () => {
  const commands: readonly (readonly [() => readonly string[], number, RegExp])[] = [
    [() => ['decommission', NOBODY], 2, /no node has an id that begins with/],
    [() => ['decommission', 'node-1'], 2, /"node-1" is no id of a node/],
    [() => ['replace', idOf(0)], 2, /--by/],
    [() => ['replace', idOf(0), '--by', idOf(1)], 2, /is a member already/],
    [() => ['reweigh', idOf(0)], 2, /--weight, --rack or both/],
    [() => ['reweigh', idOf(0), '--weight', '101'], 2, /'101' is invalid.*0 to 100/],
    [() => ['reweigh', idOf(0), '--weight', 'heavy'], 2, /'heavy' is invalid/],
    [() => ['reweigh', idOf(0), '--rack', 'a/b/c'], 2, /'a\/b\/c' is invalid\. Not RACK/],
    [() => ['repair', '--vnodes', '3-1'], 2, /"3-1" is no vnode, and no range/],
    [() => ['repair', '--vnodes', '64'], 2, /vnode 64 is no whole number from 0 to 63/],
    [() => ['undo', '--timeout', 'soon'], 2, /soon/],
    [() => ['undo'], 2, /no change/],
    [() => ['join', '127.0.0.1:1'], 2, /this node knows a cluster of \d nodes/],
    [() => ['status', '--url', 'nowhere'], 2, /nowhere/],
    [() => ['status', '--url', 'http://127.0.0.1:1'], 3, /127\.0\.0\.1:1/],
    [() => ['key'], 2, /key/],
  ];
  it.each(commands)('%# is told what is wrong in one line', async (words, exitCode, says) => {
    const given = words();
    const own = given.includes('--url') ? [] : ['--url', url];
    const { code, out, err } = await place.run(...given, ...own);
    expect({ code, out }, err).toEqual({ code: exitCode, out: '' });
    expect(err.split('\n').filter((line) => line !== '')).toEqual([expect.stringMatching(says)]);
    expect(await standing()).toBe(before);
  });
});
