/** Deliberate defects of deadlines, against which docs/decisions/0022-deadlines-by-the-monotonic-clock.md decides. */
import { type Clock, deadlineIn } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import type { Network, Replica } from '../../src/cluster/contract.ts';
import { decodePlain, encodePlain, type Plain } from '../../src/cluster/message-bytes.ts';
import { Kind } from '../../src/cluster/message-kinds.ts';
import { monotonic } from '../base/clocks.ts';
import { changed } from './changed.ts';

/** A process whose deadlines are times since 1970. */
export const onWallClock = (clock: Clock): Clock =>
  changed(clock, { monotonicMs: () => monotonic(clock.nowMs()) });

/** What a hop may take, whatever is left of the deadline. */
const HOP_MS = 200;
/** Another node is asked with a timeout of its own. */
export function withTimeoutOfItsOwn(replica: Replica, clock: Clock): Replica {
  const deadline = (): { readonly deadlineMs: ReturnType<typeof deadlineIn> } => ({
    deadlineMs: deadlineIn(clock, HOP_MS),
  });
  return changed(replica, {
    read: (request, done) => replica.read({ ...request, ...deadline() }, done),
    write: (request, done) => replica.write({ ...request, ...deadline() }, done),
    prepare: (request, done) => replica.prepare({ ...request, ...deadline() }, done),
  });
}

const REMAINING = 4;
/** A message with another time in the place of what is left of its deadline, where it is a request. */
function withRemaining(message: Uint8Array, change: (ms: number) => number): Uint8Array {
  const items = decodePlain(message) as Plain[];
  const [kind] = items;
  if (typeof kind !== 'number' || kind < Kind.WRITE || kind > Kind.HINT) return message;
  const changedItems = items.slice();
  changedItems[REMAINING] = Math.floor(change(Number(items[REMAINING])));
  return encodePlain(changedItems);
}
/** Requests bear the time at which they end, by the clock of their sender. */
export const tellingTimes = (network: Network, clock: Clock): Network =>
  changed(network, {
    send: (to, message, over) =>
      network.send(
        to,
        withRemaining(message, (ms) => clock.monotonicMs() + ms),
        over,
      ),
  });
/** Such a request as its receiver takes it, by its own clock. */
export const takenByOwnClock = (message: Uint8Array, clock: Clock): Uint8Array =>
  withRemaining(message, (ms) => Math.min(Math.max(0, ms - clock.monotonicMs()), limits.administrationMsMax));
