/**
 * The replica of this node for the peer worker: every call becomes requests to the shards' rings, and their answers. Owned by the
 * peer worker's thread. Vnode v lies in shard v mod S: what concerns one key goes to one shard, a page goes through the
 * vnodes of its range one after another, a tree is asked of each shard for its own vnodes. What the shards' memtables and
 * record caches hold is read in shared memory, as front ends of a node that is alone do.
 */
import { type Clock, deadlineIn, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { recordBytesAt, tokenHiIn } from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { shardOf, vnodeOf } from '../base/token.ts';
import type {
  HintStore,
  LocalReplica,
  NodeNumber,
  PageAnswer,
  PrepareAnswer,
  ReadAnswer,
  ReplicaPage,
  ReplicaPrepare,
  ReplicaRead,
  ReplicaTree,
  ReplicaTreeNodes,
  ReplicaWrite,
  Timers,
  TreeAnswer,
  TreeNodesAnswer,
  WriteAnswer,
} from '../cluster/contract.ts';
import {
  Condition,
  type ConditionCode,
  type LocalReads,
  Op,
  type OpCode,
  type ShardReply,
  type ShardRequest,
  Sloppy,
} from './contract.ts';
import { type Horizon, PurgeDelivery } from './purge-delivery.ts';
import { decodeReplicaReply, type PageQuery, type ReplicaReply } from './replica-protocol.ts';
import { copyOf } from './replica-records.ts';
import type { RingShardClient } from './shard-client.ts';

const NO_BYTES = new Uint8Array(0);
const TWO_32 = 0x1_0000_0000;

interface FoundRead {
  readonly done: (answer: ReadAnswer) => void;
  readonly answer: ReadAnswer;
}
type OnReply = (status: number, reply: ReplicaReply | null, message: string) => void;

export class RingReplica implements LocalReplica {
  readonly #client: RingShardClient;
  readonly #hints: HintStore;
  readonly #clock: Clock;
  readonly #horizons: PurgeDelivery;
  readonly #waiting: (OnReply | null)[];
  readonly #resurrections: number[];
  /** Reads that were answered from memory, for the next microtask. */
  #found: FoundRead[] = [];

  /** Takes over the client's handler. */
  constructor(client: RingShardClient, hints: HintStore, clock: Clock, timers: Timers) {
    this.#client = client;
    this.#hints = hints;
    this.#clock = clock;
    this.#horizons = new PurgeDelivery(client.vnodes, client.shards, timers, (shard, horizons, done) =>
      this.#sendHorizons(shard, horizons, done),
    );
    this.#waiting = new Array<null>(client.slotsMax).fill(null);
    this.#resurrections = new Array<number>(client.shards).fill(0);
    client.setHandler({ onReply: (slot, reply) => this.#take(slot, reply) });
  }

  get readsFrom(): Readonly<LocalReads> {
    return this.#client.localReads;
  }
  get resurrections(): number {
    return this.#resurrections.reduce((sum, count) => sum + count, 0);
  }

  write({ record, also, mode, deadlineMs }: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const request = this.#blank(Op.REPLICA_WRITE, deadlineMs);
    request.shard = this.#shardOf(tokenHiIn(record));
    request.value = also === null ? record : Buffer.concat([record, also]);
    request.limit = record.length;
    request.condition = mode as ConditionCode;
    this.#send((status, reply, message) =>
      done({
        status,
        beat: reply?.number ?? 0,
        barred: reply?.barred ?? false,
        newer: bytesOrNull(reply?.first),
        message,
      }),
    );
  }

  /**
   * Most reads end here, without the shard: what is visible in shared memory is durable, and any write that was answered
   * before is visible. One that is not durable yet the shard would wait for; a reader may as well come before it.
   */
  read(read: ReplicaRead, done: (answer: ReadAnswer) => void): void {
    const found = this.#client.inMemory(read.keyspace, read.tokenHi, read.tokenLo, read.key);
    if (found !== null) {
      this.#answerSoon(done, copyOf(found.view, found.bytes, read.headOnly));
      return;
    }
    const request = this.#blank(Op.REPLICA_READ, read.deadlineMs);
    request.shard = this.#shardOf(read.tokenHi);
    request.tokenHi = read.tokenHi;
    request.tokenLo = read.tokenLo;
    request.key = read.key;
    request.snapshot = read.keyspace;
    request.withValues = !read.headOnly;
    this.#send((status, reply, message) => done({ status, record: bytesOrNull(reply?.first), message }));
  }

  prepare(prepare: ReplicaPrepare, done: (answer: PrepareAnswer) => void): void {
    const request = this.#blank(Op.PREPARE, prepare.deadlineMs);
    request.shard = this.#shardOf(prepare.tokenHi);
    request.tokenHi = prepare.tokenHi;
    request.tokenLo = prepare.tokenLo;
    request.key = prepare.key;
    request.version = prepare.ballot.version;
    request.snapshot = prepare.ballot.origin;
    this.#send((status, reply, message) =>
      done({
        status,
        beat: reply?.number ?? 0,
        record: bytesOrNull(reply?.first),
        outcomes: bytesOrNull(reply?.last),
        message,
      }),
    );
  }

  /** From the vnode where the page starts, and on through the next ones while there is room. */
  page(page: ReplicaPage, done: (answer: PageAnswer) => void): void {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    let records = 0;
    const finish = (status: number, next: PageAnswer['next'], message: string): void =>
      done({ status, records: status === Status.OK ? Buffer.concat(parts) : NO_BYTES, next, message });
    const ask = (vnode: number, after: ReplicaPage['after']): void => {
      const width = TWO_32 / this.#client.vnodes;
      const startHi = vnode * width;
      const isFirst = startHi <= page.firstHi;
      const isLast = (vnode + 1) * width > page.lastHi;
      const within: ReplicaPage = {
        ...page,
        firstHi: isFirst ? page.firstHi : startHi,
        firstLo: isFirst ? page.firstLo : 0,
        lastHi: isLast ? page.lastHi : (vnode + 1) * width - 1,
        lastLo: isLast ? page.lastLo : TWO_32 - 1,
        after,
        recordsMax: page.recordsMax - records,
        bytesMax: page.bytesMax - bytes,
      };
      this.#askJson(
        Op.PAGE,
        vnode % this.#client.shards,
        queryOf(within),
        page.deadlineMs,
        (status, reply, message) => {
          if (status !== Status.OK || reply === null) {
            finish(status, null, message);
            return;
          }
          parts.push(reply.first);
          bytes += reply.first.length;
          records += countRecords(reply.first);
          const isFull = records >= page.recordsMax || bytes >= page.bytesMax;
          if (reply.place === null && !isLast && !isFull) ask(vnode + 1, null);
          else if (reply.place === null && !isLast)
            // The place before all of the next vnode: no record has an empty key.
            finish(status, { tokenHi: (vnode + 1) * width, tokenLo: 0, keyspace: 0, key: NO_BYTES }, '');
          else finish(status, reply.place, '');
        },
      );
    };
    ask(vnodeOf(page.after?.tokenHi ?? page.firstHi, this.#client.vnodes), page.after);
  }

  tree(tree: ReplicaTree, done: (answer: TreeAnswer) => void): void {
    const { shards } = this.#client;
    const groups = Array.from({ length: shards }, (_, shard) =>
      tree.vnodes.filter((vnode) => vnode % shards === shard),
    );
    let left = groups.filter((vnodes) => vnodes.length > 0).length;
    let worst = { status: Status.OK as number, message: '' };
    let records = 0;
    let ignoredDeadBeforeMs = tree.ignoreDeadBeforeMs;
    if (left === 0) queueMicrotask(() => done({ ...worst, records, ignoredDeadBeforeMs }));
    for (const [shard, vnodes] of groups.entries()) {
      if (vnodes.length === 0) continue;
      this.#askJson(Op.TREE, shard, { ...tree, vnodes }, tree.deadlineMs, (status, reply, message) => {
        if (status !== Status.OK) worst = { status, message };
        records += reply?.number ?? 0;
        ignoredDeadBeforeMs = Math.max(ignoredDeadBeforeMs, reply?.second ?? 0);
        if (--left === 0) done({ ...worst, records, ignoredDeadBeforeMs });
      });
    }
  }

  treeNodes(nodes: ReplicaTreeNodes, done: (answer: TreeNodesAnswer) => void): void {
    const shard = nodes.vnode % this.#client.shards;
    this.#askJson(Op.TREE_NODES, shard, nodes, this.#soonMs(), (status, reply, message) =>
      done({ status, hashes: reply?.first ?? NO_BYTES, message }),
    );
  }
  endTree(session: number): void {
    for (let shard = 0; shard < this.#client.shards; shard++)
      this.#askJson(Op.END_TREE, shard, { session }, this.#soonMs(), () => undefined);
  }

  /** Delivered behind the call, sooner or later: until then a shard purges by the horizon before, or by none after a restart. */
  setPurgeBefore(vnode: number, version: number): void {
    this.#horizons.set(vnode, version);
  }
  /** The client was attached to a shard that has just been started, or started again. */
  attached(shard: number): void {
    this.#horizons.attached(shard);
  }
  /** The client is about to be closed. */
  close(): void {
    this.#horizons.close();
  }
  #sendHorizons(shard: number, horizons: readonly Horizon[], done: (taken: boolean) => void): void {
    // JSON has no Infinity.
    const list = horizons.map(({ vnode, version }) => ({
      vnode,
      version: Number.isFinite(version) ? version : null,
    }));
    this.#askJson(Op.SET_PURGE, shard, list, this.#soonMs(), (_, reply) => {
      if (reply !== null) this.#resurrections[shard] = reply.number;
      done(reply !== null);
    });
  }

  hint(target: NodeNumber, request: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    this.#hints.add(target, request, done);
  }

  /** All that was found in one callback of the event loop is answered in one microtask behind it. */
  #answerSoon(done: (answer: ReadAnswer) => void, record: Uint8Array): void {
    if (this.#found.length === 0) queueMicrotask(this.#handOutFound);
    this.#found.push({ done, answer: { status: Status.OK, record, message: '' } });
  }
  readonly #handOutFound = (): void => {
    const found = this.#found;
    this.#found = [];
    for (const { done, answer } of found) done(answer);
  };

  #soonMs(): MonotonicMs {
    return deadlineIn(this.#clock, limits.requestTimeoutMsMax);
  }
  #shardOf(tokenHi: number): number {
    const { vnodes, shards } = this.#client;
    return shardOf(tokenHi, vnodes, shards);
  }

  #askJson(op: OpCode, shard: number, query: object, deadlineMs: MonotonicMs, done: OnReply): void {
    const request = this.#blank(op, deadlineMs);
    request.shard = shard;
    request.value = Buffer.from(JSON.stringify(query));
    this.#send(done);
  }

  #blank(op: OpCode, deadlineMs: MonotonicMs): ShardRequest {
    const { request } = this.#client;
    request.op = op;
    request.tokenHi = 0;
    request.tokenLo = 0;
    request.key = NO_BYTES;
    request.value = NO_BYTES;
    request.expiresMs = 0;
    request.condition = Condition.NONE;
    request.version = 0;
    request.deadlineMs = deadlineMs;
    request.idempotencyKey = NO_BYTES;
    request.fingerprintHi = 0;
    request.fingerprintLo = 0;
    request.shard = 0;
    request.exclusive = false;
    request.limit = 0;
    request.withValues = false;
    request.snapshot = 0;
    request.consistency = 0;
    request.sloppy = Sloppy.UNSAID;
    return request;
  }

  #send(done: OnReply): void {
    const slot = this.#client.submit();
    if (slot < 0)
      queueMicrotask(() => done(-slot, null, 'the shard takes no more requests; nothing was done'));
    else this.#waiting[slot] = done;
  }

  #take(slot: number, { status, bytes, start, length }: ShardReply): void {
    const done = this.#waiting[slot] ?? null;
    this.#waiting[slot] = null;
    if (done === null) return;
    const hasBody = status === Status.OK || status === PeerStatus.STALE_VERSION;
    if (hasBody) done(status, decodeReplicaReply(bytes, start, length), '');
    else done(status, null, Buffer.from(bytes.subarray(start, start + length)).toString());
  }
}

const bytesOrNull = (bytes: Uint8Array | undefined): Uint8Array | null =>
  bytes === undefined || bytes.length === 0 ? null : bytes;

function queryOf({ after, prefix, deadlineMs: _, ...page }: ReplicaPage): PageQuery {
  const place =
    after === null
      ? null
      : {
          hi: after.tokenHi,
          lo: after.tokenLo,
          keyspace: after.keyspace,
          key: Buffer.from(after.key).toString('base64'),
        };
  return { ...page, after: place, prefix: Buffer.from(prefix).toString('base64') };
}

function countRecords(records: Uint8Array): number {
  const view = new DataView(records.buffer, records.byteOffset, records.length);
  let count = 0;
  for (let at = 0; at < records.length; at += recordBytesAt(view, at)) count++;
  return count;
}
