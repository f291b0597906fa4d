/**
 * What callers saw of one key, and whether one order of its writes explains it (linearizability, Herlihy and Wing
 * 1990). Versions say what the order is: what must hold is that it agrees with time and with what each call saw.
 */
import { Status } from '../../src/base/status.ts';
import { Condition } from '../../src/shard/contract.ts';

export interface Event {
  readonly kind: 'put' | 'delete' | 'get';
  readonly condition: number;
  readonly expected: number;
  /** The value written; of a get, the one read. */
  value: string;
  readonly began: number;
  /** Infinity while there is no answer. */
  ended: number;
  status: number;
  /** Of the answer. */
  version: number;
  /** Repeats of one write under one idempotency key have the same, others ''. */
  readonly once: string;
}

interface State {
  readonly version: number;
  readonly live: boolean;
  readonly value: string;
  began: number;
  ended: number;
  readonly event: Event | null;
}

/** What is wrong with the history of one key, '' where nothing is. */
export function faultOf(events: readonly Event[]): string {
  const states = statesOf(events);
  const place = new Map(states.map(({ version }, index) => [version, index]));
  const seen: { readonly event: Event; readonly low: number; readonly high: number }[] = [];
  for (const [index, { event }] of states.entries()) {
    if (event === null) continue;
    const before = states[index - 1] as State;
    if (event.condition === Condition.VERSION && event.expected !== (before.live ? before.version : 0))
      return `version ${event.version} was written over ${before.version} where ${event.expected} was demanded`;
    if (event.condition === Condition.EXISTS && !before.live)
      return `version ${event.version} was written over an absent key`;
    const { began, ended } = states[index] as State;
    seen.push({ event: { ...event, began, ended }, low: index, high: index });
  }
  for (const event of events) {
    const absent = event.version === 0;
    const observed =
      event.kind === 'get' ? event.status === Status.OK || event.status === Status.NOT_FOUND : false;
    if (!observed && (event.status !== Status.VERSION_MISMATCH || event.once !== '')) continue;
    if (event.status === Status.VERSION_MISMATCH && event.condition === Condition.VERSION)
      if (event.version === event.expected)
        return `version ${event.version} was refused for being ${event.version}`;
    if (absent) {
      seen.push({ event, low: -1, high: -1 });
      continue;
    }
    const index = place.get(event.version);
    if (index === undefined) return `version ${event.version} was seen, but never acknowledged`;
    const state = states[index] as State;
    if (!state.live) return `version ${event.version} of a deletion was seen`;
    if (event.kind === 'get' && state.value !== event.value)
      return `version ${event.version} with another value`;
    seen.push({ event, low: index, high: index });
  }
  return orderFault(seen, states);
}

/** The states that the key went through, the first one absent. A write and its repeats are one. */
function statesOf(events: readonly Event[]): State[] {
  const byVersion = new Map<number, State>();
  for (const event of events) {
    if (event.kind === 'get' || event.status !== Status.OK) continue;
    const { version, value, began, ended } = event;
    const known = byVersion.get(version);
    if (known === undefined)
      byVersion.set(version, { version, live: event.kind === 'put', value, began, ended, event });
    else {
      if (event.once === '' || known.event?.once !== event.once)
        throw new Error(`version ${version} was given twice`);
      known.began = Math.min(known.began, began);
      known.ended = Math.min(known.ended, ended);
    }
  }
  const first: State = { version: 0, live: false, value: '', began: -1, ended: -1, event: null };
  return [first, ...[...byVersion.values()].toSorted((a, b) => a.version - b.version)];
}

/** No call may see, or be, a state before one that a call saw which had ended when it began. */
function orderFault(
  seen: readonly { readonly event: Event; readonly low: number; readonly high: number }[],
  states: readonly State[],
): string {
  const fixed = seen.filter(({ low }) => low >= 0);
  for (const { event, low } of seen) {
    const isWrite = event.status === Status.OK && event.kind !== 'get';
    let least = 0;
    let most = states.length - 1;
    for (const other of fixed) {
      const otherWrites = other.event.status === Status.OK && other.event.kind !== 'get';
      if (other.event.ended < event.began) least = Math.max(least, other.low + (isWrite ? 1 : 0));
      if (other.event.began > event.ended) most = Math.min(most, other.low - (otherWrites ? 1 : 0));
    }
    const fits =
      low >= 0 ? low >= least && low <= most : states.slice(least, most + 1).some(({ live }) => !live);
    if (!fits)
      return `${event.kind} of version ${event.version} at ${event.began} to ${event.ended}: between states ${least} and ${most} of ${states.length}`;
  }
  return '';
}
