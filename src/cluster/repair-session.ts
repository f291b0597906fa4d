/**
 * Compares one vnode of this node's replica with another's, and exchanges what differs: by hash trees level by level, then by
 * heads of the leaves that differ, then record by record. The same code fills a replica that is behind or empty
 * (`pullOnly`). Interrupted anywhere it has done no harm, and the next session moves only what is still missing: every
 * record goes by MERGE, which is idempotent. Owned by the peer worker; pure.
 *
 * 1. What died long ago on both sides' clocks (the later of both `now - gc_grace`) is no difference where one side has
 *    nothing, for that side may have purged it. Against a record that the other side does hold it counts.
 * 2. A record that a promise bars is settled by SERIAL (`settle`), never forced, and is then tried again: a session that ends
 *    without an error has brought every difference of its start to both sides (with `pullOnly`: to this one). Forced are
 *    only records of a source that is part of every quorum (`overPromises`): where a node is lost for good that was part of every
 *    quorum too, SERIAL cannot settle anything before its successor has them.
 * 3. A user record goes with its outcomes, in one write: a replica with the one and without the other would let a repeat
 *    under the same idempotency key be applied again. Outcomes that differ alone bring the record that they were accepted with, or its
 *    successor, where the target lacks it: one that died so long ago that it does not count. Only where it is gone they go alone.
 * 4. A promise goes after all records of its keys: before them it would bar them.
 * 5. Nothing is thrown away: what cannot be merged ends the session with an error.
 */
import { deadlineIn } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  FLAG_TOMBSTONE,
  flagsAt,
  isBelow,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  originAt,
  versionAt,
} from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import {
  type Replica,
  type ReplicaRead,
  type WriteAnswer,
  WriteMode,
  type WriteModeCode,
} from './contract.ts';
import { errorOf, readOf, writeTo } from './repair-calls.ts';
import {
  compareHeads,
  diedBefore,
  type Head,
  Heads,
  keyOf,
  keyspaceOf,
  type Pair,
  placeOf,
  tokenGroups,
  viewOf,
} from './repair-heads.ts';
import { Moves } from './repair-moves.ts';
import type { RepairSessionOptions } from './repair-options.ts';
import { leafTokens } from './repair-ranges.ts';
import { buildTrees, differingLeaves, type LeafRun } from './repair-trees.ts';

/** Resolves to what both sides left out: records that died before. */
export async function runRepairSession(options: RepairSessionOptions): Promise<number> {
  const { local, remote, session } = options;
  try {
    const cutoffMs = await buildTrees(options);
    for (const run of await differingLeaves(options)) await exchange(options, run, cutoffMs);
    return cutoffMs;
  } finally {
    local.endTree(session);
    remote.endTree(session);
  }
}

async function exchange(
  options: RepairSessionOptions,
  { first, last, isFill }: LeafRun,
  cutoffMs: number,
): Promise<void> {
  const { local, remote, vnode, vnodes, statistics } = options;
  const [firstHi, lastHi] = leafTokens(vnode, first, last, vnodes);
  const range = { firstHi, lastHi };
  const ours = new Heads(options, local, range, true);
  // A side with nothing takes everything: whole records at once, instead of one call for each. It may hold what does not count.
  const isWhole = isFill && (await ours.peek()) === null;
  const theirs = new Heads(options, remote, range, !isWhole);
  const moves = new Moves();
  for await (const group of tokenGroups(ours, theirs)) {
    statistics.recordsCompared += group.length;
    await moveGroup(options, group, cutoffMs, isWhole, moves);
  }
  await moves.end();
}

/** A record on its way from one side to the other. */
interface Move {
  readonly head: Head;
  readonly isFetch: boolean;
  /** It comes from a page of whole records. */
  readonly isWhole: boolean;
}

