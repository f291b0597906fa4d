/**
 * Whether a history of one key is linearizable: the algorithm of Wing and Gong with Lowe's memory of visited
 * configurations, on the linked list of calls and returns as in Porcupine. The register holds a value or nothing.
 *
 * 1. Values are unique per write, so that a read names the write that it saw.
 * 2. An operation of outcome 'unknown' may take effect at any time after its call, or never; its `returned` does not
 *    count. Operations that are known to have had no effect and told nothing are left out by the caller.
 * 3. Writes of outcome 'unknown' that do the same, with values that nobody read or demanded, are tried in order of their
 *    calls only: whatever the later one can do the earlier one can do in its place. That keeps histories of many lost writes
 *    within reach.
 * 4. A conditional write names the state that it demands by its value: the caller knows which write a version means.
 */
export type OperationKind = 'get' | 'put' | 'delete' | 'cas' | 'exists';

export interface Operation {
  readonly client: number;
  readonly kind: OperationKind;
  /** What is written; null deletes. A get: what it found. */
  readonly value: string | null;
  /** cas: what the register must hold; null: nothing. */
  readonly expected: string | null;
  readonly called: number;
  readonly returned: number;
  readonly outcome: 'ok' | 'mismatch' | 'unknown';
}

export interface Verdict {
  readonly linearizable: boolean;
  /** Not linearizable: the longest order found, and what nothing could be done with after it. */
  readonly longest: readonly Operation[];
  readonly stuck: Operation | null;
  /** Configurations looked at. */
  readonly steps: number;
}

interface Entry {
  readonly index: number;
  readonly call: boolean;
  readonly at: number;
  match: Entry | null;
  prev: Entry | null;
  next: Entry | null;
}

/** Configurations after which a check gives up with an error: a history too concurrent to be judged. */
const STEPS_MAX = 5_000_000;
/** A history that nobody can judge in the time there is. */
export class TooConcurrentError extends Error {}
const REFUSED = Symbol('refused');

/** The register after `operation` on `state`, or REFUSED where its outcome could not have come about. */
function apply(operation: Operation, state: string | null): string | null | typeof REFUSED {
  const { kind, outcome, value, expected } = operation;
  if (kind === 'get') return outcome === 'unknown' || value === state ? state : REFUSED;
  if (kind === 'put' || kind === 'delete') return outcome === 'mismatch' ? REFUSED : value;
  const holds = kind === 'exists' ? state !== null : state === expected;
  if (outcome === 'unknown') return holds ? value : state;
  return holds === (outcome === 'ok') ? (holds ? value : state) : REFUSED;
}

/** Judges operations on one key that start from `initial`. */
export function checkLinearizable(
  operations: readonly Operation[],
  initial: string | null = null,
  stepsMax = STEPS_MAX,
): Verdict {
  const relevant = canonical(operations);
  const twins = earlierTwins(relevant);
  const head: Entry = { index: -1, call: false, at: 0, match: null, prev: null, next: null };
  let toReturn = link(relevant, head);
  const linearized = new Uint32Array(Math.ceil(relevant.length / 32));
  const seen = new Set<string>();
  const stack: { entry: Entry; state: string | null }[] = [];
  let state = initial;
  let longest: Operation[] = [];
  let stuck: Operation | null = null;
  let steps = 0;
  let entry = head.next;
  while (toReturn > 0) {
    if (++steps > stepsMax)
      throw new TooConcurrentError(`a history of ${relevant.length} operations takes too long`);
    if (entry?.call) {
      const operation = relevant[entry.index] as Operation;
      const twin = twins[entry.index] as number;
      const isNext = twin < 0 || isSet(linearized, twin);
      const after = isNext ? apply(operation, state) : REFUSED;
      let taken = false;
      if (after !== REFUSED) {
        flip(linearized, entry.index);
        const configuration = `${linearized.join()}|${after === null ? '' : `=${after}`}`;
        if (seen.has(configuration)) flip(linearized, entry.index);
        else {
          seen.add(configuration);
          stack.push({ entry, state });
          state = after;
          lift(entry);
          if (entry.match !== null) toReturn--;
          taken = true;
        }
      }
      entry = taken ? head.next : entry.next;
      continue;
    }
    // A return whose call is not placed yet, or the end of the list: what was placed last was wrong.
    if (stack.length >= longest.length && entry !== null) {
      longest = stack.map((frame) => relevant[frame.entry.index] as Operation);
      stuck = relevant[entry.index] as Operation;
    }
    const frame = stack.pop();
    if (frame === undefined) return { linearizable: false, longest, stuck, steps };
    flip(linearized, frame.entry.index);
    state = frame.state;
    unlift(frame.entry);
    if (frame.entry.match !== null) toReturn++;
    entry = frame.entry.next;
  }
  return { linearizable: true, longest: [], stuck: null, steps };
}

/** Without lost reads; values of lost writes that nobody names become one. */
function canonical(operations: readonly Operation[]): readonly Operation[] {
  const named = new Set<string | null>();
  for (const { kind, outcome, value, expected } of operations) {
    if (kind === 'get' && outcome === 'ok') named.add(value);
    if (kind === 'cas') named.add(expected);
  }
  return operations
    .filter(({ kind, outcome }) => kind !== 'get' || outcome !== 'unknown')
    .sort((a, b) => a.called - b.called)
    .map((one) =>
      one.outcome === 'unknown' && one.value !== null && !named.has(one.value)
        ? { ...one, value: '(lost)' }
        : one,
    );
}
/** For each lost write the one before it that does the same, or -1. */
function earlierTwins(operations: readonly Operation[]): readonly number[] {
  const last = new Map<string, number>();
  return operations.map(({ kind, outcome, value, expected }, index) => {
    if (outcome !== 'unknown') return -1;
    const name = JSON.stringify([kind === 'delete' ? 'put' : kind, value, expected]);
    const twin = last.get(name) ?? -1;
    last.set(name, index);
    return twin;
  });
}

/** Chains calls and returns by time after `head`; tells how many returns there are. */
function link(operations: readonly Operation[], head: Entry): number {
  const entries: Entry[] = [];
  let returns = 0;
  for (const [index, { called, returned, outcome }] of operations.entries()) {
    const call: Entry = { index, call: true, at: called, match: null, prev: null, next: null };
    entries.push(call);
    if (outcome === 'unknown') continue;
    call.match = { index, call: false, at: returned, match: null, prev: null, next: null };
    entries.push(call.match);
    returns++;
  }
  // At one time calls stand before returns: what touches counts as concurrent.
  entries.sort((a, b) => a.at - b.at || Number(b.call) - Number(a.call) || a.index - b.index);
  let last = head;
  for (const entry of entries) {
    last.next = entry;
    entry.prev = last;
    last = entry;
  }
  return returns;
}

function flip(bits: Uint32Array, index: number): void {
  bits[index >>> 5] = (bits[index >>> 5] as number) ^ (1 << (index & 31));
}
function isSet(bits: Uint32Array, index: number): boolean {
  return (((bits[index >>> 5] as number) >>> (index & 31)) & 1) === 1;
}
function unlink(entry: Entry): void {
  if (entry.prev !== null) entry.prev.next = entry.next;
  if (entry.next !== null) entry.next.prev = entry.prev;
}
function relink(entry: Entry): void {
  if (entry.prev !== null) entry.prev.next = entry;
  if (entry.next !== null) entry.next.prev = entry;
}
function lift(entry: Entry): void {
  unlink(entry);
  if (entry.match !== null) unlink(entry.match);
}
function unlift(entry: Entry): void {
  if (entry.match !== null) relink(entry.match);
  relink(entry);
}
