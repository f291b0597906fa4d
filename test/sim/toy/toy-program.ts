/**
 * The smallest store that keeps the promises of docs/decisions/0009-replication.md, for a fixed set of nodes: the
 * simulator proves itself on it. Messages are JSON, nothing is fast, and there are no hints, trees or topology changes.
 */
import { HybridClock } from '../../../src/base/clock.ts';
import {
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  isDeadAt,
  KEYSPACE_USER,
  keyAt,
  type RecordFields,
  recordBytes,
  valueAt,
  writeRecord,
} from '../../../src/base/record.ts';
import { PeerStatus, Status } from '../../../src/base/status.ts';
import { hashToken, token } from '../../../src/base/token.ts';
import {
  type ClientRead,
  type ClientReadAnswer,
  type ClientScan,
  type ClientScanAnswer,
  type ClientWrite,
  type ClientWriteAnswer,
  Consistency,
  type ConsistencyCode,
  type Network,
  type NodeNumber,
  WriteMode,
} from '../../../src/cluster/contract.ts';
import { quorumOf } from '../../../src/cluster/ring-lookup.ts';
import { Condition } from '../../../src/shard/contract.ts';
import type { HeldRecord, Program, ProgramHost } from '../program.ts';
import { isNewer, isTombstone, type ToyAnswer, ToyReplica, versionOf, viewOf } from './toy-replica.ts';

interface Ask {
  readonly kind: 'write' | 'read' | 'prepare';
  readonly id: number;
  readonly key?: string;
  readonly record?: string;
  readonly mode?: 1 | 2;
  readonly version?: number;
  readonly origin?: number;
}
interface Tell {
  readonly kind: 'tell';
  readonly id: number;
  readonly status: number;
  readonly beat: number;
  readonly record: string | null;
}
/** What a replica said, and which. */
interface Heard extends ToyAnswer {
  readonly from: NodeNumber;
}

const ANSWER_MS_MAX = 400;
const RETRY_MS_MAX = 20;
const EXCHANGE_MS = 150;
const NOTHING = new Uint8Array(0);

export class ToyProgram implements Program {
  readonly ring = null;
  readonly #host: ProgramHost;
  readonly #network: Network;
  readonly #replica: ToyReplica;
  readonly #clock: HybridClock;
  readonly #nodes: readonly NodeNumber[];
  readonly #asked = new Map<number, (answer: ToyAnswer) => void>();
  #id = 0;

  static start(host: ProgramHost): Promise<Program> {
    return Promise.resolve(new ToyProgram(host));
  }

  constructor(host: ProgramHost) {
    this.#host = host;
    this.#replica = new ToyReplica(host);
    this.#clock = new HybridClock(host.clock);
    this.#network = host.attach((from, message) => this.#onMessage(from, message));
    for (const { number, address } of host.role.founders) this.#network.setAddress(number, address);
    this.#nodes = host.role.founders.map(({ number }) => number);
    for (const record of this.#replica.records()) this.#clock.observe(versionOf(record));
    host.life.after(EXCHANGE_MS, () => this.#exchange());
  }

  write(request: ClientWrite, done: (answer: ClientWriteAnswer) => void): void {
    const end = (status: number, version: number): void =>
      done({ status, version, sloppy: false, message: '' });
    if (request.consistency === Consistency.SERIAL || request.condition !== Condition.NONE)
      this.#serialWrite(request, end);
    else this.#plainWrite(request, end);
  }
  read(request: ClientRead, done: (answer: ClientReadAnswer) => void): void {
    const end = (status: number, record: Uint8Array | null): void => {
      const isLive = record !== null && !isDeadAt(viewOf(record), 0, this.#host.clock.nowMs());
      done({ status, record: isLive ? record : null, message: '' });
    };
    const key = Buffer.from(request.key).toString();
    if (request.consistency === Consistency.SERIAL) this.#serialRead(key, request.deadlineMs, end);
    else this.#plainRead(key, request.consistency, request.deadlineMs, end);
  }
  scan(_request: ClientScan, done: (answer: ClientScanAnswer) => void): void {
    const answer = { status: Status.UNAVAILABLE, records: NOTHING, next: null, message: 'no scans' };
    this.#host.life.after(0, () => done(answer));
  }
  dump(done: (records: readonly HeldRecord[]) => void): void {
    done(
      this.#replica.records().map((record) => ({
        keyspace: KEYSPACE_USER,
        key: Buffer.from(keyAt(viewOf(record), record, 0)).toString(),
        record,
      })),
    );
  }
  stop(): Promise<void> {
    return Promise.resolve();
  }

  // Plain reads and writes.

