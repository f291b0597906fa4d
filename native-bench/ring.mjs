// Figures of the ring map at size: balance, replicas, neighbours, moves and time. No I/O. Figures: docs/scale.md.
//
//   npm run build && node native-bench/ring.mjs [--racks 10] [--replicas 3]
//
// Rings are grown node by node from the first one, as a cluster is. `partners` are the nodes with which one node shares
// vnodes; `dead node` is the largest part of a dead node's vnodes that falls to one other node as first live replica.
import { parseArgs } from 'node:util';
import { beginJoin, beginLeave, firstRing, ownerMoves } from '../dist/src/cluster/ring-change.js';
import { decodeRing, encodeRing } from '../dist/src/cluster/ring-codec.js';
import { comingReplicasOf, gainers, replicasOf, writeGroups } from '../dist/src/cluster/ring-lookup.js';

const { values: flags } = parseArgs({
  options: { racks: { type: 'string', default: '10' }, replicas: { type: 'string', default: '3' } },
});
const racks = Number(flags.racks);
const replicas = Number(flags.replicas);
const SIZES = [
  [3, 1024],
  [5, 1024],
  [10, 1024],
  [150, 1024],
  [150, 16_384],
  [150, 65_536],
  [1000, 1024],
  [1000, 16_384],
  [1000, 65_536],
];

function memberOf(i) {
  const nodeId = (i + 1).toString(16).padStart(8, '0').padEnd(32, '0');
  const address = `10.0.${i >>> 8}.${i & 255}:9080`;
  return {
    number: i + 1,
    nodeId,
    address,
    url: `http://${address}`,
    rack: `rack-${i % racks}`,
    zone: '',
    weight: 1,
  };
}
function range(counts) {
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const count of counts) {
    least = Math.min(least, count);
    most = Math.max(most, count);
  }
  return `${least} to ${most}`;
}
function copyMoves(ring) {
  let moves = 0;
  for (let vnode = 0; vnode < ring.vnodes; vnode++) {
    const old = replicasOf(ring, vnode);
    for (const node of comingReplicasOf(ring, vnode)) if (!old.includes(node)) moves++;
  }
  return moves;
}
function timed(run) {
  const start = performance.now();
  const value = run();
  return [value, performance.now() - start];
}

function figures(count, vnodes) {
  const shape = { clusterName: 'figures', clusterId: '0'.repeat(32), vnodes, replicas };
  const [ring, growMs] = timed(() =>
    firstRing(
      shape,
      Array.from({ length: count }, (_, i) => memberOf(i)),
    ),
  );
  const owned = new Map();
  const held = new Map();
  const partners = new Map();
  const next = new Map();
  const [, listMs] = timed(() => {
    for (let vnode = 0; vnode < vnodes; vnode++) replicasOf(ring, vnode);
  });
  for (let vnode = 0; vnode < vnodes; vnode++) {
    const nodes = replicasOf(ring, vnode);
    owned.set(nodes[0], (owned.get(nodes[0]) ?? 0) + 1);
    if (nodes.length > 1) {
      const heirs = next.get(nodes[0]) ?? new Map();
      heirs.set(nodes[1], (heirs.get(nodes[1]) ?? 0) + 1);
      next.set(nodes[0], heirs);
    }
    for (const node of nodes) {
      held.set(node, (held.get(node) ?? 0) + 1);
      const others = partners.get(node) ?? new Set();
      for (const other of nodes) if (other !== node) others.add(other);
      partners.set(node, others);
    }
  }
  let heir = 0;
  for (const [node, heirs] of next)
    for (const part of heirs.values()) heir = Math.max(heir, part / owned.get(node));
  const [join, joinMs] = timed(() => beginJoin(ring, memberOf(count)));
  const [gaining, gainMs] = timed(() => gainers(join).length);
  const leave = beginLeave(ring, 2);
  const bytes = encodeRing(join);
  const [, decodeMs] = timed(() => decodeRing(bytes));
  let sum = 0;
  const lookups = 5_000_000;
  for (let vnode = 0; vnode < vnodes; vnode++) writeGroups(ring, vnode);
  const [, lookupMs] = timed(() => {
    for (let i = 0; i < lookups; i++) sum += writeGroups(ring, i & (vnodes - 1)).length;
  });
  if (sum !== lookups) throw new Error(`${sum} groups in ${lookups} lookups`);
  return {
    nodes: count,
    vnodes,
    owned: range(owned.values()),
    'copies held': range(held.values()),
    'mean copies': ((vnodes * replicas) / count).toFixed(1),
    partners: range([...partners.values()].map((one) => one.size)),
    'dead node': `${(heir * 100).toFixed(0)}%`,
    'join: owners, copies': `${ownerMoves(join)}, ${copyMoves(join)} (${gaining} gain)`,
    'leave: owners, copies': `${ownerMoves(leave)}, ${copyMoves(leave)}`,
    'grow ms': growMs.toFixed(0),
    'one join ms': joinMs.toFixed(1),
    'gainers ms': gainMs.toFixed(1),
    'lists ms': listMs.toFixed(1),
    'lookup ns': ((lookupMs * 1e6) / lookups).toFixed(0),
    'bytes while changing': bytes.length,
    'decode ms': decodeMs.toFixed(1),
  };
}

console.log(`${racks} racks, ${replicas} replicas`);
const rows = SIZES.map(([count, vnodes]) => figures(count, vnodes));
const columns = Object.keys(rows[0]);
console.log(`| ${columns.join(' | ')} |`);
console.log(`|${' --- |'.repeat(columns.length)}`);
for (const row of rows) console.log(`| ${columns.map((column) => row[column]).join(' | ')} |`);
