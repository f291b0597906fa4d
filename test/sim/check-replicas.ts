/**
 * (d) What all members hold at the end: for each record, its replicas hold the very same bytes. And (g): never two rings
 * under one number.
 */
import {
  expiresMsAt,
  FLAG_EXPIRING,
  flagsAt,
  isDeadAt,
  KEYSPACE_PROMISES,
  originAt,
  versionAt,
} from '../../src/base/record.ts';
import { hashToken, token, vnodeOf } from '../../src/base/token.ts';
import { replicasOf } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import type { Violation } from './check-quorum.ts';
import { showVersion } from './history.ts';
import type { Machine } from './machine.ts';
import type { HeldRecord } from './program.ts';
import { seenOf } from './seen.ts';

const encoder = new TextEncoder();

/** What each machine holds, by keyspace and key. */
type Holdings = ReadonlyMap<Machine, ReadonlyMap<string, HeldRecord>>;

function collectHoldings(machines: readonly Machine[]): Holdings {
  return new Map(
    machines.map((machine) => [
      machine,
      new Map((machine.program?.dump() ?? []).map((one) => [`${one.keyspace} ${one.key}`, one])),
    ]),
  );
}

/**
 * Where replicas differ. Promises are left out: they are a replica's own until a vnode moves. So are records that died
 * before `deadBeforeMs`: each replica drops them in its own time.
 */
export function compareReplicas(
  machines: readonly Machine[],
  ring: RingMap,
  nowMs: number,
  deadBeforeMs: number,
): Violation[] {
  const holdings = collectHoldings(machines);
  const names = new Set<string>();
  for (const held of holdings.values())
    for (const [name, { keyspace }] of held) if (keyspace !== KEYSPACE_PROMISES) names.add(name);
  const found: Violation[] = [];
  for (const name of [...names].sort()) {
    const key = name.slice(name.indexOf(' ') + 1);
    hashToken(encoder.encode(key));
    const homes = replicasOf(ring, vnodeOf(token.hi, ring.vnodes));
    const copies = [...holdings].filter(([{ number }]) => homes.includes(number));
    const states = copies.map(([, held]) => stateOf(held.get(name)?.record, nowMs, deadBeforeMs));
    if (states.every((state) => state === states[0])) continue;
    const shown = copies.map(([machine, held]) => `${machine.name} ${show(held.get(name))}`).join(', ');
    found.push({ promise: 'd: all replicas become the same', key, what: `keyspace ${name[0]}: ${shown}` });
  }
  return found;
}

/** Equal for records that are the same: byte by byte where they live, what has died by its version. */
function stateOf(record: Uint8Array | undefined, nowMs: number, deadBeforeMs: number): string {
  if (record === undefined) return 'nothing';
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  if (!isDeadAt(view, 0, nowMs)) return Buffer.from(record).toString('latin1');
  // An expired record is as old as the tombstone that a compaction makes of it, and left to itself from its expiry on: which of the
  // two is later depends on how far the clock that gave the version had been set ahead (seed 404485, --network connections).
  const buriedMs = versionAt(view, 0) / 1000;
  const diedMs =
    (flagsAt(view, 0) & FLAG_EXPIRING) === 0 ? buriedMs : Math.min(buriedMs, expiresMsAt(view, 0));
  return diedMs < deadBeforeMs ? 'nothing' : `dead ${versionAt(view, 0)} ${originAt(view, 0)}`;
}

function show(held: HeldRecord | undefined): string {
  if (held === undefined) return 'nothing';
  const { value, version } = seenOf(held.record);
  return `${value === '' ? 'a tombstone' : JSON.stringify(value)} at ${showVersion(version)}`;
}

/** Watches the rings that nodes go by. */
export class RingWatch {
  readonly #rings = new Map<number, { readonly digest: string; readonly by: string }>();
  readonly violations: Violation[] = [];

  look(machine: Machine): void {
    const ring = machine.program?.ring;
    if (ring === null || ring === undefined) return;
    const known = this.#rings.get(ring.number);
    const digest = digestOf(ring);
    if (known === undefined) this.#rings.set(ring.number, { digest, by: machine.name });
    else if (known.digest !== digest && this.violations.length === 0)
      this.violations.push({
        promise: 'g: never two rings under one number',
        key: '',
        what: `ring ${ring.number} of ${known.by} is ${known.digest}; that of ${machine.name} is ${digest}`,
      });
  }
}

const digests = new WeakMap<RingMap, string>();
function digestOf(ring: RingMap): string {
  let digest = digests.get(ring);
  if (digest === undefined) {
    digest = JSON.stringify(ring, (_, value: unknown) =>
      value instanceof Uint16Array ? [...value].join() : value,
    );
    digests.set(ring, digest);
  }
  return digest;
}