  #plainWrite(request: ClientWrite, end: (status: number, version: number) => void): void {
    const version = this.#clock.next();
    const record = this.#recordOf(request, version);
    this.#gather(
      { kind: 'write', record: hex(record), mode: WriteMode.FRESH },
      this.#needed(request.consistency),
      (heard, isEnough) => {
        if (isEnough) return end(Status.OK, version);
        this.#again(
          heard,
          request.deadlineMs,
          () => this.#plainWrite(request, end),
          () => end(Status.TIMEOUT, 0),
        );
      },
    );
  }

  #plainRead(
    key: string,
    level: ConsistencyCode,
    deadlineMs: number,
    end: (status: number, record: Uint8Array | null) => void,
  ): void {
    this.#gather({ kind: 'read', key }, this.#needed(level), (heard, isEnough) => {
      if (!isEnough) return end(Status.TIMEOUT, null);
      const newest = newestOf(heard);
      if (newest === null || level === Consistency.ONE) return end(Status.OK, newest);
      this.#clock.observe(versionOf(newest));
      const stale = heard.filter(({ record }) => isNewer(newest, record)).map(({ from }) => from);
      if (stale.length === 0 || this.#host.defect === 'drop-read-repair') return end(Status.OK, newest);
      const repair = { kind: 'write', record: hex(newest), mode: WriteMode.MERGE } as const;
      this.#gather(
        repair,
        stale.length,
        (_, isRepaired) => {
          if (isRepaired) end(Status.OK, newest);
          else this.#serialRead(key, deadlineMs, end);
        },
        stale,
      );
    });
  }

  // Paxos.

  #serialRead(
    key: string,
    deadlineMs: number,
    end: (status: number, record: Uint8Array | null) => void,
  ): void {
    const again = (heard: readonly Heard[]): void =>
      this.#again(
        heard,
        deadlineMs,
        () => this.#serialRead(key, deadlineMs, end),
        () => end(Status.TIMEOUT, null),
      );
    this.#prepare(key, (version, heard, isEnough) => {
      if (!isEnough) return again(heard);
      const newest = newestOf(heard);
      if (newest === null || isHeldByQuorum(heard, newest, this.#nodes.length)) return end(Status.OK, newest);
      const record = this.#withVersion(newest, version);
      this.#accept(record, (answers, isAccepted) => {
        if (isAccepted) end(Status.OK, record);
        else again(answers);
      });
    });
  }

  #serialWrite(request: ClientWrite, end: (status: number, version: number) => void, tried = 0): void {
    const key = Buffer.from(request.key).toString();
    this.#prepare(key, (version, heard, isEnough) => {
      const again = (answers: readonly Heard[], attempted: number): void =>
        this.#again(
          answers,
          request.deadlineMs,
          () => this.#serialWrite(request, end, attempted),
          () => end(Status.TIMEOUT, 0),
        );
      if (!isEnough) return again(heard, tried);
      const newest = newestOf(heard);
      const held = versionOf(newest);
      // An earlier attempt may have been accepted by some, or been carried on by others.
      if (tried > 0 && held >= tried) return end(Status.TIMEOUT, 0);
      const isLive = newest !== null && !isDeadAt(viewOf(newest), 0, this.#host.clock.nowMs());
      const current = isLive ? held : 0;
      const isMet =
        request.condition === Condition.VERSION
          ? current === request.version
          : request.condition !== Condition.EXISTS || isLive;
      if (!isMet) {
        if (newest === null || isHeldByQuorum(heard, newest, this.#nodes.length))
          return end(tried > 0 ? Status.TIMEOUT : Status.VERSION_MISMATCH, current);
        this.#accept(this.#withVersion(newest, version), (answers, isAccepted) => {
          if (isAccepted) end(tried > 0 ? Status.TIMEOUT : Status.VERSION_MISMATCH, isLive ? version : 0);
          else again(answers, tried);
        });
        return;
      }
      this.#accept(this.#recordOf(request, version), (answers, isAccepted) => {
        if (isAccepted) end(Status.OK, version);
        else again(answers, tried === 0 ? version : tried);
      });
    });
  }

  #prepare(key: string, done: (version: number, heard: readonly Heard[], isEnough: boolean) => void): void {
    const version = this.#clock.next();
    this.#gather(
      { kind: 'prepare', key, version, origin: this.#host.self },
      this.#needed(Consistency.QUORUM),
      (heard, isEnough) => done(version, heard, isEnough),
    );
  }
  #accept(record: Uint8Array, done: (heard: readonly Heard[], isAccepted: boolean) => void): void {
    const accept = { kind: 'write', record: hex(record), mode: WriteMode.FRESH } as const;
    this.#gather(accept, this.#needed(Consistency.QUORUM), done);
  }

  /** Once more, above all that stood in the way, unless the deadline has passed. */
  #again(heard: readonly Heard[], deadlineMs: number, run: () => void, giveUp: () => void): void {
    for (const { beat, record } of heard) this.#clock.observe(Math.max(beat, versionOf(record)));
    if (this.#host.clock.nowMs() > deadlineMs) giveUp();
    else this.#host.life.after(1 + this.#host.random.below(RETRY_MS_MAX), run);
  }

  #needed(level: ConsistencyCode): number {
    if (level === Consistency.ONE) return 1;
    return level === Consistency.ALL ? this.#nodes.length : quorumOf(this.#nodes.length);
  }

  /** Each node gives some other one all that it holds. */
  #exchange(): void {
    const { random, life, self } = this.#host;
    const others = this.#nodes.filter((node) => node !== self);
    const peer = random.pick(others);
    for (const record of this.#replica.records())
      this.#ask(peer, { kind: 'write', record: hex(record), mode: WriteMode.MERGE }, ({ status }) => {
        // A promise bars it: Paxos finishes what it stands before.
        if (status === PeerStatus.STALE_VERSION)
          this.#serialRead(keyText(record), this.#host.clock.nowMs(), () => undefined);
      });
    life.after(EXCHANGE_MS, () => this.#exchange());
  }

  // Asking replicas.

  /** Asks nodes and waits until `needed` have agreed, or cannot any more. Tells who has (all answers where not enough). */
  #gather(
    ask: Omit<Ask, 'id'>,
    needed: number,
    done: (heard: readonly Heard[], isEnough: boolean) => void,
    nodes = this.#nodes,
  ): void {
    const agreed: Heard[] = [];
    const refused: Heard[] = [];
    let isOpen = true;
    for (const from of nodes)
      this.#ask(from, ask, (answer) => {
        if (!isOpen) return;
        (answer.status === Status.OK ? agreed : refused).push({ from, ...answer });
        if (agreed.length >= needed) {
          isOpen = false;
          done(agreed, true);
        } else if (refused.length > nodes.length - needed) {
          isOpen = false;
          done([...agreed, ...refused], false);
        }
      });
  }

  #ask(node: NodeNumber, ask: Omit<Ask, 'id'>, done: (answer: ToyAnswer) => void): void {
    const { life, self } = this.#host;
    const id = ++this.#id;
    if (node === self) {
      life.after(0, () => this.#serve({ ...ask, id }, done));
      return;
    }
    const giveUp = life.after(ANSWER_MS_MAX, () => {
      this.#asked.delete(id);
      done({ status: Status.TIMEOUT, beat: 0, record: null });
    });
    this.#asked.set(id, (answer) => {
      giveUp();
      this.#asked.delete(id);
      done(answer);
    });
    this.#network.send(node, Buffer.from(JSON.stringify({ ...ask, id })));
  }

  #onMessage(from: NodeNumber, bytes: Uint8Array): void {
    const message = JSON.parse(Buffer.from(bytes).toString()) as Ask | Tell;
    if (message.kind === 'tell') {
      const { status, beat, record } = message;
      this.#asked.get(message.id)?.({ status, beat, record: record === null ? null : unhex(record) });
      return;
    }
    this.#serve(message, ({ status, beat, record }) => {
      const tell: Tell = {
        kind: 'tell',
        id: message.id,
        status,
        beat,
        record: record === null ? null : hex(record),
      };
      this.#network.send(from, Buffer.from(JSON.stringify(tell)));
    });
  }

  #serve(
    { kind, key = '', record = '', mode = 1, version = 0, origin = 0 }: Ask,
    done: (answer: ToyAnswer) => void,
  ) {
    if (kind === 'read') this.#replica.read(key, done);
    else if (kind === 'prepare') this.#replica.prepare(key, { version, origin }, done);
    else this.#replica.write(unhex(record), mode, done);
  }

  #recordOf(request: ClientWrite, version: number): Uint8Array {
    const { tokenHi, tokenLo, key, value, expiresMs } = request;
    const flags = (value === null ? FLAG_TOMBSTONE : 0) | (expiresMs > 0 ? FLAG_EXPIRING : 0);
    const fields = { tokenHi, tokenLo, keyspace: KEYSPACE_USER, key, value: value ?? NOTHING, version };
    return encoded({ ...fields, origin: this.#host.self, flags, expiresMs });
  }
  #withVersion(record: Uint8Array, version: number): Uint8Array {
    const view = viewOf(record);
    const key = keyAt(view, record, 0);
    hashToken(key);
    return encoded({
      tokenHi: token.hi,
      tokenLo: token.lo,
      keyspace: KEYSPACE_USER,
      key,
      value: isTombstone(record) ? NOTHING : valueAt(view, record, 0),
      version,
      origin: this.#host.self,
      flags: flagsAt(view, 0),
      expiresMs: expiresMsAt(view, 0),
    });
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const keyText = (record: Uint8Array): string => Buffer.from(keyAt(viewOf(record), record, 0)).toString();

function encoded(fields: RecordFields): Uint8Array {
  const bytes = new Uint8Array(recordBytes(fields.key.length, fields.value.length));
  writeRecord(viewOf(bytes), bytes, 0, fields);
  return bytes;
}
function newestOf(heard: readonly Heard[]): Uint8Array | null {
  let newest: Uint8Array | null = null;
  for (const { record } of heard) if (record !== null && isNewer(record, newest)) newest = record;
  return newest;
}
function isHeldByQuorum(heard: readonly Heard[], newest: Uint8Array, nodes: number): boolean {
  const holders = heard.filter(({ record }) => record !== null && Buffer.compare(record, newest) === 0);
  return holders.length >= quorumOf(nodes);
}
