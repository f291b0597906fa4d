/** Deliberate defects: the simulator is believed because it finds each of them. */
import { KEYSPACE_PROMISES } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import {
  type NodeNumber,
  type Replica,
  type Timers,
  type WriteAnswer,
  WriteMode,
} from '../../src/cluster/contract.ts';
import { LOOKUP_ABSENT, type ShardEngine } from '../../src/engine/contract.ts';
import { changed } from './changed.ts';

export const DEFECTS = [
  /** The commit log is not synced before a write is acknowledged. */
  'skip-fsync',
  /** A hint that a stand-in keeps counts as a home replica's answer, and the client is not told. */
  'hint-counts-as-home',
  /** A QUORUM read answers with the newest record without giving it to the replicas that lack it. */
  'drop-read-repair',
  /** Tombstones go before all replicas have them. */
  'purge-early',
  /** A replica takes writes below what it promised. */
  'ignore-promise',
  /** Deadlines are times since 1970, as before decision 22. */
  'deadlines-by-wall-clock',
  /** What is left of a deadline is not taken along to other nodes: each hop has a timeout of its own. */
  'timeout-of-each-hop',
  /** Nodes tell each other the time at which a request ends, by the monotonic clock of who asks. */
  'deadlines-told-as-times',
  /** Who wrote a record says that a majority holds it, whatever it knows: decision 24. */
  'writers-say-yes',
  /** And the other way round: a QUORUM read of a key that changes all the time repairs for ever. */
  'writers-say-nothing',
  /** A write gets a second version without a look at who may have read the first. */
  'shown-forgotten',
] as const;
export type Defect = (typeof DEFECTS)[number];

export const isDefect = (name: string): name is Defect => (DEFECTS as readonly string[]).includes(name);

/** A replica that forgets what it promised: no lookup finds a promise. */
export function withoutPromises(engine: ShardEngine): ShardEngine {
  return changed(engine, {
    lookup: (keyspace, ...rest) =>
      keyspace === KEYSPACE_PROMISES ? LOOKUP_ABSENT : engine.lookup(keyspace, ...rest),
    lookupMemory: (keyspace, ...rest) =>
      keyspace !== KEYSPACE_PROMISES && engine.lookupMemory(keyspace, ...rest),
  });
}

const HINT_AFTER_MS = 20;
const TAKEN: WriteAnswer = { status: Status.OK, beat: 0, barred: false, newer: null, message: '' };

/** A node that does not answer at once gets a hint, which passes for its own answer. */
export function hintedReplica(replica: Replica, node: NodeNumber, local: Replica, life: Timers): Replica {
  return changed(replica, {
    write: (request, done) => {
      if (request.mode !== WriteMode.FRESH) {
        replica.write(request, done);
        return;
      }
      let isAnswered = false;
      const end = (answer: WriteAnswer): void => {
        if (!isAnswered) done(answer);
        isAnswered = true;
      };
      const cancel = life.after(HINT_AFTER_MS, () =>
        local.hint(node, { ...request, mode: WriteMode.MERGE }, end),
      );
      replica.write(request, (answer) => {
        cancel();
        end(answer);
      });
    },
  });
}

/** Copies by read repair are said to have been taken. Hints and repairs are copies as well: only who asks tells them apart. */
export function unrepairedReplica(replica: Replica, life: Timers): Replica {
  return changed(replica, {
    write: (request, done) => {
      const isRepair =
        request.mode === WriteMode.MERGE &&
        new Error('who asks?').stack?.includes('coordinator-repair') === true;
      if (isRepair) life.after(1, () => done(TAKEN));
      else replica.write(request, done);
    },
  });
}

/** Who refuses a write says that it has shown it to nobody, whatever it knows. */
export function forgetfulReplica(replica: Replica): Replica {
  return changed(replica, {
    write: (request, done) =>
      replica.write(request, (answer) => {
        const isPassed = answer.status === PeerStatus.STALE_VERSION && !answer.barred;
        done(isPassed ? { ...answer, newer: answer.newer ?? request.record } : answer);
      }),
  });
}