/** Everything of one token that differs: records at once, promises behind them. */
async function moveGroup(
  options: RepairSessionOptions,
  group: readonly Pair[],
  cutoffMs: number,
  isWhole: boolean,
  moves: Moves,
): Promise<void> {
  const differing: Move[] = [];
  for (const { our, their } of group) {
    if (options.pullOnly && our !== null && their === null) options.onOnlyHere?.(our.bytes.slice());
    const age = our === null ? -1 : their === null ? 1 : compareHeads(our, their);
    const head = age < 0 ? their : our;
    const isPurgeable = (our === null || their === null) && head !== null && diedBefore(head, cutoffMs);
    if (age === 0 || head === null || isPurgeable || (age > 0 && options.pullOnly)) continue;
    differing.push({ head, isFetch: age < 0, isWhole: isWhole && age < 0 });
  }
  const now: (() => Promise<void>)[] = [];
  for (const move of differing) {
    const keyspace = keyspaceOf(move.head);
    const goesWithUser = differing.some(
      (other) => keyspaceOf(other.head) === KEYSPACE_USER && isBeside(other, move),
    );
    if (keyspace === KEYSPACE_PROMISES) await moves.later(() => transfer(options, move, null));
    else if (keyspace !== KEYSPACE_OUTCOMES)
      now.push(() => transfer(options, move, outcomesBeside(group, move)));
    else if (!goesWithUser)
      now.push(() => (isBacked(group, move) ? transfer(options, move, null) : withRecord(options, move)));
  }
  if (now.length > 0) await moves.add(inTurn(now));
}

/** One after another: two of one key that are barred would contend at SERIAL. */
async function inTurn(list: readonly (() => Promise<void>)[]): Promise<void> {
  for (const start of list) await start();
}

/** Whether two moves are of one key and one direction. */
function isBeside(a: Move, b: Move): boolean {
  return a.isFetch === b.isFetch && Buffer.compare(keyOf(a.head), keyOf(b.head)) === 0;
}

/** What one side holds in another keyspace under the key of a head. */
function heldBeside(group: readonly Pair[], { head }: Move, side: keyof Pair, keyspace: number): Head | null {
  for (const { [side]: held } of group)
    if (held !== null && keyspaceOf(held) === keyspace && Buffer.compare(keyOf(held), keyOf(head)) === 0)
      return held;
  return null;
}
/** The outcomes that the source of a user record holds for its key. */
function outcomesBeside(group: readonly Pair[], move: Move): Head | null {
  if (keyspaceOf(move.head) !== KEYSPACE_USER) return null;
  return heldBeside(group, move, move.isFetch ? 'their' : 'our', KEYSPACE_OUTCOMES);
}
/** Whether the target holds the record that outcomes were accepted with, or a newer one. */
function isBacked(group: readonly Pair[], move: Move): boolean {
  const held = heldBeside(group, move, move.isFetch ? 'our' : 'their', KEYSPACE_USER);
  return held !== null && !isBelow(held.view, move.head.view);
}

/** Outcomes that the target could not take alone, with their record; alone where the source has purged that. */
async function withRecord(options: RepairSessionOptions, move: Move): Promise<void> {
  const source = move.isFetch ? options.remote : options.local;
  // After the page with the outcomes, which may have come to the source between two pages, with a record that lives.
  const record = await heldAt(options, source, {
    ...placeOf(move.head),
    keyspace: KEYSPACE_USER,
    headOnly: true,
  });
  if (record === null) await transfer(options, move, null);
  else {
    const head = { bytes: record, view: viewOf(record) };
    await transfer(options, { head, isFetch: move.isFetch, isWhole: false }, move.head);
  }
}

/** Its head is all of it. */
function hasNoValue(head: Head): boolean {
  return keyspaceOf(head) === KEYSPACE_PROMISES || (flagsAt(head.view, 0) & FLAG_TOMBSTONE) !== 0;
}

