import { checkLinearizable, type Operation } from './linearizability.ts';

/** A request and what came of it. Times are of the schedule. */
export interface Call {
  readonly client: number;
  readonly key: string;
  readonly kind: Operation['kind'];
  readonly serial: boolean;
  /** What is written; null deletes. A get: what it found. */
  value: string | null;
  /** cas: the version that is demanded. */
  readonly demanded: number;
  readonly called: number;
  returned: number;
  outcome: Operation['outcome'] | 'failed';
  version: number;
  sloppy: boolean;
}

function show({ client, kind, value, demanded, called, returned, outcome, version }: Call): string {
  return `${client}: ${kind} ${value}${kind === 'cas' ? ` if ${demanded}` : ''} ${outcome} ${version} [${called.toFixed(1)}, ${returned.toFixed(1)}]`;
}

/** SERIAL alone: one register. A version stands for the value that somebody saw under it. */
export function notLinearizable(all: readonly Call[]): string {
  const never = all.filter(
    ({ kind, outcome }) => kind !== 'get' && (outcome === 'mismatch' || outcome === 'failed'),
  );
  for (const { kind, value, called, returned } of all)
    if (kind === 'get' && value !== null && never.some((one) => one.value === value))
      return `${value}, which was refused, was read in [${called}, ${returned}]\n${all.map(show).join('\n')}`;
  const calls = all.filter(({ serial }) => serial);
  const values = new Map<number, string | null>([[0, null]]);
  for (const { kind, outcome, version, value } of all)
    if (outcome === 'ok' && version > 0 && kind !== 'delete') {
      if ((values.get(version) ?? value) !== value)
        return `version ${version} means both ${value} and ${values.get(version)}`;
      values.set(version, value);
    }
  const operations = calls
    .filter(({ outcome }) => outcome !== 'failed')
    .map((call): Operation => {
      const { client, kind, value, demanded, called, returned } = call;
      // The version of a delete names no state: a tombstone is absent, and absent is 0.
      const expected = values.has(demanded) ? (values.get(demanded) ?? null) : `nobody saw ${demanded}`;
      return {
        client,
        kind,
        value,
        expected,
        called,
        returned,
        outcome: call.outcome === 'failed' ? 'unknown' : call.outcome,
      };
    });
  const { linearizable, longest, stuck } = checkLinearizable(operations);
  if (linearizable) return '';
  const placed = longest.map(({ kind, value }) => `${kind} ${value}`).join(', ');
  return `not linearizable; after ${placed} nothing fits with ${stuck?.kind} ${stuck?.value} ${stuck?.outcome}\n${calls.map(show).join('\n')}`;
}

/** Acknowledged writes and earlier reads are never missed by a later read: versions do not go back. */
export function missedWrite(calls: readonly Call[]): string {
  const reads = calls.filter(({ kind, outcome }) => kind === 'get' && outcome === 'ok');
  for (const read of reads) {
    const before = calls.filter(
      ({ outcome, returned, sloppy, version, value }) =>
        outcome === 'ok' && returned < read.called && !sloppy && version > 0 && value !== null,
    );
    const deletes = calls.filter(
      ({ kind, outcome }) => kind === 'delete' && outcome !== 'failed' && outcome !== 'mismatch',
    );
    for (const one of before) {
      if (read.version >= one.version) continue;
      // Nothing was found: a delete must be able to have come after it.
      if (
        read.version === 0 &&
        deletes.some((del) => (del.outcome === 'ok' ? del.version >= one.version : true))
      )
        continue;
      return `a read misses what came before it\n${show(one)}\n${show(read)}\n${calls.map(show).join('\n')}`;
    }
    // A value is seen under one version, or under a later one where it was proposed again: never before it was written.
    const writer = calls.find(({ kind, value }) => kind !== 'get' && value !== null && value === read.value);
    if (
      read.value !== null &&
      (writer === undefined || writer.outcome === 'failed' || writer.outcome === 'mismatch')
    )
      return `a read finds what was not written\n${show(read)}`;
  }
  return '';
}

/** No conditional write lies above an acknowledged write that is newer than what it was based on. */
export function passedOver(calls: readonly Call[]): string {
  for (const cas of calls) {
    if (cas.kind !== 'cas' || cas.outcome !== 'ok') continue;
    for (const write of calls) {
      if (write.kind === 'get' || write.outcome !== 'ok' || write.sloppy || write === cas) continue;
      if (write.version <= cas.demanded || write.version >= cas.version) continue;
      // The very write that was demanded, seen before it was proposed again under the version that it was answered with.
      const isDemanded = ({ kind, version, value }: Call): boolean =>
        kind !== 'delete' && version === cas.demanded && value !== null && value === write.value;
      if (calls.some(isDemanded)) continue;
      if (write.kind === 'delete' && cas.demanded === 0) continue;
      if (cas.demanded === 0 && deletedBetween(calls, write, cas)) continue;
      return `a conditional write passes over another\n${show(write)}\n${show(cas)}\n${calls.map(show).join('\n')}`;
    }
  }
  return '';
}
/**
 * Of equal versions the higher origin comes later. A plain write that was refused by some replicas and repeated above them may have been
 * seen below its last version.
 */
function deletedBetween(calls: readonly Call[], write: Call, cas: Call): boolean {
  return calls.some(
    ({ kind, outcome, version, called }) =>
      kind === 'delete' && called < cas.returned && (outcome === 'unknown' || version >= write.version),
  );
}
