import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { deadlineIn, ManualClock, MONOTONIC_ZERO, systemClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type { TreeAnswer } from '../../src/cluster/contract.ts';
import { nextGeneration } from '../../src/cluster/membership-generation.ts';
import { decodeMessage } from '../../src/cluster/message-decode.ts';
import { Kind } from '../../src/cluster/message-kinds.ts';
import { encodeTree } from '../../src/cluster/messages.ts';
import { RepairBacklog } from '../../src/cluster/repair-backlog.ts';
import { firstRing } from '../../src/cluster/ring-change.ts';
import { encodeRing } from '../../src/cluster/ring-codec.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { FileDocuments, imageOf } from '../../src/node/cluster-documents.ts';
import { configOfOptions } from '../../src/node/config.ts';
import { PeerLife } from '../../src/node/peer-life.ts';
import { FrameKind } from '../../src/peer/frame.ts';
import { decodeHello, RefusalCode } from '../../src/peer/hello.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { MemoryHints } from '../cluster/memory-hints.ts';
import { MemoryReplica } from '../cluster/memory-replica.ts';
import { closeAll, idOf, onClose, RawPeer, TestPeer, until } from '../peer/harness.ts';

afterEach(closeAll);

const VNODES = 16;
const SELF = 9;
const RING_PATH = '/cluster/ring';

/** A peer worker's part in the cluster as it is while its shards recover: it listens, and is not opened. */
async function listening(
  onLife: (life: PeerLife, port: number, replica: MemoryReplica) => void = () => undefined,
  ring: RingMap | null = null,
  fs = new SimulatedFileSystem({ seed: 1, automatic: true }),
): Promise<number> {
  if (ring !== null) fs.place(RING_PATH, imageOf(RING_PATH, encodeRing(ring)));
  const replica = new MemoryReplica({
    clock: systemClock,
    vnodes: VNODES,
    gcGraceMs: 3_600_000,
    later: (run) => void setImmediate(run),
  });
  const local = Object.assign(replica, { setPurgeBefore: () => undefined });
  const life = new PeerLife({
    config: { ...configOfOptions({ clusterName: 'test', vnodes: VNODES }), peerHost: '127.0.0.1' },
    nodeId: idOf(SELF),
    fs,
    parent: '/',
    random: new Random(1),
    timers: {
      after: (ms, run) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
    },
    local,
    hints: new MemoryHints(replica),
    tls: null,
    log: () => undefined,
    onCoordinate: (done) => done(),
    onNotReady: () => undefined,
    onOpened: () => undefined,
    join: () => Promise.resolve(),
  });
  onClose(() => life.end());
  const port = await life.listen(0);
  onLife(life, port, replica);
  return port;
}

describe('a node whose shards still recover', () => {
  it('refuses requests of its peers at once, so that none waits until its deadline', async () => {
    const answers: object[] = [];
    const peer = new TestPeer(7, {
      onMessage: (_, message) => void answers.push(decodeMessage(message, systemClock.monotonicMs())),
    });
    const port = await listening();
    peer.transport.setAddress(SELF, `127.0.0.1:${port}`);
    await until(() => peer.transport.isConnected(SELF));
    const envelope = { generation: 3, id: 70_000, ring: 12, remainingMs: 1_800_000 };
    const tree = { session: 5, vnodes: [0], ignoreDeadBeforeMs: 0, deadlineMs: MONOTONIC_ZERO };
    expect(peer.transport.send(SELF, encodeTree(envelope, tree))).toBe(true);
    await until(
      () => answers.length > 0,
      () => 'an answer',
    );
    expect(answers).toMatchObject([
      { kind: Kind.REFUSED, generation: 3, id: 70_000, status: Status.UNAVAILABLE },
    ]);
  });

  it('knows its cluster from the ring on its disk, and refuses nodes of another with the same name', async () => {
    const clusterId = 'a'.repeat(32);
    const shape = { clusterName: 'test', clusterId, vnodes: VNODES, replicas: 1 };
    const place = { address: '127.0.0.1:1', url: '', rack: '', zone: '', weight: 1 };
    const ring = firstRing(shape, [{ number: SELF, nodeId: idOf(SELF), ...place }]);
    const port = await listening(undefined, ring);
    const stranger = new RawPeer(connect({ host: '127.0.0.1', port }));
    stranger.greet({ node: 7, nodeId: idOf(7), clusterId: 'b'.repeat(32) });
    expect(await stranger.refusal()).toMatchObject({ code: RefusalCode.CLUSTER_ID });
    const member = new TestPeer(7, { clusterId });
    member.transport.setAddress(SELF, `127.0.0.1:${port}`);
    await until(() => member.transport.isConnected(SELF));
  });
});

describe('a node that has greeted others and dies before its shards have recovered', () => {
  it('comes back as a later process of itself, whatever its clock says then', async () => {
    const fs = new SimulatedFileSystem({ seed: 1, automatic: true });
    const port = await listening(undefined, null, fs);
    const peer = await connection(port);
    const frame = peer.frames.find(({ kind }) => kind === FrameKind.HELLO);
    const { generation } = decodeHello(frame?.payload ?? Buffer.alloc(0));
    const documents = new FileDocuments(fs, '/');
    expect(nextGeneration({ documents, clock: new ManualClock(0) })).toBeGreaterThan(generation);
  });
});

describe('a node that ends in an orderly way', () => {
  it('keeps what was marked for repair in its last moments', async () => {
    const fs = new SimulatedFileSystem({ seed: 1, automatic: true });
    let life: PeerLife | null = null;
    await listening(
      (one, port) => {
        life = one;
        one.open(port, '');
      },
      null,
      fs,
    );
    const opened = life as unknown as PeerLife;
    await until(() => opened.node.ring !== null);
    for (const vnode of [2, 5]) opened.node.repairs.mark(vnode);
    await opened.end();
    const kept = new RepairBacklog(
      { clock: systemClock, documents: new FileDocuments(fs, '/'), log: () => undefined },
      VNODES,
    );
    expect([...kept.vnodes()]).toEqual(expect.arrayContaining([2, 5]));
  });
});

/** One of several connections of node 7. */
async function connection(port: number): Promise<RawPeer> {
  const raw = new RawPeer(connect({ host: '127.0.0.1', port }));
  raw.greet({ node: 7, nodeId: idOf(7), clusterId: '' });
  await until(() => raw.has(FrameKind.HELLO));
  return raw;
}

describe('a node that has two connections with another', () => {
  it('waits for nothing that it asked over the one that is lost, while the other one stands', async () => {
    let life: PeerLife | null = null;
    const port = await listening((one, itsPort) => {
      life = one;
      one.open(itsPort, '');
    });
    const opened = life as unknown as PeerLife;
    await until(() => opened.node.ring !== null);
    const stays = await connection(port);
    const lost = await connection(port);
    const answers: TreeAnswer[] = [];
    const tree = { session: 5, vnodes: [0], ignoreDeadBeforeMs: 0 };
    opened.node
      .replica(7)
      .tree(
        { ...tree, deadlineMs: deadlineIn(systemClock, 1_800_000) },
        (answer) => void answers.push(answer),
      );
    await until(
      () => lost.has(FrameKind.MESSAGES),
      () => 'the request',
    );
    lost.socket.destroy();
    await until(
      () => answers.length > 0 || stays.closed,
      () => 'an answer',
    );
    expect(stays.closed).toBe(false);
    expect(answers).toMatchObject([{ status: Status.UNAVAILABLE }]);
  });
});

describe('a node whose peer asked for a tree', () => {
  it('keeps it no longer than the connection stands', async () => {
    let own: MemoryReplica | null = null;
    let life: PeerLife | null = null;
    const port = await listening((one, itsPort, replica) => {
      own = replica;
      life = one;
      one.open(itsPort, '');
    });
    const replica = own as unknown as MemoryReplica;
    await until(() => (life as unknown as PeerLife).node.ring !== null);
    const peer = new TestPeer(7, { clusterId: '', onMessage: () => undefined });
    peer.transport.setAddress(SELF, `127.0.0.1:${port}`);
    await until(() => peer.transport.isConnected(SELF));
    const envelope = { generation: 3, id: 70_000, ring: 12, remainingMs: 1_800_000 };
    const tree = { session: 5, vnodes: [0], ignoreDeadBeforeMs: 0, deadlineMs: MONOTONIC_ZERO };
    expect(peer.transport.send(SELF, encodeTree(envelope, tree))).toBe(true);
    await until(() => replica.treeSessions === 1);
    await peer.transport.close();
    await until(() => replica.treeSessions === 0);
  });
});
