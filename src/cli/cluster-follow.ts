/**
 * Follows a change of a cluster to its end, for --wait: shows progress, says on standard error what it waits for whenever that is something
 * else, and whether it came to what was asked for: another operator may have undone it. The change goes on whatever becomes of the command.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { OverloadedError, TimeoutError, UnavailableError } from '../base/errors.ts';
import { ConnectionError } from '../client/errors.ts';
import type { Client } from '../client/index.ts';
import type { ClusterChange, ClusterStatus } from '../cluster/administration.ts';
import type { Context } from './context.ts';
import { ExitCode } from './exit-codes.ts';
import { CommandError, InterruptedError } from './failure.ts';
import { startProgress } from './progress.ts';

export const POLL_MS = 500;
/** How long a change that was asked for may take to show in the ring. */
const BEGIN_MS = 10_000;
/** How long the server may not answer, one time after another, before nobody waits for it any more. */
const SILENCE_MS = 30_000;

/** Throws CommandError where it came to something else, or the server answers no more. */
export async function follow(
  what: ClusterChange,
  before: ClusterStatus | null,
  client: Pick<Client, 'clusterStatus'>,
  context: Context,
): Promise<void> {
  const isOver = before === null ? hasJoined : hasEnded(what, before, context);
  const progress = startProgress(what.do, 1, context);
  const said = new Said(context);
  try {
    for (;;) {
      const status = await statusOf(what, client, context);
      if (status !== null) {
        if (isOver(status)) {
          checkOutcome(what, before, status);
          return;
        }
        progress.update(shareDone(status), 0);
        await said.waits(waitsOf(what, status));
      }
      await sleep(POLL_MS, undefined, { signal: context.interrupted });
    }
  } catch (error) {
    if (context.interrupted.aborted) throw new InterruptedError();
    throw error;
  } finally {
    progress.stop();
  }
}

/** null: a node that is to join has not found its cluster. A server that does not answer for a moment is asked again. */
async function statusOf(
  what: ClusterChange,
  client: Pick<Client, 'clusterStatus'>,
  { clock, interrupted }: Context,
): Promise<ClusterStatus | null> {
  const endMs = clock.monotonicMs() + SILENCE_MS;
  for (;;)
    try {
      return await client.clusterStatus({ signal: interrupted });
    } catch (error) {
      if (what.do === 'join' && error instanceof UnavailableError) return null;
      if (!isPassing(error)) throw error;
      if (clock.monotonicMs() >= endMs)
        throw new CommandError(
          `${what.do} goes on by itself, but the server has not answered for ${SILENCE_MS} ms: ${(error as Error).message}`,
          ExitCode.UNAVAILABLE,
          { cause: error },
        );
      await sleep(POLL_MS, undefined, { signal: interrupted });
    }
}
const isPassing = (error: unknown): boolean =>
  [ConnectionError, UnavailableError, TimeoutError, OverloadedError].some((kind) => error instanceof kind);

/** Says what is waited for when that is something else than before. */
class Said {
  readonly #context: Context;
  #text = '';
  constructor(context: Context) {
    this.#context = context;
  }
  async waits(waits: readonly string[]): Promise<void> {
    const text = waits.join('; ');
    if (text === this.#text) return;
    this.#text = text;
    if (text !== '') await this.#context.stderr.line(`ringkv: waits: ${text}`);
  }
}
function waitsOf(what: ClusterChange, { change, repair, refusal }: ClusterStatus): readonly string[] {
  if (what.do === 'repair') return repair.waitsFor;
  return [...(refusal === '' ? [] : [`not joined yet: ${refusal}`]), ...(change?.waitsFor ?? [])];
}

/** Nothing of the change is under way any more. */
function hasEnded(
  what: ClusterChange,
  before: ClusterStatus,
  { clock }: Context,
): (status: ClusterStatus) => boolean {
  const beginMs = clock.monotonicMs() + BEGIN_MS;
  return (status) => {
    const begun = status.ring !== before.ring || status.repair.lastEndMs !== before.repair.lastEndMs;
    const busy = status.change !== null || (what.do === 'repair' && status.repair.running);
    return !busy && (begun || clock.monotonicMs() > beginMs);
  };
}
/** The node that answers is a member, and has what it gained. */
const hasJoined = ({ nodes, self, change }: ClusterStatus): boolean =>
  change === null && nodes.some(({ nodeId, member }) => nodeId === self && member);

/** Whether the cluster is as the change was to make it. */
function checkOutcome(what: ClusterChange, before: ClusterStatus | null, after: ClusterStatus): void {
  const named = (id: string): ClusterStatus['nodes'][number] | undefined =>
    after.nodes.find(({ nodeId }) => nodeId.startsWith(id.toLowerCase()));
  const isMember = (id: string): boolean => named(id)?.member === true;
  let isSo = true;
  if (what.do === 'decommission') isSo = !isMember(what.node ?? before?.self ?? after.self);
  else if (what.do === 'replace') isSo = isMember(what.by) && !isMember(what.node);
  else if (what.do === 'reweigh')
    isSo =
      (what.weight === undefined || named(what.node)?.weight === what.weight) &&
      (what.rack === undefined || named(what.node)?.rack === what.rack);
  if (!isSo)
    throw new CommandError(
      `${what.do} was undone, or changed again: ringkv status shows what the cluster is now`,
      ExitCode.FAILED,
    );
}

function shareDone({ nodes, repair }: ClusterStatus): number {
  const sum = (of: (node: ClusterStatus['nodes'][number]) => number): number =>
    nodes.reduce((total, node) => total + of(node), 0);
  const all =
    sum(({ gains, leaveMarksMost }) => gains + leaveMarksMost) + repair.vnodesWaiting + repair.vnodesDone;
  const done = sum(({ gained, leaveMarks, leaveMarksMost }) => gained + leaveMarksMost - leaveMarks);
  return all === 0 ? 0 : (done + repair.vnodesDone) / all;
}