/** Brings a record to the side that lacks it, and back what is newer there. */
async function transfer(options: RepairSessionOptions, move: Move, outcomes: Head | null): Promise<void> {
  const { local, remote, statistics, pullOnly } = options;
  const { head, isFetch } = move;
  const [source, target] = isFetch ? [remote, local] : [local, remote];
  for (let attempt = 0; ; attempt++) {
    // What SERIAL settled is another record than the one of the page.
    const isFirst = attempt === 0;
    const isAtHand = isFirst && (move.isWhole || hasNoValue(head));
    const record = isAtHand ? head.bytes : await wholeOf(options, source, head);
    if (record === null) return;
    // After the record, so that they are at least as new.
    let also = outcomes?.bytes ?? null;
    if (outcomes !== null && !(isFirst && move.isWhole)) also = await wholeOf(options, source, outcomes);
    const bytes = record.length + (also?.length ?? 0);
    await options.pace(bytes);
    if (isFetch) {
      statistics.recordsReceived++;
      if (!isAtHand) statistics.bytesReceived += bytes;
    } else {
      statistics.recordsSent++;
      statistics.bytesSent += bytes;
    }
    const mode = isFetch && options.overPromises ? WriteMode.FILL : WriteMode.MERGE;
    const { status, newer } = await merge(options, target, record, also, mode);
    if (status === Status.OK) {
      if (newer === null) return;
      if (isResurrection(record, newer)) statistics.resurrections++;
      if (!pullOnly) await mergeBack(options, source, newer);
      return;
    }
    if (attempt >= limits.repairSettlesMax) throw barredError(status);
    await settle(options, head);
  }
}

/** What the target held was newer: the source gets it. Where it has something newer still, the next session sees that. */
async function mergeBack(options: RepairSessionOptions, source: Replica, newer: Uint8Array): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const { status } = await merge(options, source, newer, null, WriteMode.MERGE);
    if (status === Status.OK) return;
    if (attempt >= limits.repairSettlesMax) throw barredError(status);
    await settle(options, { bytes: newer, view: viewOf(newer) });
  }
}

async function settle(options: RepairSessionOptions, head: Head): Promise<void> {
  options.statistics.settled++;
  const { key, tokenHi, tokenLo } = placeOf(head);
  await options.settle(key, tokenHi, tokenLo);
}
const barredError = (status: number): Error =>
  errorOf(status, 'a promise bars it, also after SERIAL settled the key', 'merging a record');

/** OK, or barred. */
async function merge(
  options: RepairSessionOptions,
  target: Replica,
  record: Uint8Array,
  also: Uint8Array | null,
  mode: WriteModeCode,
): Promise<WriteAnswer> {
  const deadlineMs = deadlineIn(options.clock, limits.repairRequestMsMax);
  const answer = await writeTo(options, target, { record, also, mode, deadlineMs });
  const isBarred = answer.status === PeerStatus.STALE_VERSION && answer.barred;
  if (answer.status !== Status.OK && !isBarred)
    throw errorOf(answer.status, answer.message, 'merging a record');
  return answer;
}

/** A tombstone of the version that was sent: its deletion had been forgotten. */
function isResurrection(sent: Uint8Array, newer: Uint8Array): boolean {
  const [a, b] = [viewOf(sent), viewOf(newer)];
  const isTombstone = (view: DataView): boolean => (flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0;
  if (!isTombstone(b) || isTombstone(a)) return false;
  return versionAt(a, 0) === versionAt(b, 0) && originAt(a, 0) === originAt(b, 0);
}

/** The whole record behind a head as a replica holds it now; null where it holds none any more. */
function wholeOf(options: RepairSessionOptions, replica: Replica, head: Head): Promise<Uint8Array | null> {
  return heldAt(options, replica, { ...placeOf(head), headOnly: false });
}
async function heldAt(
  options: RepairSessionOptions,
  replica: Replica,
  what: Omit<ReplicaRead, 'deadlineMs'>,
): Promise<Uint8Array | null> {
  const deadlineMs = deadlineIn(options.clock, limits.repairRequestMsMax);
  const { record } = await readOf(options, replica, { ...what, deadlineMs });
  return record;
}
