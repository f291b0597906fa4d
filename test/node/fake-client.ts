/**
 * A ShardClient over Maps: each reply comes in a later turn, in bytes that are wiped as soon as the handler
 * returns, as those of a ring are.
 */
import { MONOTONIC_ZERO } from '../../src/base/clock.ts';
import { recordBytes, writeRecord } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, shardOf, token } from '../../src/base/token.ts';
import { type LookupOutcome, MEMTABLE_DEAD, MEMTABLE_HIT, MEMTABLE_MISS } from '../../src/ipc/contract.ts';
import {
  Condition,
  type LocalRecord,
  Op,
  type ReplyHandler,
  type ShardClient,
  type ShardReply,
  type ShardRequest,
} from '../../src/shard/contract.ts';

const EMPTY = new Uint8Array(0);
interface Item {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly version: number;
  readonly expiresMs: number;
  readonly hi: number;
  readonly lo: number;
}
type Items = Map<string, Item>;
const nameOf = (key: Uint8Array): string => Buffer.from(key).toString('latin1');

const CLUSTER_METRICS = JSON.stringify({
  hints: { hintsReplayed: 5, hintBytesDamaged: 0 },
  readsFrom: { memtables: 7, recordCache: 8, missed: 9 },
});

export class FakeClient implements ShardClient {
  readonly admission = { limit: 300, inFlight: 2, bytes: 4000, refused: 17 };
  readonly localReads = { memtables: 0, recordCache: 0, missed: 0 };
  readonly vnodes = 64;
  readonly slotsMax: number;
  readonly shards: number;
  get scanSources(): number {
    return this.shards;
  }
  readonly request: ShardRequest = {
    op: Op.GET,
    tokenHi: 0,
    tokenLo: 0,
    key: EMPTY,
    value: EMPTY,
    expiresMs: 0,
    condition: Condition.NONE,
    version: 0,
    deadlineMs: MONOTONIC_ZERO,
    idempotencyKey: EMPTY,
    fingerprintHi: 0,
    fingerprintLo: 0,
    shard: 0,
    exclusive: false,
    limit: 0,
    withValues: false,
    snapshot: 0,
    consistency: 0,
    sloppy: 0,
  };
  readonly local: LocalRecord = { version: 0, expiresMs: 0, bytes: EMPTY, start: 0, length: 0 };
  /** Keys that shared memory can answer; null: deleted there. */
  readonly memory = new Map<string, Uint8Array | null>();
  readonly snapshots = new Map<number, Items>();
  /** Requests get this status where it is not OK. */
  failure: { readonly op: number; readonly shard: number; readonly status: number } | null = null;
  readonly sent: ShardRequest[] = [];
  /** Requests for data are not taken where it is not ''. */
  refusal = '';
  /** Replies wait here for `release` where it is not null, but for those of a scrape, which must see what is held. */
  held: (() => void)[] | null = null;
  /** Called before a request is carried out: another writer gets in between. */
  meanwhile: ((request: ShardRequest) => void) | null = null;
  readonly #outcomes = new Map<string, { readonly print: string; readonly answer: Partial<ShardReply> }>();
  #items: Items = new Map();
  #handler: ReplyHandler = { onReply: () => undefined };
  readonly #busy = new Set<number>();
  /** Of the last write. */
  version = 100;
  /** Whether writes are acknowledged with the help of stand-ins. */
  sloppy = false;

