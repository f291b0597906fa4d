import { Encoder } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import type { Replica } from '../../src/cluster/contract.ts';
import { runRepairSession } from '../../src/cluster/repair-session.ts';
import { comparePlaces } from '../cluster/memory-places.ts';
import type { MemoryReplica } from '../cluster/memory-replica.ts';
import { type Held, heldOf, recordOf } from '../cluster/records.ts';
import { RepairHarness, START_MS } from '../cluster/repair-harness.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const KEYS = 1_000_000;
const VALUE = 'v'.repeat(100);
const cbor = new Encoder({ useRecords: false, tagUint8Array: false });

/** Counts requests and answers as CBOR, which is what goes between nodes in frames of some 20 bytes each. */
function counted(replica: MemoryReplica): {
  readonly replica: Replica;
  readonly bytes: { out: number; in: number };
} {
  const bytes = { out: 0, in: 0 };
  const pass =
    <Q, A>(call: (request: Q, done: (answer: A) => void) => void) =>
    (request: Q, done: (answer: A) => void): void => {
      bytes.out += cbor.encode(request).length;
      call(request, (answer) => {
        bytes.in += cbor.encode(answer).length;
        done(answer);
      });
    };
  return {
    bytes,
    replica: {
      write: pass(replica.write.bind(replica)),
      read: pass(replica.read.bind(replica)),
      prepare: pass(replica.prepare.bind(replica)),
      page: pass(replica.page.bind(replica)),
      tree: pass(replica.tree.bind(replica)),
      treeNodes: pass(replica.treeNodes.bind(replica)),
      endTree: (session) => replica.endTree(session),
      hint: (target, request, done) => replica.hint(target, request, done),
    },
  };
}

/** Never changed, so both tests share them; sorted, so that loading them has less to do. */
const records: readonly Held[] = Array.from({ length: KEYS }, (_, i) =>
  heldOf(recordOf({ key: `key-${i}`, version: START_MS * 1000 + i, value: VALUE })),
).sort(comparePlaces);

describe(`one differing key among ${KEYS}, seed ${seed},`, () => {
  for (const vnodes of [1, 1024])
    it(`is found and sent alone, ${vnodes} vnodes`, async () => {
      const random = new Random(seed);
      const harness = new RepairHarness(2, vnodes);
      const [local, remote] = [harness.at(0), harness.at(1)];
      local.loadNew(records);
      remote.loadNew(records);
      local.load([
        recordOf({ key: `key-${random.below(KEYS)}`, version: START_MS * 1000 + KEYS, value: VALUE }),
      ]);
      const wire = counted(remote);
      let compared = 0;
      let sent = 0;
      for (let vnode = 0; vnode < vnodes; vnode++) {
        const options = harness.options(local, wire.replica, { vnode });
        await runRepairSession(options);
        compared += options.statistics.recordsCompared;
        sent += options.statistics.recordsSent;
        expect(options.statistics.recordsReceived).toBe(0);
      }
      const total = wire.bytes.out + wire.bytes.in;
      console.log(
        `${vnodes} vnodes: ${wire.bytes.out} bytes out, ${wire.bytes.in} in, ${compared} heads compared`,
      );
      expect(sent).toBe(1);
      // A leaf of the tree holds its share of the vnode's records, and their heads are compared.
      expect(compared).toBeLessThan((4 * KEYS) / vnodes / 4096 + 20);
      expect(total).toBeLessThan(vnodes === 1 ? 64 * 1024 : 1024 * 1024);
    });
});
