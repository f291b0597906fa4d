/** Reads of the replica as the peer worker sees it: from the memtables where they hold the record, else from the shard. */

import { afterEach, describe, expect, it } from 'vitest';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  KEYSPACE_OUTCOMES,
  KEYSPACE_USER,
  type RecordFields,
  valueAt,
  versionAt,
} from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { HintStore, ReadAnswer } from '../../src/cluster/contract.ts';
import { SharedMemtableWriter } from '../../src/ipc/memtable-writer.ts';
import { encoded, viewOf } from '../../src/shard/replica-records.ts';
import { RingReplica } from '../../src/shard/ring-replica.ts';
import { FAR_MS } from '../base/clocks.ts';
import { ManualTimers } from '../cluster/manual-timers.ts';
import { bytes, Harness, START_MS, until } from './harness.ts';

let open: Harness[] = [];
afterEach(async () => {
  await Promise.all(open.map((one) => one.close()));
  open = [];
});

const NO_HINTS: HintStore = {
  add: (_target, _write, done) =>
    done({ status: Status.OK, beat: 0, barred: false, newer: null, message: '' }),
  targets: () => new Map(),
  next: (_target, done) => done(null, null),
  postpone: () => undefined,
  discard: () => undefined,
  expire: () => [],
};

class Replicas {
  readonly harness = new Harness();
  readonly replica: RingReplica;
  readonly memtable: SharedMemtableWriter;
  constructor() {
    open.push(this.harness);
    this.replica = new RingReplica(
      this.harness.client.client,
      NO_HINTS,
      this.harness.clock,
      new ManualTimers(),
    );
    this.memtable = new SharedMemtableWriter(this.harness.memtables);
    this.memtable.activate(0);
  }

  record(key: string, value: string, more: Partial<RecordFields> = {}): RecordFields {
    const name = bytes(key);
    hashToken(name);
    return {
      tokenHi: token.hi,
      tokenLo: token.lo,
      keyspace: KEYSPACE_USER,
      key: name,
      value: bytes(value),
      version: 7,
      origin: 3,
      flags: 0,
      expiresMs: 0,
      ...more,
    };
  }
  /** Into shared memory, as the shard's engine does it. */
  append(record: RecordFields, durable: boolean): void {
    const seq = this.memtable.append(record);
    if (durable) this.memtable.setDurable(0, seq);
  }
  async read(key: string, headOnly: boolean, keyspace = KEYSPACE_USER): Promise<ReadAnswer> {
    const { tokenHi, tokenLo, key: name } = this.record(key, '');
    const answers: ReadAnswer[] = [];
    const read = { tokenHi, tokenLo, key: name, keyspace, headOnly, deadlineMs: FAR_MS };
    this.replica.read(read, (answer) => answers.push(answer));
    expect(answers, 'an answer before the call has returned').toEqual([]);
    await until(() => answers.length > 0, 'an answer');
    return answers[0] as ReadAnswer;
  }
}

describe('a read of a replica', () => {
  it('gives the durable record that a memtable holds, byte for byte, without the shard', async () => {
    const one = new Replicas();
    const record = one.record('k', 'a value');
    one.append(record, true);
    one.harness.engine.error = new Error('the shard was asked');
    const answer = await one.read('k', false);
    expect(answer).toMatchObject({ status: Status.OK, message: '' });
    expect(Buffer.compare(answer.record ?? bytes(''), encoded(record))).toBe(0);
  });

  it('gives its head with an empty value where that is asked for', async () => {
    const one = new Replicas();
    for (const key of ['k', 'of eight', 'a longer key than that']) {
      const record = one.record(key, 'a value that is no part of a head');
      one.append(record, true);
      const { record: head } = await one.read(key, true);
      expect(Buffer.compare(head ?? bytes(''), encoded({ ...record, value: bytes('') }))).toBe(0);
    }
  });

  it('gives tombstones and what has expired: they are newer than what tables hold', async () => {
    const one = new Replicas();
    const tombstone = one.record('gone', '', { flags: FLAG_TOMBSTONE });
    const expired = one.record('old', 'v', { flags: FLAG_EXPIRING, expiresMs: START_MS - 1 });
    for (const record of [tombstone, expired]) one.append(record, true);
    one.harness.engine.error = new Error('the shard was asked');
    expect((await one.read('gone', false)).record).toEqual(encoded(tombstone));
    expect((await one.read('old', false)).record).toEqual(encoded(expired));
  });

  it('gives the newest durable version, and none that could still be lost', async () => {
    const one = new Replicas();
    one.append(one.record('k', 'first', { version: 7 }), true);
    one.append(one.record('k', 'second', { version: 8 }), true);
    one.append(one.record('k', 'third', { version: 9 }), false);
    const { record } = await one.read('k', false);
    expect(versionAt(viewOf(record ?? bytes('')), 0)).toBe(8);
    expect(Buffer.from(valueAt(viewOf(record ?? bytes('')), record ?? bytes(''), 0)).toString()).toBe(
      'second',
    );
  });

  it('asks the shard for what no memtable holds, and for what is not durable there', async () => {
    const one = new Replicas();
    one.append(one.record('new', 'not durable'), false);
    const stored = one.record('stored', 'in a table');
    one.harness.engine.append(stored, null);
    one.harness.engine.commit();
    await until(() => one.harness.engine.durableSeq > 0, 'the engine to be durable');
    const answer = await one.read('stored', false);
    expect(Buffer.compare(answer.record ?? bytes(''), encoded(stored))).toBe(0);
    expect(await one.read('new', false)).toMatchObject({ status: Status.OK, record: null });
  });

  it('tells keyspaces apart', async () => {
    const one = new Replicas();
    const outcomes = one.record('k', 'outcomes', { keyspace: KEYSPACE_OUTCOMES });
    one.append(outcomes, true);
    expect((await one.read('k', false)).record).toBeNull();
    expect((await one.read('k', false, KEYSPACE_OUTCOMES)).record).toEqual(encoded(outcomes));
  });

  it('keeps the bytes it gave when more is read', async () => {
    const one = new Replicas();
    const records = Array.from({ length: 50 }, (_, i) => one.record(`k${i}`, `value ${i}`));
    for (const record of records) one.append(record, true);
    const answers = await Promise.all(records.map((_, i) => one.read(`k${i}`, i % 2 === 0)));
    for (const [i, { record }] of answers.entries()) {
      const whole = records[i] as RecordFields;
      const wanted = encoded(i % 2 === 0 ? { ...whole, value: bytes('') } : whole);
      expect(Buffer.compare(record ?? bytes(''), wanted)).toBe(0);
    }
  });
});
