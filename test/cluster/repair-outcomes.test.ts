import { describe, expect, it } from 'vitest';
import { KEYSPACE_OUTCOMES, KEYSPACE_USER, keyspaceAt, versionAt } from '../../src/base/record.ts';
import type { Replica } from '../../src/cluster/contract.ts';
import type { MemoryReplica } from './memory-replica.ts';
import { recordOf, viewOf } from './records.ts';
import { GRACE_MS, RepairHarness, START_MS } from './repair-harness.ts';

const START_US = START_MS * 1000;
const outcomesOf = (version: number, expiresMs = 0): Uint8Array =>
  recordOf({ key: 'k', version, value: `o${version}`, keyspace: KEYSPACE_OUTCOMES, expiresMs });
const tombstoneOf = (version: number): Uint8Array => recordOf({ key: 'k', version, tombstone: true });

/** What a write brings: keyspace and version of each record. */
type Brought = readonly (readonly [keyspace: number, version: number])[];
const broughtBy = (records: readonly (Uint8Array | null)[]): Brought =>
  records.filter((one) => one !== null).map((one) => [keyspaceAt(viewOf(one), 0), versionAt(viewOf(one), 0)]);

/** Passes requests on; keeps what writes bring, and tells of each page that was read. */
function watched(replica: MemoryReplica, writes: Brought[], onPage: () => void = () => undefined): Replica {
  return {
    write: (request, done) => {
      writes.push(broughtBy([request.record, request.also]));
      replica.write(request, done);
    },
    read: (request, done) => replica.read(request, done),
    prepare: (request, done) => replica.prepare(request, done),
    page: (request, done) =>
      replica.page(request, (answer) => {
        onPage();
        done(answer);
      }),
    tree: (request, done) => replica.tree(request, done),
    treeNodes: (request, done) => replica.treeNodes(request, done),
    endTree: (session) => replica.endTree(session),
    hint: (target, request, done) => replica.hint(target, request, done),
  };
}

describe('outcomes that differ alone', () => {
  it('bring the record that they were accepted with, however long ago it died, both ways and where all is pulled', async () => {
    for (const way of ['fetch', 'send', 'pull'] as const) {
      const harness = new RepairHarness(2);
      const [has, lacks] = [harness.at(0), harness.at(1)];
      has.load([tombstoneOf(START_US + 5), outcomesOf(START_US)]);
      harness.clock.advanceMs(2 * GRACE_MS);
      const writes: Brought[] = [];
      const target = watched(lacks, writes);
      await (way === 'send'
        ? harness.run(has, target)
        : harness.run(target, has, { pullOnly: way === 'pull' }));
      expect([way, writes]).toEqual([
        way,
        [
          [
            [KEYSPACE_USER, START_US + 5],
            [KEYSPACE_OUTCOMES, START_US],
          ],
        ],
      ]);
    }
  });

  it('go alone where the source has purged the record', async () => {
    const harness = new RepairHarness(2);
    harness.at(0).load([outcomesOf(START_US)]);
    const writes: Brought[] = [];
    await harness.run(harness.at(0), watched(harness.at(1), writes));
    expect(writes).toEqual([[[KEYSPACE_OUTCOMES, START_US]]]);
  });

  it('go alone to who holds the record, or a newer one', async () => {
    for (const version of [START_US, START_US + 1]) {
      const harness = new RepairHarness(2);
      const record = recordOf({ key: 'k', version, value: 'v' });
      harness.at(0).load([record, outcomesOf(START_US)]);
      harness.at(1).load([record]);
      const writes: Brought[] = [];
      await harness.run(harness.at(0), watched(harness.at(1), writes));
      expect(writes).toEqual([[[KEYSPACE_OUTCOMES, START_US]]]);
      expect(harness.at(0).requests.get('read')).toBe(1);
    }
  });

  it('bring the record that came to the source with them while its pages were read', async () => {
    const harness = new RepairHarness(2);
    const [has, lacks] = [harness.at(0), harness.at(1)];
    // The page shows the outcomes alone, as where the next one begins between a record and its outcomes.
    has.load([outcomesOf(START_US)]);
    const source = watched(has, [], () =>
      has.load([recordOf({ key: 'k', version: START_US, value: 'late' })]),
    );
    const writes: Brought[] = [];
    await harness.run(watched(lacks, writes), source);
    expect(writes[0]).toEqual([
      [KEYSPACE_USER, START_US],
      [KEYSPACE_OUTCOMES, START_US],
    ]);
  });
});
