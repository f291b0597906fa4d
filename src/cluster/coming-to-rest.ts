/**
 * How a node comes to rest, so that nothing that it acknowledged hangs on its memory: before it says that it is drained, and before its
 * process ends in an orderly way. Owned by the peer worker; pure. It takes no more requests of clients by then.
 *
 * A drain waits for as long as whoever asks does. A stop has three steps, each of at most limits.stopStepMsMax:
 *
 * 1. Calls behind answers end by themselves, most of them by an answer.
 * 2. Writes at other nodes that have not ended are taken for lost: their hints are kept where hints are always kept.
 * 3. Nothing is asked of other nodes any more: this node keeps the hints itself.
 *
 * What is left even then, because this node's own disk hangs, has its vnodes marked for repair. Marks are kept before the end.
 */
import { limits } from '../base/limits.ts';
import type { BehindAnswers } from './behind-answers.ts';
import type { ClusterWorld } from './contract.ts';
import type { HintReplay, HintsLeft } from './hint-replay.ts';

export interface RestingParts {
  readonly world: Pick<ClusterWorld, 'clock' | 'timers' | 'log'>;
  readonly behind: Pick<BehindAnswers, 'size' | 'vnodes' | 'whenIdle'>;
  readonly marks: {
    mark(vnode: number): void;
    keepMarks(done: () => void): void;
  };
}
/** RemoteReplicas; null before there are any. */
export interface EndingCalls {
  endWrites(): void;
  close(): void;
}
export interface DrainLeft {
  readonly hints: readonly HintsLeft[];
  /** Writes that were answered and of which a replica has neither taken its copy nor got a hint for it yet. */
  readonly unsettled: number;
}

/** Resolves when nothing is left to be done behind answers and hints for nodes that are there are handed out, or after `waitMs`. */
export async function drainParts(
  parts: RestingParts,
  hints: Pick<HintReplay, 'whenHandedOut'>,
  waitMs: number,
): Promise<DrainLeft> {
  const { clock } = parts.world;
  const endMs = clock.monotonicMs() + waitMs;
  const msLeft = (): number => Math.max(0, endMs - clock.monotonicMs());
  await idle(parts, msLeft());
  const left = await new Promise<readonly HintsLeft[]>((resolve) => hints.whenHandedOut(msLeft(), resolve));
  await marksKept(parts, msLeft());
  return { hints: left, unsettled: parts.behind.size };
}

export async function comeToRest(parts: RestingParts, calls: EndingCalls | null): Promise<void> {
  const { behind, marks, world } = parts;
  await idle(parts, limits.stopStepMsMax);
  calls?.endWrites();
  await idle(parts, limits.stopStepMsMax);
  calls?.close();
  await idle(parts, limits.stopStepMsMax);
  if (behind.size > 0) {
    world.log(
      'warn',
      `${behind.size} writes that were acknowledged are neither on all replicas nor kept as hints; their vnodes are marked for repair`,
    );
    for (const vnode of behind.vnodes()) marks.mark(vnode);
  }
  await marksKept(parts, limits.stopStepMsMax);
}

const idle = ({ behind }: RestingParts, waitMs: number): Promise<void> =>
  new Promise((resolve) => behind.whenIdle(waitMs, resolve));

function marksKept({ marks, world }: RestingParts, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const cancel = world.timers.after(waitMs, resolve);
    marks.keepMarks(() => {
      cancel();
      resolve();
    });
  });
}
