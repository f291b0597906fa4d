import { describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { KEYSPACE_OUTCOMES } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { type ClientWrite, type ClientWriteAnswer, Consistency } from '../../src/cluster/contract.ts';
import { writeGroups } from '../../src/cluster/ring-lookup.ts';
import { Condition } from '../../src/shard/contract.ts';
import { Cluster, joiningRing, tokenOf, vnodeOfKey } from './coordinator-calls.ts';
import { testRing } from './coordinator-world.ts';

const { ALL, SERIAL, QUORUM } = Consistency;
const ifVersion = (version: number): Partial<ClientWrite> => ({ condition: Condition.VERSION, version });
const named = (name: string, fingerprintHi = 1): Partial<ClientWrite> => ({
  idempotencyKey: Buffer.from(name),
  fingerprintHi,
});

describe('SERIAL', () => {
  it('writes where the condition holds, and tells the current version where it does not', () => {
    const cluster = new Cluster();
    const first = cluster.write('k', 'a', ifVersion(0));
    expect(first.status).toBe(Status.OK);
    expect(cluster.write('k', 'b', ifVersion(0), 2)).toMatchObject({
      status: Status.VERSION_MISMATCH,
      version: first.version,
      message: `the version is ${first.version}, and the key must be absent; nothing was written`,
    });
    const second = cluster.write('k', 'b', ifVersion(first.version), 3);
    expect(second.status).toBe(Status.OK);
    expect(cluster.read('k', SERIAL, 2)).toMatchObject({ value: 'b', version: second.version });
    expect(cluster.write('k', null, ifVersion(second.version)).status).toBe(Status.OK);
    expect(cluster.write('k', 'c', { condition: Condition.EXISTS }).status).toBe(Status.VERSION_MISMATCH);
    expect(cluster.read('k', SERIAL).status).toBe(Status.NOT_FOUND);
  });
  it('lets one of many concurrent writes of one condition pass', () => {
    const cluster = new Cluster();
    const answers: ClientWriteAnswer[] = [];
    for (let i = 0; i < 9; i++)
      cluster.startWrite('k', `v${i}`, ifVersion(0), 1 + (i % 3), (answer) => answers.push(answer));
    cluster.world.run(3000, () => answers.length === 9);
    expect(answers.filter(({ status }) => status === Status.OK).length).toBe(1);
    expect(answers.filter(({ status }) => status === Status.VERSION_MISMATCH).length).toBe(8);
  });
  it('needs no second round for a read that a quorum agrees on', () => {
    const cluster = new Cluster();
    const { version } = cluster.write('k', 'a', { consistency: SERIAL });
    const { accepts } = cluster.world.node(1).coordinator.metrics;
    expect(cluster.read('k', SERIAL)).toMatchObject({ value: 'a', version });
    expect(cluster.world.node(1).coordinator.metrics.accepts).toBe(accepts);
  });
  it('finishes under its own ballot what a minority holds, and no repair of the overtaken gets past', () => {
    const cluster = new Cluster();
    for (const node of [1, 2, 3]) cluster.put(node, 'k', 'base', 10);
    cluster.put(3, 'k', 'unfinished', 20);
    cluster.down(2);
    const read = cluster.read('k', SERIAL);
    expect(read.value).toBe('unfinished');
    expect(read.version).toBeGreaterThan(20);
    for (const node of [1, 3]) expect(cluster.held(node, 'k')).toBe(`unfinished@${read.version}`);
    expect(cluster.world.node(1).coordinator.metrics.reproposals).toBe(1);
  });
  it('settles a key at every replica that is up, not at a quorum alone', () => {
    for (const down of [0, 2]) {
      const cluster = new Cluster();
      for (const node of [1, 2]) cluster.put(node, 'k', 'new', 20);
      cluster.put(3, 'k', 'old', 10);
      // Its promise bars whatever a repair would bring to node 3.
      expect(cluster.read('k', SERIAL).value).toBe('new');
      expect(cluster.held(3, 'k')).toBe('old@10');
      if (down !== 0) cluster.down(down);
      let ok: boolean | null = null;
      hashToken(Buffer.from('k'));
      cluster.world.node(1).coordinator.settle(token.hi, token.lo, Buffer.from('k'), (done) => {
        ok = done;
      });
      cluster.world.run(3000, () => ok !== null);
      expect(ok).toBe(true);
      expect(cluster.held(3, 'k')).toBe(cluster.held(1, 'k'));
      expect(cluster.held(3, 'k')).toMatch(/^new@/);
      // Nothing is proposed again where all agree.
      const { accepts } = cluster.world.node(1).coordinator.metrics;
      ok = null;
      cluster.world.node(1).coordinator.settle(token.hi, token.lo, Buffer.from('k'), (done) => {
        ok = done;
      });
      cluster.world.run(3000, () => ok !== null);
      expect(cluster.world.node(1).coordinator.metrics.accepts).toBe(accepts);
    }
  });
  it('tells whose repair waits for a key what kept it from being settled', () => {
    const cluster = new Cluster();
    for (const node of [2, 3]) cluster.down(node);
    const told: [boolean, string][] = [];
    hashToken(Buffer.from('k'));
    cluster.world.node(1).coordinator.settle(token.hi, token.lo, Buffer.from('k'), (ok, why) => {
      told.push([ok, why]);
    });
    cluster.world.run(3000, () => told.length > 0);
    expect(told).toEqual([[false, expect.stringMatching(/1 are up.*too few replicas are up/)]]);
  });
  it('meets a condition on a version that the record had before it was proposed again', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const { version } = cluster.write('k', 'a', { consistency: SERIAL });
    cluster.world.heal();
    cluster.down(1);
    // Of the two that are left one holds it: nobody can tell that it was acknowledged.
    const read = cluster.read('k', SERIAL, 2);
    expect(read.version).toBeGreaterThan(version);
    expect(cluster.write('k', 'b', ifVersion(version), 2).status).toBe(Status.OK);
    expect(cluster.write('k', 'c', ifVersion(version), 2).status).toBe(Status.VERSION_MISMATCH);
  });
  it('does not pass over an acknowledged QUORUM write', () => {
    const cluster = new Cluster();
    const first = cluster.write('k', 'a', { consistency: SERIAL });
    cluster.cut(1, 3);
    const plain = cluster.write('k', 'b', { consistency: QUORUM });
    expect(plain.status).toBe(Status.OK);
    cluster.world.cut.clear();
    cluster.down(1);
    expect(cluster.write('k', 'c', ifVersion(first.version), 3).status).toBe(Status.VERSION_MISMATCH);
    expect(cluster.read('k', SERIAL, 3).value).toBe('b');
  });
  it('answers a repeat under an idempotency key with the first outcome, of success and of refusal', () => {
    const cluster = new Cluster();
    const first = cluster.write('k', 'a', { ...ifVersion(0), ...named('one') });
    expect(first.status).toBe(Status.OK);
    const refused = cluster.write('k', 'x', { ...ifVersion(0), ...named('two') }, 2);
    expect(refused.status).toBe(Status.VERSION_MISMATCH);
    expect(cluster.write('k', 'b', { consistency: SERIAL }).status).toBe(Status.OK);
    expect(cluster.write('k', 'a', { ...ifVersion(0), ...named('one') }, 3)).toMatchObject({
      status: Status.OK,
      version: first.version,
    });
    cluster.write('k', null, { consistency: SERIAL });
    expect(cluster.write('k', 'x', { ...ifVersion(0), ...named('two') }, 3).status).toBe(
      Status.VERSION_MISMATCH,
    );
    expect(cluster.read('k', SERIAL).status).toBe(Status.NOT_FOUND);
    expect(cluster.world.node(3).coordinator.metrics.outcomesRepeated).toBe(2);
  });
  it('keeps outcomes through plain writes', () => {
    const cluster = new Cluster();
    const first = cluster.write('k', 'a', named('one'));
    cluster.write('k', 'b');
    expect(cluster.write('k', 'a', named('one'), 2).version).toBe(first.version);
    expect(cluster.read('k').value).toBe('b');
  });
  it('refuses an idempotency key that was used for something else', () => {
    const cluster = new Cluster();
    cluster.write('k', 'a', named('one'));
    const answer = cluster.write('k', 'b', named('one', 77), 2);
    expect(answer.status).toBe(Status.BAD_REQUEST);
    expect(answer.message).toBe(
      'the idempotency key "one" was used for a different request; nothing was written',
    );
    expect(cluster.read('k').value).toBe('a');
  });
  it('remembers nothing of a write that was overtaken', () => {
    const cluster = new Cluster();
    cluster.write('k', 'base', { consistency: SERIAL });
    // Accepted by one replica alone, with its outcome.
    const versionBefore = cluster.nowVersion() + 5_000_000;
    cluster.world.node(3).skewMs = 5000;
    for (const node of [1, 2])
      cluster.world.node(node).fault = (operation) => (operation === 'write' ? Status.DISK_FULL : Status.OK);
    cluster.startWrite('k', 'lost', named('one'), 3, () => undefined);
    cluster.world.run(20, () => cluster.held(3, 'k').startsWith('lost'));
    expect(cluster.held(3, 'k')).toMatch(/^lost@/);
    cluster.world.node(3).crash();
    for (const node of [1, 2]) cluster.world.node(node).fault = () => Status.OK;
    cluster.down(3);
    expect(cluster.write('k', 'over', { consistency: SERIAL }, 1).version).toBeGreaterThan(versionBefore);
    cluster.world.heal();
    cluster.down(1);
    const repeat = cluster.write('k', 'again', named('one'), 2);
    expect(repeat.status).toBe(Status.OK);
    expect(cluster.read('k', SERIAL, 2)).toMatchObject({ value: 'again', version: repeat.version });
    expect(cluster.heldRecord(2, 'k', KEYSPACE_OUTCOMES)).not.toBeNull();
  });
  it('refuses after an accept of its own only once nothing below can surface', () => {
    const cluster = new Cluster();
    for (const node of [1, 2, 3]) cluster.put(node, 'k', 'base', 10);
    // The write is based on what one replica holds of an unfinished write, and reaches that replica alone.
    cluster.put(1, 'k', 'seen', 20);
    let alone = true;
    for (const node of [2, 3])
      cluster.world.node(node).fault = (operation) =>
        alone && (operation === 'write' || node === 3) ? Status.OVERLOADED : Status.OK;
    const answers: ClientWriteAnswer[] = [];
    cluster.startWrite('k', 'mine', ifVersion(20), 1, (answer) => answers.push(answer));
    cluster.world.run(60, () => cluster.held(1, 'k').startsWith('mine'));
    expect(cluster.held(1, 'k')).toMatch(/^mine@/);
    cluster.world.run(2);
    alone = false;
    // From now on its own replica cannot be asked: the others know nothing of either write.
    cluster.world.node(1).fault = () => Status.OVERLOADED;
    cluster.world.run(1500, () => answers.length > 0);
    const [answer] = answers;
    cluster.world.node(1).fault = () => Status.OK;
    expect(answer?.status).toBe(Status.VERSION_MISMATCH);
    cluster.down(3);
    expect(cluster.read('k', SERIAL, 2).value).toBe('base');
  });
  it('says that the outcome is unknown where another write came after an accept that was not answered', () => {
    const cluster = new Cluster();
    const answers: ClientWriteAnswer[] = [];
    cluster.write('k', 'base', { consistency: SERIAL });
    for (const node of [2, 3])
      cluster.world.node(node).fault = (operation) => (operation === 'write' ? Status.OVERLOADED : Status.OK);
    cluster.startWrite('k', 'mine', { consistency: SERIAL }, 1, (answer) => answers.push(answer));
    cluster.world.run(60, () => cluster.held(1, 'k').startsWith('mine'));
    for (const node of [2, 3]) cluster.world.node(node).fault = () => Status.OK;
    cluster.cut(1, 2);
    cluster.cut(1, 3);
    expect(cluster.write('k', 'other', { consistency: SERIAL }, 2).status).toBe(Status.OK);
    cluster.world.cut.clear();
    cluster.world.run(1500, () => answers.length > 0);
    expect(answers[0]?.status).toBe(Status.UNAVAILABLE);
    expect(answers[0]?.message).toContain('the outcome is unknown');
    expect(cluster.read('k', SERIAL, 3).value).toBe('other');
  });
  it('goes on where what came after its accept is what was there before, proposed again', () => {
    const cluster = new Cluster();
    const answers: ClientWriteAnswer[] = [];
    const { version } = cluster.write('k', 'base', { consistency: SERIAL });
    for (const node of [2, 3])
      cluster.world.node(node).fault = (operation) => (operation === 'write' ? Status.OVERLOADED : Status.OK);
    cluster.startWrite('k', 'mine', ifVersion(version), 1, (answer) => answers.push(answer));
    cluster.world.run(60, () => cluster.held(1, 'k').startsWith('mine'));
    for (const node of [2, 3]) cluster.world.node(node).fault = () => Status.OK;
    cluster.cut(1, 2);
    cluster.cut(1, 3);
    expect(cluster.settle('k', 2)).toBe(true);
    expect(cluster.held(2, 'k')).toMatch(/^base@/);
    expect(cluster.held(2, 'k')).not.toBe(`base@${version}`);
    cluster.world.cut.clear();
    cluster.world.run(1500, () => answers.length > 0);
    expect(answers[0]?.status).toBe(Status.OK);
    expect(cluster.read('k', SERIAL, 3).value).toBe('mine');
  });
  it('leaves no replica behind for long that refused a write only for a later promise', () => {
    for (const consistency of [SERIAL, QUORUM]) {
      const cluster = new Cluster();
      cluster.write('k', 'old', { consistency: ALL });
      const ballot = { version: cluster.nowVersion() + 1_000_000, origin: 9 };
      const deadlineMs = deadlineIn(cluster.world.node(3).clock, 1000);
      const prepare = { ...tokenOf('k'), key: Buffer.from('k'), ballot, deadlineMs };
      cluster.world.node(3).replica.prepare(prepare, () => undefined);
      cluster.world.run(5);
      cluster.write('k', 'new', { consistency });
      expect(cluster.held(1, 'k')).toMatch(/^new@/);
      expect(cluster.held(3, 'k')).toMatch(/^old@/);
      cluster.world.run(3000, () => cluster.held(3, 'k').startsWith('new'));
      cluster.world.run(50);
      for (const node of [2, 3]) expect(cluster.held(node, 'k')).toBe(cluster.held(1, 'k'));
      expect(cluster.held(3, 'k')).toMatch(/^new@/);
    }
  });
  it('leaves no replica behind for long where it finds its own accept at a quorum', () => {
    const cluster = new Cluster();
    const answers: ClientWriteAnswer[] = [];
    cluster.write('k', 'old', { consistency: ALL });
    cluster.world.node(3).fault = (operation) => (operation === 'write' ? Status.UNAVAILABLE : Status.OK);
    cluster.startWrite('k', 'new', { consistency: SERIAL }, 1, (answer) => answers.push(answer));
    cluster.world.run(60, () => cluster.held(2, 'k').startsWith('new'));
    // Neither what node 2 answers to the accept comes, nor what node 3 promises later.
    cluster.world.cut.add('2>1').add('3>1');
    cluster.world.run(100);
    expect(answers).toEqual([]);
    cluster.world.cut.delete('2>1');
    cluster.world.run(900, () => answers.length > 0);
    expect(answers[0]?.status).toBe(Status.OK);
    cluster.world.cut.clear();
    cluster.world.node(3).fault = () => Status.OK;
    expect(cluster.held(3, 'k')).toMatch(/^old@/);
    cluster.world.run(4000, () => cluster.held(3, 'k').startsWith('new'));
    expect(cluster.held(3, 'k')).toMatch(/^new@/);
  });
  it('leaves a hint for a replica that is down where it finds its own accept at a quorum', () => {
    const cluster = new Cluster();
    const answers: ClientWriteAnswer[] = [];
    cluster.write('k', 'old', { consistency: ALL });
    cluster.down(3);
    cluster.startWrite('k', 'new', { consistency: SERIAL }, 1, (answer) => answers.push(answer));
    cluster.world.run(60, () => cluster.held(2, 'k').startsWith('new'));
    cluster.world.cut.add('2>1');
    cluster.world.run(100);
    expect(answers).toEqual([]);
    cluster.world.cut.delete('2>1');
    cluster.world.run(900, () => answers.length > 0);
    expect(answers[0]?.status).toBe(Status.OK);
    cluster.world.run(2000);
    cluster.world.heal();
    cluster.world.run(5000, () => cluster.held(3, 'k').startsWith('new'));
    expect(cluster.held(3, 'k')).toBe(cluster.held(1, 'k'));
  });
  it('says that nothing was written where too few replicas are up, or none promises', () => {
    const cluster = new Cluster();
    cluster.down(2, 3);
    const answer = cluster.write('k', 'a', ifVersion(0));
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toBe(
      'SERIAL needs 2 of 3 replicas; 1 are up, 0 answered: too few replicas are up; nothing was written',
    );
    cluster.world.heal();
    for (const node of [1, 2, 3]) cluster.world.node(node).fault = () => Status.DISK_FULL;
    expect(cluster.write('k', 'a', ifVersion(0)).status).toBe(Status.DISK_FULL);
  });
  it('gets above promises and records 10 minutes ahead', () => {
    const cluster = new Cluster();
    cluster.world.node(2).skewMs = 600_000;
    const ahead = cluster.write('k', 'a', { consistency: SERIAL }, 2);
    expect(ahead.version).toBeGreaterThan(cluster.nowVersion(1) + 500_000_000);
    expect(cluster.write('k', 'b', ifVersion(ahead.version), 1).status).toBe(Status.OK);
    expect(cluster.read('k', SERIAL, 3).value).toBe('b');
  });
  it('needs promises and accepts of both groups while the ring changes', () => {
    const key = 'moving';
    const ring = joiningRing(2, 'copying');
    const [old = [], coming = []] = writeGroups(ring, vnodeOfKey(key));
    const cluster = new Cluster([1, 2, 3, 4], ring);
    const [coordinator = 0, other = 0] = old.filter((node) => coming.includes(node));
    cluster.down(4, other);
    expect(cluster.write(key, 'a', ifVersion(0), coordinator).status).toBe(Status.UNAVAILABLE);
    cluster.world.heal();
    expect(cluster.write(key, 'a', ifVersion(0), coordinator).status).toBe(Status.OK);
    for (const group of [old, coming])
      expect(group.filter((node) => cluster.held(node, key).startsWith('a@')).length).toBeGreaterThanOrEqual(
        2,
      );
  });
  it('starts anew where the ring moves on between its rounds', () => {
    const key = 'moving';
    const ring = joiningRing(2, 'copying');
    const cluster = new Cluster([1, 2, 3, 4], testRing([1, 2, 3]));
    const [, coming = []] = writeGroups(ring, vnodeOfKey(key));
    const answers: ClientWriteAnswer[] = [];
    cluster.startWrite(key, 'a', ifVersion(0), 1, (answer) => answers.push(answer));
    // The promises are under way, under the old ring; all nodes learn of the new one before they are back.
    for (const node of cluster.world.nodes.values()) node.ring = ring;
    cluster.world.run(1000, () => answers.length > 0);
    cluster.world.run(50);
    expect(answers[0]?.status).toBe(Status.OK);
    expect(coming.filter((node) => cluster.held(node, key).startsWith('a@')).length).toBeGreaterThanOrEqual(
      2,
    );
  });
  it('leaves the accepted record and its outcomes as a hint for a replica that is down', () => {
    const cluster = new Cluster();
    cluster.down(3);
    cluster.write('k', 'a', named('one'));
    cluster.world.run(20);
    const [hint] = cluster.world.node(1).replica.hints;
    expect(hint?.target).toBe(3);
    expect(hint?.write.also).not.toBeNull();
  });
});
