/**
 * Takes a node that is alone to the point from which it joins another cluster: everything that is checked, in an order in which
 * nothing that was acknowledged can be missed. Peer worker; pure. What follows is a start with seeds (src/node/peer-thread.ts).
 *
 * 1. Requests of clients are held from before the look at what the node holds until it has become another: a write either was
 *    acknowledged before, and is found, or is refused.
 * 2. A node that is held tells nobody its ring, and it asks the seeds only while it is held. So of nodes that are told to join each
 *    other, in whatever circle, one finds its seeds silent, and is refused.
 * 3. Nothing at all may be held: a tombstone, or a record that has expired, would hide what the other cluster has under its key, and
 *    an outcome of an idempotency key would not be asked for there.
 */
import { type Clock, deadlineIn } from '../base/clock.ts';
import { BadRequestError, errorOfStatus, RingKvError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { KEYSPACE_USER, keyAt, keyspaceAt } from '../base/record.ts';
import { Status } from '../base/status.ts';
import type { HintStore, LocalReplica, PageAnswer, PagePlace, RemovableDocuments } from './contract.ts';
import { encodeJoin, JOINING } from './join-document.ts';
import type { RingMap, RingMember } from './ring-map.ts';
import type { Standing } from './topology.ts';

export interface LoneJoinOptions {
  readonly self: RingMember;
  readonly clusterName: string;
  /** Of this node's files. */
  readonly vnodes: number;
  readonly local: Pick<LocalReplica, 'page'>;
  readonly hints: Pick<HintStore, 'targets'>;
  readonly documents: RemovableDocuments;
  readonly clock: Clock;
  /** Of this node's present cluster; null where it has none yet. */
  readonly ring: () => RingMap | null;
  readonly standing: () => Standing;
  /** A change of that cluster is being agreed on. */
  readonly isChanging: () => boolean;
  /** From now on requests of clients, changes and messages of other nodes are refused; resolves when no request is under way. */
  readonly hold: (reason: string) => Promise<void>;
  readonly release: () => void;
  /** Asks for a ring. Rejects with what came of each seed. */
  readonly ringOf: (seeds: readonly string[]) => Promise<RingMap>;
}

const EMPTY = new Uint8Array(0);
const UINT32_MAX = 0xffff_ffff;
const KEY_CHARACTERS_MAX = 80;

/**
 * Resolves when this node is one that joins, durably: it is held still, and must begin anew. Rejects with what speaks against it; then
 * the node is as it was. An Error that is no RingKvError: whether it joins or not is known only at its next start.
 */
export async function beginLoneJoin(options: LoneJoinOptions, seeds: readonly string[]): Promise<void> {
  const { hold, release, ring, ringOf } = options;
  checkAlone(options);
  // Without holding anybody up: mostly it ends here where it ends.
  await checkEmpty(options);
  try {
    await hold('this node is about to join another cluster');
    checkAlone(options);
    const own = ring();
    checkRing(options, own, await ringOf(seeds));
    await checkEmpty(options);
    await keep(options, encodeJoin({ leaves: own?.clusterId ?? '', seeds }));
  } catch (error) {
    if (error instanceof RingKvError) release();
    throw error;
  }
}

/** One that is in no ring yet may look elsewhere: what it asked for there, and gets all the same, is to be undone there. */
function checkAlone({ self, ring, standing, isChanging }: LoneJoinOptions): void {
  if (isChanging()) throw new UnavailableError('a change of the cluster of this node is being agreed on');
  const own = ring();
  if (own === null || standing() === 'waiting') return;
  const { members, change, number } = own;
  const isAlone = members.length === 1 && members[0]?.number === self.number && change === null;
  if (!isAlone)
    throw new BadRequestError(
      `this node knows a cluster of ${members.length} ${members.length === 1 ? 'node' : 'nodes'} (ring ${number})` +
        `${change === null ? '' : ', which is being changed'}: only a node that is alone in one of its own can join another`,
    );
  if (number !== 1)
    throw new BadRequestError(
      `the cluster of this node has been changed before (ring ${number}): only one that never was can be left; ` +
        'start a node with an empty data directory and --seeds',
    );
}

function checkRing(options: LoneJoinOptions, own: RingMap | null, found: RingMap): void {
  const { self, vnodes, clusterName } = options;
  const { members, change } = found;
  if (found.clusterName !== clusterName)
    throw new BadRequestError(
      `the seeds are of cluster ${found.clusterName}, and this node of ${clusterName}`,
    );
  if (found.vnodes !== vnodes)
    throw new BadRequestError(
      `the cluster has ${found.vnodes} vnodes, and this data directory was made for ${vnodes}`,
    );
  const isOwn = found.clusterId === own?.clusterId;
  if (isOwn || [...members, ...(change?.members ?? [])].some(({ number }) => number === self.number))
    throw new BadRequestError(
      `node ${self.nodeId} is in the cluster of these seeds already (ring ${found.number})`,
    );
}

/** Throws BadRequestError where this node holds anything, and what a shard that cannot tell answers. */
async function checkEmpty({ hints, local, clock }: LoneJoinOptions): Promise<void> {
  const bytes = [...hints.targets().values()].reduce((sum, one) => sum + one, 0);
  if (bytes > 0) throw new BadRequestError(`this node keeps ${bytes} bytes of hints for other nodes`);
  let after: PagePlace | null = null;
  do {
    const page: PageAnswer = await new Promise((resolve) =>
      local.page(
        {
          ...{ firstHi: 0, firstLo: 0, lastHi: UINT32_MAX, lastLo: UINT32_MAX },
          ...{ after, userOnly: false, prefix: EMPTY, headOnly: true, recordsMax: 1 },
          bytesMax: limits.repairPageBytes,
          deadlineMs: deadlineIn(clock, limits.requestTimeoutMsMax),
        },
        resolve,
      ),
    );
    const { status, records, next, message } = page;
    if (status !== Status.OK)
      throw errorOfStatus(status, `whether this node is empty cannot be told: ${message}`);
    if (records.length > 0) throw new BadRequestError(`${described(records)}: only an empty node can join`);
    after = next;
  } while (after !== null);
}

function described(records: Uint8Array): string {
  const view = new DataView(records.buffer, records.byteOffset, records.length);
  const key = Buffer.from(keyAt(view, records, 0)).toString();
  const shown = JSON.stringify(key.slice(0, KEY_CHARACTERS_MAX));
  return keyspaceAt(view, 0) === KEYSPACE_USER
    ? `this node holds a record of the key ${shown} (deleted and expired ones count until they are gone from disk)`
    : `this node remembers outcomes or promises for the key ${shown}`;
}

async function keep({ documents }: LoneJoinOptions, bytes: Uint8Array): Promise<void> {
  const isFirst = documents.load(JOINING) === null;
  const error = await new Promise<Error | null>((resolve) => documents.save(JOINING, bytes, resolve));
  if (error === null) return;
  // It may lie there all the same, or come back after a power cut: a node of which that is not known must take no write.
  try {
    if (!isFirst) throw error;
    documents.remove(JOINING);
  } catch (cause) {
    throw new Error(`whether this node joins is not known: ${(cause as Error).message}`, { cause });
  }
  throw error instanceof RingKvError ? error : new UnavailableError(error.message, { cause: error });
}
