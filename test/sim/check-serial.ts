/** (b) Histories of keys that are used at SERIAL only are linearizable. */
import { Status } from '../../src/base/status.ts';
import { Condition } from '../../src/shard/contract.ts';
import {
  checkLinearizable,
  type Operation as Step,
  TooConcurrentError,
  type Verdict,
} from '../cluster/linearizability.ts';
import type { Violation } from './check-quorum.ts';
import type { History, Operation } from './history.ts';

/** `onUndecided`: of a key, whose history is too concurrent to be judged. */
export function checkSerial(
  history: History,
  isSerial: (key: string) => boolean,
  onUndecided: (key: string) => void,
): Violation[] {
  const keys = new Set(
    history.operations.filter(({ kind, key }) => kind !== 'scan' && isSerial(key)).map(({ key }) => key),
  );
  const found: Violation[] = [];
  for (const key of keys) {
    const steps = stepsOf(history.operations.filter((one) => one.kind !== 'scan' && one.key === key));
    const verdict = judge(steps);
    if (verdict === null) onUndecided(key);
    if (verdict === null || verdict.linearizable) continue;
    const { longest, stuck } = verdict;
    const last = longest.slice(-3).map(describe).join(', ');
    found.push({
      promise: 'b: histories at SERIAL are linearizable',
      key,
      what: `${longest.length} of ${steps.length} operations can be put in order, the last being ${last}; then nothing fits ${stuck === null ? 'any more' : describe(stuck)}`,
    });
  }
  return found;
}

function judge(steps: readonly Step[]): Verdict | null {
  try {
    return checkLinearizable(steps);
  } catch (error) {
    if (error instanceof TooConcurrentError) return null;
    throw error;
  }
}

const describe = ({ client, kind, value, expected, called }: Step): string =>
  `${kind}${kind === 'cas' ? ` ${expected ?? 'absent'} to` : ''} ${value ?? 'nothing'} of client ${client} at ${(called / 1000).toFixed(3)} ms`;

/**
 * What the checker judges. Attempts of one write are one operation: done once, at any time from the first attempt on. A
 * refusal says what the version was: where that is the version of a known value it counts as a read of it. It is not
 * held against a condition that was met by value: the version of a record may change while its value stays, where Paxos
 * finishes what was left unfinished.
 */
function stepsOf(operations: readonly Operation[]): Step[] {
  const values = new Map<number, string>();
  for (const { kind, status, found, value, version } of operations) {
    if (status !== Status.OK) continue;
    if (kind === 'get' && found !== null) values.set(found.version, found.value);
    if (kind === 'put' && value !== null) values.set(version, value);
  }
  const steps: Step[] = [];
  const attempts = new Map<string, Operation[]>();
  for (const operation of operations) {
    if (operation.kind === 'get') {
      if (operation.status === Status.OK) steps.push(read(operation, operation.found?.value ?? null));
      continue;
    }
    if (operation.status === Status.VERSION_MISMATCH && operation.idempotencyKey === '') {
      const seen = operation.version === 0 ? null : values.get(operation.version);
      if (seen !== undefined) steps.push(read(operation, seen));
      continue;
    }
    const group = operation.idempotencyKey === '' ? `#${operation.id}` : operation.idempotencyKey;
    const known = attempts.get(group);
    if (known === undefined) attempts.set(group, [operation]);
    else known.push(operation);
  }
  for (const group of attempts.values()) {
    const step = write(group);
    if (step !== null) steps.push(step);
  }
  return steps;
}

function read(operation: Operation, value: string | null): Step {
  const { client, invokedUs, endedUs } = operation;
  return { client, kind: 'get', value, expected: null, called: invokedUs, returned: endedUs, outcome: 'ok' };
}

function write(attempts: readonly Operation[]): Step | null {
  const [first] = attempts;
  if (first === undefined || attempts.every(({ status }) => status === Status.VERSION_MISMATCH)) return null;
  const succeeded = attempts.find(({ status }) => status === Status.OK);
  const kind =
    first.condition === Condition.VERSION
      ? 'cas'
      : first.condition === Condition.EXISTS
        ? 'exists'
        : first.kind;
  if (kind === 'scan') return null;
  return {
    client: first.client,
    kind,
    value: first.value,
    expected: first.expected?.value ?? null,
    called: first.invokedUs,
    returned: succeeded?.endedUs ?? Number.POSITIVE_INFINITY,
    outcome: succeeded === undefined ? 'unknown' : 'ok',
  };
}