  constructor(shards: number, slotsMax: number) {
    this.shards = shards;
    this.slotsMax = slotsMax;
  }
  setHandler(handler: ReplyHandler): void {
    this.#handler = handler;
  }
  getLocal(_hi: number, _lo: number, key: Uint8Array): LookupOutcome {
    const value = this.memory.get(nameOf(key));
    if (value === undefined) return MEMTABLE_MISS;
    if (value === null) return MEMTABLE_DEAD;
    Object.assign(this.local, { version: 7, expiresMs: 0, bytes: value, start: 0, length: value.length });
    return MEMTABLE_HIT;
  }
  submit(): number {
    if (this.refusal !== '') return -Status.UNAVAILABLE;
    let slot = 0;
    while (this.#busy.has(slot)) slot++;
    if (slot >= this.slotsMax) return -Status.OVERLOADED;
    this.#busy.add(slot);
    const { key, value, idempotencyKey } = this.request;
    const copies = {
      key: new Uint8Array(key),
      value: new Uint8Array(value),
      idempotencyKey: idempotencyKey.slice(),
    };
    const request = { ...this.request, ...copies };
    this.sent.push(request);
    const reply = (): void => {
      if (this.#busy.delete(slot)) this.#reply(slot, this.#answer(request));
    };
    if (this.held === null || request.op === Op.STATS || request.op === Op.CLUSTER) setImmediate(reply);
    else this.held.push(reply);
    return slot;
  }
  /** Lets go of what was held back. */
  release(): void {
    const { held } = this;
    this.held = null;
    for (const reply of held ?? []) reply();
  }
  /** Another writer's write. */
  touch(key: string): void {
    const item = this.#items.get(key);
    if (item !== undefined) this.#items.set(key, { ...item, version: ++this.version });
  }
  /** What others know of a key. */
  itemOf(key: string): Item | undefined {
    return this.#items.get(key);
  }
  flush(): void {
    return;
  }
  close(): void {
    for (const slot of this.#busy) this.#reply(slot, { status: Status.UNAVAILABLE });
    this.#busy.clear();
  }

  #reply(slot: number, answer: Partial<ShardReply>): void {
    const body = answer.bytes ?? EMPTY;
    const shared = new Uint8Array(new SharedArrayBuffer(body.length + 8));
    shared.set(body, 8);
    const whole = {
      status: Status.OK,
      version: 0,
      expiresMs: 0,
      done: true,
      sloppy: false,
      tokenHi: 0,
      tokenLo: 0,
      key: EMPTY,
    };
    this.#handler.onReply(slot, { ...whole, ...answer, bytes: shared, start: 8, length: body.length });
    shared.fill(0xee);
    answer.key?.fill(0xee);
  }

  #answer(request: ShardRequest): Partial<ShardReply> {
    this.meanwhile?.(request);
    const name = nameOf(request.key);
    const current = this.#items.get(name);
    const { failure } = this;
    if (failure !== null && failure.op === request.op && failure.shard === request.shard)
      return { status: failure.status, bytes: new TextEncoder().encode('as told') };
    switch (request.op) {
      case Op.CLUSTER: {
        const asked = JSON.parse(Buffer.from(request.value).toString()) as { readonly ask?: string };
        if (asked.ask === 'metrics') return { bytes: new TextEncoder().encode(CLUSTER_METRICS) };
        return { bytes: new TextEncoder().encode(JSON.stringify({ asked })) };
      }
      case Op.GET:
        return current === undefined
          ? { status: Status.NOT_FOUND }
          : { bytes: current.value, version: current.version, expiresMs: current.expiresMs };
      case Op.PUT:
      case Op.DELETE: {
        if (request.idempotencyKey.length > 0) return this.#once(request);
        if (request.condition === Condition.EXISTS && current === undefined)
          return { status: Status.VERSION_MISMATCH, version: 0 };
        if (request.condition === Condition.VERSION && request.version !== (current?.version ?? 0))
          return { status: Status.VERSION_MISMATCH, version: current?.version ?? 0 };
        const version = ++this.version;
        const { key, value, expiresMs, tokenHi: hi, tokenLo: lo } = request;
        if (request.op === Op.DELETE) this.#items.delete(name);
        else
          this.#items.set(name, {
            key: new Uint8Array(key),
            value: new Uint8Array(value),
            version,
            expiresMs,
            hi,
            lo,
          });
        return { version, sloppy: this.sloppy };
      }
      case Op.SNAPSHOT:
        this.snapshots.set(++this.version, new Map(this.#items));
        return { version: this.version };
      case Op.RELEASE_SNAPSHOT:
        this.snapshots.delete(request.snapshot);
        return {};
      case Op.SCAN:
        return this.#page(request);
      default:
        return { bytes: new TextEncoder().encode(`{"op":${request.op},"shard":${request.shard}}`) };
    }
  }

  #once(request: ShardRequest): Partial<ShardReply> {
    const name = `${nameOf(request.idempotencyKey)}/${nameOf(request.key)}`;
    const print = `${request.fingerprintHi}/${request.fingerprintLo}`;
    const before = this.#outcomes.get(name);
    if (before !== undefined)
      return before.print === print
        ? before.answer
        : { status: Status.BAD_REQUEST, bytes: new TextEncoder().encode('another write under this key') };
    const answer = this.#answer({ ...request, idempotencyKey: EMPTY });
    this.#outcomes.set(name, { print, answer });
    return answer;
  }

  #page(request: ShardRequest): Partial<ShardReply> {
    const items = request.snapshot === 0 ? this.#items : (this.snapshots.get(request.snapshot) ?? new Map());
    const from = [request.tokenHi, request.tokenLo, nameOf(request.key)] as const;
    const all = [...(items as Items).values()]
      .filter(({ hi }) => shardOf(hi, this.vnodes, this.shards) === request.shard)
      .sort(order)
      .filter((item) => !request.exclusive || place(item, from) > 0);
    // Looks at some records only: a page may be empty and yet not the last.
    const seen = all.slice(0, Math.min(3, request.limit));
    const found = seen.filter(({ key }) => nameOf(key).startsWith(nameOf(request.value)));
    const longest = Math.max(1024, ...found.map(({ value }) => value.length));
    const bytes = new Uint8Array(found.length * recordBytes(1024, longest));
    let at = 0;
    for (const { hi, lo, key, value, version, expiresMs } of found) {
      const fields = { tokenHi: hi, tokenLo: lo, keyspace: 0, key, version, origin: 1, flags: 0, expiresMs };
      const record = { ...fields, value: request.withValues ? value : EMPTY };
      at += writeRecord(bytes, at, record);
    }
    const last = seen.at(-1);
    const done = seen.length === all.length;
    return {
      bytes: bytes.subarray(0, at),
      done,
      tokenHi: last?.hi ?? 0,
      tokenLo: last?.lo ?? 0,
      key: last?.key.slice() ?? EMPTY.slice(),
    };
  }
}

const order = (a: Item, b: Item): number => place(a, [b.hi, b.lo, nameOf(b.key)]);
function place(item: Item, [hi, lo, name]: readonly [number, number, string]): number {
  return item.hi - hi || item.lo - lo || (nameOf(item.key) < name ? -1 : nameOf(item.key) > name ? 1 : 0);
}
export const tokenOf = (key: string): number => {
  hashToken(new TextEncoder().encode(key));
  return token.hi * 2 ** 32 + token.lo;
};
