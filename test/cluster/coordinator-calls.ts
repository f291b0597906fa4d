import { deadlineIn } from '../../src/base/clock.ts';
import { keyAt, valueAt } from '../../src/base/record.ts';
import { hashToken, token, vnodeOf } from '../../src/base/token.ts';
import {
  type ClientReadAnswer,
  type ClientScanAnswer,
  type ClientWrite,
  type ClientWriteAnswer,
  Consistency,
  type ConsistencyCode,
  type NodeNumber,
  type PagePlace,
} from '../../src/cluster/contract.ts';
import { isTombstone, originOf, versionOf, viewOf } from '../../src/cluster/coordinator-records.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { CoordinatorWorld, testMember, testRing, VNODES } from './coordinator-world.ts';
import { recordOf } from './records.ts';

const NONE = new Uint8Array(0);

export function tokenOf(key: string): { tokenHi: number; tokenLo: number } {
  hashToken(Buffer.from(key));
  return { tokenHi: token.hi, tokenLo: token.lo };
}
export const vnodeOfKey = (key: string): number => vnodeOf(tokenOf(key).tokenHi, VNODES);

/** Requests to a calm little cluster in virtual time, each answered when the call returns. */
export class Cluster {
  readonly world: CoordinatorWorld;
  constructor(numbers: readonly NodeNumber[] = [1, 2, 3], ring: RingMap = testRing(numbers)) {
    this.world = new CoordinatorWorld(1, numbers, ring);
    this.world.run(10);
  }

  write(
    key: string,
    value: string | null,
    more: Partial<ClientWrite> = {},
    at: NodeNumber = 1,
  ): ClientWriteAnswer {
    return this.#wait((done) => this.startWrite(key, value, more, at, done));
  }
  startWrite(
    key: string,
    value: string | null,
    more: Partial<ClientWrite>,
    at: NodeNumber,
    done: (answer: ClientWriteAnswer) => void,
  ): void {
    const node = this.world.node(at);
    const request: ClientWrite = {
      ...tokenOf(key),
      key: Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      expiresMs: 0,
      consistency: Consistency.QUORUM,
      sloppy: undefined,
      condition: 0,
      version: 0,
      idempotencyKey: NONE,
      fingerprintHi: 1,
      fingerprintLo: 2,
      deadlineMs: deadlineIn(node.clock, 1000),
      ...more,
    };
    node.coordinator.write(request, done);
  }
  read(key: string, consistency: ConsistencyCode = Consistency.QUORUM, at: NodeNumber = 1): ReadResult {
    const answer = this.#wait<ClientReadAnswer>((done) => this.startRead(key, consistency, at, done));
    const { status, record, message } = answer;
    return {
      status,
      message,
      value: record === null ? null : textOf(record),
      version: record === null ? 0 : versionOf(record),
    };
  }
  startRead(
    key: string,
    consistency: ConsistencyCode,
    at: NodeNumber,
    done: (answer: ClientReadAnswer) => void,
  ): void {
    const node = this.world.node(at);
    const deadlineMs = deadlineIn(node.clock, 1000);
    node.coordinator.read({ ...tokenOf(key), key: Buffer.from(key), consistency, deadlineMs }, done);
  }
  scan(after: PagePlace | null, recordsMax: number, prefix = '', bytesMax = 1 << 20): ClientScanAnswer {
    return this.#wait((done) => this.startScan(after, recordsMax, prefix, bytesMax, done));
  }
  startScan(
    after: PagePlace | null,
    recordsMax: number,
    prefix: string,
    bytesMax: number,
    done: (answer: ClientScanAnswer) => void,
  ): void {
    const node = this.world.node(1);
    const deadlineMs = deadlineIn(node.clock, 1000);
    const consistency = Consistency.QUORUM;
    const request = {
      after,
      prefix: Buffer.from(prefix),
      headOnly: false,
      recordsMax,
      bytesMax,
      consistency,
      deadlineMs,
    };
    node.coordinator.scan(request, done);
  }
  settle(key: string, at: NodeNumber = 1): boolean {
    const { tokenHi, tokenLo } = tokenOf(key);
    return this.#wait<boolean>((done) =>
      this.world.node(at).coordinator.settle(tokenHi, tokenLo, Buffer.from(key), done),
    );
  }

  /** Puts a record in place at one replica, whatever the rules say. */
  put(at: NodeNumber, key: string, value: string | null, version: number, origin = 9, keyspace = 0): void {
    const tombstone = value === null;
    this.world
      .node(at)
      .replica.load([recordOf({ key, value: value ?? '', tombstone, version, origin, keyspace })]);
  }
  /** What a replica holds of a key: "value@version", "-@version" of a tombstone, '' of nothing. */
  held(at: NodeNumber, key: string): string {
    const record = this.heldRecord(at, key);
    if (record === null) return '';
    return `${isTombstone(record) ? '-' : textOf(record)}@${versionOf(record)}`;
  }
  heldRecord(at: NodeNumber, key: string, keyspace = 0): Uint8Array | null {
    const { tokenHi, tokenLo } = tokenOf(key);
    return this.world.node(at).replica.held(keyspace, Buffer.from(key), tokenHi, tokenLo);
  }
  promised(at: NodeNumber, key: string): number {
    const promise = this.heldRecord(at, key, 2);
    return promise === null ? 0 : versionOf(promise);
  }
  originHeld(at: NodeNumber, key: string): number {
    const record = this.heldRecord(at, key);
    return record === null ? 0 : originOf(record);
  }
  /** Every node takes these for down. */
  down(...numbers: readonly NodeNumber[]): void {
    for (const { down } of this.world.nodes.values()) for (const number of numbers) down.add(number);
    for (const number of numbers) for (const other of this.world.nodes.keys()) this.cut(number, other);
  }
  cut(a: NodeNumber, b: NodeNumber): void {
    this.world.cut.add(`${a}>${b}`).add(`${b}>${a}`);
  }
  requests(at: NodeNumber, operation: 'read' | 'write' | 'prepare' | 'page' | 'hint'): number {
    return this.world.node(at).replica.requests.get(operation) ?? 0;
  }
  /** A version of about now. */
  nowVersion(at: NodeNumber = 1): number {
    return this.world.node(at).clock.nowUs();
  }

  #wait<A>(send: (done: (answer: A) => void) => void): A {
    const answers: A[] = [];
    send((answer) => answers.push(answer));
    if (answers.length > 0) throw new Error('an answer before the call has returned');
    this.world.run(5000, () => answers.length > 0);
    const [answer] = answers;
    if (answer === undefined) throw new Error('no answer');
    return answer;
  }
}

export interface ReadResult {
  readonly status: number;
  readonly message: string;
  readonly value: string | null;
  readonly version: number;
}
export const textOf = (record: Uint8Array): string =>
  Buffer.from(valueAt(viewOf(record), record, 0)).toString();
export const keyOf = (record: Uint8Array): string => Buffer.from(keyAt(viewOf(record), record, 0)).toString();

/** Nodes 1 to 3, and 4 that takes over every vnode's first place. */
export function joiningRing(number: number, phase: 'copying' | 'switching'): RingMap {
  const members = [1, 2, 3, 4].map(testMember);
  const owners = Uint16Array.from({ length: VNODES }, (_, vnode) => (vnode % 2 === 0 ? 3 : vnode % 3));
  return testRing([1, 2, 3], number, { kind: 'join', node: 4, by: 0, phase, members, owners });
}
