/** Answers questions about the cluster and begins changes of it (administration.ts), over a ClusterNode. Peer worker; pure. */

import { CHECKSUM_BYTES, writeChecksum } from '../base/checksum.ts';
import { type Clock, type MonotonicMs, msLeft } from '../base/clock.ts';
import { BadRequestError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  expiresMsAt,
  FLAG_TOMBSTONE,
  flagsAt,
  isDeadAt,
  KEYSPACE_USER,
  originAt,
  valueLengthAt,
  valueStartAt,
  versionAt,
} from '../base/record.ts';
import { Status } from '../base/status.ts';
import { hashToken, token, vnodeOf } from '../base/token.ts';
import type {
  ClusterChange,
  ClusterQuestion,
  ClusterStatus,
  DrainAnswer,
  KeyStatus,
  NodeStatus,
  RingStatus,
} from './administration.ts';
import { checkChange } from './change-check.ts';
import { changeWaits, repairWaits } from './change-waits.ts';
import type { ClusterNode } from './cluster-node.ts';
import { NodeFact } from './cluster-node-options.ts';
import type { MemberState, NodeNumber, Replica } from './contract.ts';
import { nodeName } from './node-name.ts';
import { comingReplicasOf, leavers, replicasOf, writeGroups } from './ring-lookup.ts';
import type { RingMap, RingMember } from './ring-map.ts';
import { TopologyFact } from './topology-facts.ts';

