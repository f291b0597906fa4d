/**
 * Gives a hint whose target is down to another node to keep, because this one leaves the ring, or has left it, and may be stopped
 * for good before the target is back. Owned by the thread of the coordinator; pure.
 *
 * 1. It is given up here only when another node has it on its disk: stand-ins are asked first, then other replicas.
 * 2. Its age begins anew there. So what was written longer than limits.hintAgeMsMax ago is given to nobody, and no hint is ever
 *    older than twice that: horizons of repairs rest on it (repairs.ts). Those go to replicas (hint-delivery.ts).
 */
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { ClusterView, ClusterWorld, NodeNumber, ReplicaWrite } from './contract.ts';
import { versionOf } from './coordinator-records.ts';
import { standIns, stays, writeGroups } from './ring-lookup.ts';

export interface HandoverOptions {
  readonly world: Pick<ClusterWorld, 'clock'>;
  readonly view: ClusterView;
}

/** `done` learns whether another node keeps it. */
export function handOver(
  { world, view }: HandoverOptions,
  target: NodeNumber,
  vnode: number,
  write: ReplicaWrite,
  done: (kept: boolean) => void,
): void {
  const { ring, self } = view;
  const writtenMs = versionOf(write.record) / 1000;
  const homes = writeGroups(ring, vnode).flat();
  const keepers = [...new Set([...standIns(ring, vnode), ...homes])].filter(
    (node) => node !== self && node !== target && stays(ring, node) && view.isUp(node),
  );
  keepers.length = Math.min(keepers.length, limits.hintAttemptsMax);
  const next = (): void => {
    const node = keepers.shift();
    if (node === undefined || world.clock.nowMs() - writtenMs > limits.hintAgeMsMax) {
      done(false);
      return;
    }
    view.replica(node).hint(target, write, ({ status }) => {
      if (status === Status.OK) done(true);
      else next();
    });
  };
  next();
}