const HEX_DIGITS = 8;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class ClusterAnswers {
  readonly #node: ClusterNode;
  readonly #self: RingMember;
  readonly #clock: Clock;
  readonly #join: (seeds: readonly string[]) => Promise<void>;

  /** `join` takes the node, if nothing speaks against it, into the cluster of these seeds: resolves when it looks for it. */
  constructor(
    node: ClusterNode,
    self: RingMember,
    clock: Clock,
    join: (seeds: readonly string[]) => Promise<void>,
  ) {
    this.#node = node;
    this.#self = self;
    this.#clock = clock;
    this.#join = join;
  }

  /** Throws BadRequestError and UnavailableError. */
  async answer(request: ClusterQuestion | ClusterChange, deadlineMs: MonotonicMs): Promise<unknown> {
    if ('ask' in request) {
      if (request.ask === 'status') return this.#status();
      if (request.ask === 'metrics') return this.#node.metrics;
      if (request.ask === 'ring') return ringStatusOf(this.#ring(), (number) => this.#idOf(number));
      return await this.#key(new Uint8Array(Buffer.from(request.key, 'base64')), deadlineMs);
    }
    return await this.#change(request, deadlineMs);
  }

  #ring(): RingMap {
    const { ring } = this.#node;
    if (ring === null) throw new UnavailableError('this node has not found its cluster yet');
    return ring;
  }

  #status(): ClusterStatus {
    const ring = this.#ring();
    const { change } = ring;
    const { repairs } = this.#node;
    const { recordsSent, recordsReceived, resurrections } = repairs.statistics;
    const numbers = new Set([
      ...[...ring.members, ...(change?.members ?? [])].map(({ number }) => number),
      ...this.#node.members().map(({ number }) => number),
    ]);
    const counts = countsOf(ring);
    const view = {
      ring,
      isUp: (number: NodeNumber) => this.#node.membership.isUp(number),
      fact: (number: NodeNumber, name: string) => this.#node.membership.member(number)?.facts.get(name),
      idOf: (number: NodeNumber) => this.#idOf(number),
    };
    return {
      clusterName: ring.clusterName,
      clusterId: ring.clusterId,
      ring: ring.number,
      vnodes: ring.vnodes,
      replicas: ring.replicas,
      self: this.#self.nodeId,
      nodes: [...numbers].sort((a, b) => a - b).map((number) => this.#nodeStatus(number, ring, counts)),
      refusal: this.#node.standing === 'waiting' ? this.#node.topology.status().refusal : '',
      change:
        change === null
          ? null
          : {
              kind: change.kind,
              node: this.#idOf(change.node),
              by: change.by === 0 ? '' : this.#idOf(change.by),
              phase: change.phase,
              waitsFor: changeWaits(view),
            },
      repair: {
        running: repairs.running,
        vnodesWaiting: repairs.waiting,
        vnodesDone: repairs.done,
        recordsSent,
        recordsReceived,
        resurrections,
        lastEndMs: repairs.lastEndMs,
        waitsFor: repairWaits(view, repairs.vnodes()),
      },
    };
  }

  #nodeStatus(number: NodeNumber, ring: RingMap, counts: Counts): NodeStatus {
    const member = memberOf(ring, number);
    const state = this.#node.membership.member(number);
    const fact = (name: string): number => Number(state?.facts.get(name) ?? 0);
    const text = (name: string, other: string): string => String(state?.facts.get(name) ?? other);
    const zone = member?.zone ?? text(NodeFact.ZONE, '');
    const rack = member?.rack ?? text(NodeFact.RACK, '');
    const isLeaving = leavers(ring).includes(number);
    const gains = counts.gains.get(number) ?? 0;
    // What a node tells belongs to the newest ring that it has.
    const isSwitching = ring.change?.phase === 'switching';
    const isTold = gains > 0 && fact(TopologyFact.RING) >= ring.number;
    return {
      nodeId: this.#idOf(number),
      address: state?.address ?? member?.address ?? '',
      url: text(NodeFact.URL, member?.url ?? ''),
      rack: zone === '' ? rack : `${zone}/${rack}`,
      weight: member?.weight ?? fact(NodeFact.WEIGHT),
      state: stateOf(number === this.#self.number, state),
      member: member !== undefined,
      vnodes: counts.owned.get(number) ?? 0,
      replicas: counts.held.get(number) ?? 0,
      ring: fact(TopologyFact.RING),
      gains,
      gained: isSwitching ? gains : isTold ? Math.min(gains, fact(TopologyFact.PULLED_VNODES)) : 0,
      gainedBytes: isTold ? fact(TopologyFact.PULLED_BYTES) : 0,
      leaveHintBytes: isLeaving ? fact(TopologyFact.LEAVE_HINTS) : 0,
      leaveHintBytesMost: isLeaving ? fact(TopologyFact.LEAVE_HINTS_MOST) : 0,
      leaveMarks: isLeaving ? fact(TopologyFact.LEAVE_MARKS) : 0,
      leaveMarksMost: isLeaving ? fact(TopologyFact.LEAVE_MARKS_MOST) : 0,
      hintBytes: this.#node.hintBytes.get(number) ?? 0,
    };
  }

  #idOf(number: NodeNumber): string {
    const { ring } = this.#node;
    const known = ring === null ? undefined : memberOf(ring, number)?.nodeId;
    const told = this.#node.membership.member(number)?.facts.get(NodeFact.ID);
    return known ?? (typeof told === 'string' ? told : nodeName(number));
  }

  async #key(key: Uint8Array, deadlineMs: MonotonicMs): Promise<KeyStatus> {
    if (key.length === 0) throw new BadRequestError('an empty key; a key has at least 1 byte');
    const ring = this.#ring();
    hashToken(key);
    const { hi, lo } = token;
    const vnode = vnodeOf(hi, ring.vnodes);
    const nodes = [...new Set(writeGroups(ring, vnode).flat())];
    const replicas = await Promise.all(
      nodes.map((number) => this.#heldBy(number, this.#node.replica(number), { key, hi, lo, deadlineMs })),
    );
    const hex = (word: number): string => word.toString(16).padStart(HEX_DIGITS, '0');
    return { ...keyMember(key), token: hex(hi) + hex(lo), vnode, replicas };
  }

  #heldBy(
    number: NodeNumber,
    replica: Replica,
    of: {
      readonly key: Uint8Array;
      readonly hi: number;
      readonly lo: number;
      readonly deadlineMs: MonotonicMs;
    },
  ): Promise<KeyStatus['replicas'][number]> {
    const { key, hi, lo, deadlineMs } = of;
    const nodeId = this.#idOf(number);
    const read = { tokenHi: hi, tokenLo: lo, keyspace: KEYSPACE_USER, key, headOnly: false, deadlineMs };
    return new Promise((resolve) => {
      replica.read(read, ({ status, record, message }) => {
        if (status !== Status.OK) resolve({ nodeId, state: 'error', message: message || `status ${status}` });
        else if (record === null) resolve({ nodeId, state: 'absent' });
        else resolve({ nodeId, ...describe(record, this.#clock.nowMs()) });
      });
    });
  }

  async #change(request: ClusterChange, deadlineMs: MonotonicMs): Promise<unknown> {
    const node = this.#node;
    // Also where it has no ring yet.
    const isJoin = request.do === 'join';
    const change = checkChange({ ...request }, isJoin ? 0 : this.#ring().vnodes);
    switch (change.do) {
      case 'repair':
        return { vnodes: this.#repair(change.vnodes ?? null) };
      case 'drain':
        return await this.#drain(deadlineMs);
      case 'undo':
        return { warnings: await node.change({ op: 'undo' }) };
      case 'decommission': {
        const number = change.node === undefined ? this.#self.number : this.#numberOf(change.node);
        return { warnings: await node.change({ op: 'leave', node: number }) };
      }
      case 'replace': {
        const member = this.#stranger(change.by);
        return { warnings: await node.change({ op: 'replace', node: this.#numberOf(change.node), member }) };
      }
      case 'reweigh': {
        const before = memberOf(this.#ring(), this.#numberOf(change.node));
        if (before === undefined) throw new BadRequestError(`node ${change.node} is no member`);
        const { weight = before.weight, rack } = change;
        const place = rack === undefined ? {} : placeOf(rack);
        return { warnings: await node.change({ op: 'reweigh', member: { ...before, weight, ...place } }) };
      }
      case 'join':
        await this.#join(change.seeds);
        return { warnings: [] };
    }
  }

  #repair(vnodes: readonly number[] | null): number {
    const taken = this.#node.repairs.request(vnodes);
    if (taken > 0) return taken;
    const what = vnodes === null ? 'no vnodes' : 'none of the vnodes that are asked for';
    throw new BadRequestError(
      `node ${nodeName(this.#self.number)} holds ${what}: ask one that does (ringkv ring shows which)`,
    );
  }

  /** Waits for hints as long as whoever asks does. Asked again, it waits on. */
  async #drain(deadlineMs: MonotonicMs): Promise<DrainAnswer> {
    const waitMs = msLeft(deadlineMs, this.#clock.monotonicMs()) - limits.drainAnswerMs;
    const { hints, unsettled } = await this.#node.drain(Math.max(0, waitMs));
    const warnings = hints.map(({ target, bytes, isDeliverable }) => {
      const what = `${bytes} bytes of hints for node ${this.#idOf(target)}`;
      if (isDeliverable) return `${what} are not handed out yet`;
      const hours = limits.hintAgeMsMax / 3_600_000;
      return `${what} stay here: it is away. They are handed out when both run within ${hours} hours; otherwise its vnodes are repaired`;
    });
    if (unsettled > 0)
      warnings.push(`${unsettled} acknowledged writes wait for a replica that is slow, or for their hints`);
    const hintBytes = hints.reduce((sum, { bytes, isDeliverable }) => sum + (isDeliverable ? bytes : 0), 0);
    return { warnings, hintBytes, unsettled };
  }

  /** A node by its id or as many first digits as tell it from the others. */
  #numberOf(text: string): NodeNumber {
    const all = new Map<string, NodeNumber>();
    const ring = this.#ring();
    for (const { number } of [...ring.members, ...this.#node.members()]) all.set(this.#idOf(number), number);
    const wanted = String(text).toLowerCase();
    const found = [...all].filter(([id]) => wanted !== '' && id.startsWith(wanted));
    if (found.length === 1) return (found[0] as [string, NodeNumber])[1];
    throw new BadRequestError(
      found.length === 0
        ? `no node has an id that begins with ${JSON.stringify(text)}`
        : `${found.length} nodes have an id that begins with ${JSON.stringify(text)}`,
    );
  }

  /** A node that gossip knows, as the member it is to become. */
  #stranger(text: string): RingMember {
    const number = this.#numberOf(text);
    const state = this.#node.membership.member(number);
    if (state === undefined || memberOf(this.#ring(), number) !== undefined)
      throw new BadRequestError(`node ${text} is a member already`);
    const told = (name: string, other: string): string => String(state.facts.get(name) ?? other);
    return {
      number,
      nodeId: told(NodeFact.ID, ''),
      address: state.address,
      url: told(NodeFact.URL, ''),
      rack: told(NodeFact.RACK, 'default'),
      zone: told(NodeFact.ZONE, ''),
      weight: 1,
    };
  }
}

/** RACK or ZONE/RACK. */
export function placeOf(rack: string): { readonly rack: string; readonly zone: string } {
  const slash = rack.indexOf('/');
  return slash < 0 ? { rack, zone: '' } : { zone: rack.slice(0, slash), rack: rack.slice(slash + 1) };
}

const memberOf = (ring: RingMap, node: NodeNumber): RingMember | undefined =>
  ring.members.find(({ number }) => number === node) ??
  ring.change?.members.find(({ number }) => number === node);

function stateOf(isSelf: boolean, state: MemberState | undefined): NodeStatus['state'] {
  if (state?.facts.get(NodeFact.DRAINING) === 1) return 'draining';
  return isSelf ? 'up' : (state?.liveness ?? 'unknown');
}

interface Counts {
  readonly owned: ReadonlyMap<NodeNumber, number>;
  readonly held: ReadonlyMap<NodeNumber, number>;
  /** Vnodes of which they get a replica by the change under way. */
  readonly gains: ReadonlyMap<NodeNumber, number>;
}
function countsOf(ring: RingMap): Counts {
  const owned = new Map<NodeNumber, number>();
  const held = new Map<NodeNumber, number>();
  const gains = new Map<NodeNumber, number>();
  for (let vnode = 0; vnode < ring.vnodes; vnode++) {
    const replicas = replicasOf(ring, vnode);
    for (const [i, node] of replicas.entries()) {
      if (i === 0) owned.set(node, (owned.get(node) ?? 0) + 1);
      held.set(node, (held.get(node) ?? 0) + 1);
    }
    for (const node of comingReplicasOf(ring, vnode))
      if (!replicas.includes(node)) gains.set(node, (gains.get(node) ?? 0) + 1);
  }
  return { owned, held, gains };
}

function ringStatusOf(ring: RingMap, idOf: (number: NodeNumber) => string): RingStatus {
  const ranges: { first: number; last: number; nodes: string[] }[] = [];
  for (let vnode = 0; vnode < ring.vnodes; vnode++) {
    const nodes = replicasOf(ring, vnode).map(idOf);
    const before = ranges.at(-1);
    if (before !== undefined && before.nodes.join() === nodes.join()) before.last = vnode;
    else ranges.push({ first: vnode, last: vnode, nodes });
  }
  return { ring: ring.number, vnodes: ring.vnodes, replicas: ring.replicas, ranges };
}

function keyMember(key: Uint8Array): { readonly key: string } | { readonly keyBase64: string } {
  try {
    return { key: decoder.decode(key) };
  } catch {
    return { keyBase64: Buffer.from(key).toString('base64') };
  }
}

function describe(record: Uint8Array, nowMs: number): Omit<KeyStatus['replicas'][number], 'nodeId'> {
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  const start = valueStartAt(view, 0);
  const length = valueLengthAt(view, 0);
  const digest = new Uint8Array(CHECKSUM_BYTES);
  writeChecksum(record, start, start + length, digest, 0);
  const isTombstone = (flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0;
  const expiresMs = expiresMsAt(view, 0);
  return {
    state: isTombstone ? 'tombstone' : isDeadAt(view, 0, nowMs) ? 'expired' : 'live',
    version: versionAt(view, 0),
    origin: originAt(view, 0),
    bytes: length,
    checksum: Buffer.from(digest).toString('hex'),
    ...(expiresMs === 0 ? {} : { expiresMs }),
  };
}
