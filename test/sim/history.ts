/**
 * What clients asked for and were told, in the order in which it happened, with what was done to the cluster meanwhile.
 * The checkers read nothing else but this and what replicas hold at the end. Times are virtual microseconds.
 */
import { createHash } from 'node:crypto';
import { statusName } from '../../src/base/status.ts';
import { Consistency, type ConsistencyCode } from '../../src/cluster/contract.ts';
import { Condition } from '../../src/shard/contract.ts';

/** A record as a client sees it. */
export interface Seen {
  readonly value: string;
  readonly version: number;
  /** 0: never. */
  readonly expiresMs: number;
}

export interface Operation {
  readonly id: number;
  readonly client: number;
  /** Of the machine that coordinates. */
  readonly node: string;
  readonly kind: 'put' | 'delete' | 'get' | 'scan';
  /** A scan: the prefix. */
  readonly key: string;
  readonly consistency: ConsistencyCode;
  readonly sloppyAllowed: boolean | undefined;
  readonly condition: number;
  /** Condition VERSION: what the client had seen, null for absent; its version, or 0. */
  readonly expected: Seen | null;
  /** '': none. Attempts of one write have the same. */
  readonly idempotencyKey: string;
  /** What is written, unique for each write; null for other kinds. */
  readonly value: string | null;
  readonly expiresMs: number;
  readonly invokedUs: number;
  /** By then the coordinator has answered, or never will. */
  readonly dueUs: number;
  /** The deadline that the coordinator was told, by a clock that neither drifts nor is set. */
  readonly deadlineUs: number;
  /** The process that was asked ran from then until the answer or, without one, until `dueUs`; and it was not about to end. */
  ranThrough: boolean;
  /** Clock of the coordinator then. */
  readonly invokedMs: number;
  /** Infinity while there is no answer. */
  endedUs: number;
  endedMs: number;
  /** -1 while there is no answer. */
  status: number;
  version: number;
  sloppy: boolean;
  /** get: what was found. */
  found: Seen | null;
  /** scan: what was found, by key. */
  readonly page: Map<string, Seen>;
  message: string;
}

export interface Note {
  readonly atUs: number;
  readonly text: string;
}

const OPERATIONS_MAX = 100_000;
const NOTES_MAX = 100_000;

export class History {
  readonly operations: Operation[] = [];
  readonly notes: Note[] = [];

  add(operation: Operation): void {
    if (this.operations.length >= OPERATIONS_MAX) throw new Error(`more than ${OPERATIONS_MAX} operations`);
    this.operations.push(operation);
  }
  note(atUs: number, text: string): void {
    if (this.notes.length < NOTES_MAX) this.notes.push({ atUs, text });
  }
  /** Names this history: two runs of one seed must give the same. */
  hash(): string {
    const hash = createHash('sha256');
    for (const line of this.lines()) hash.update(line).update('\n');
    return hash.digest('hex').slice(0, 16);
  }
  /** One line for each beginning, end and note. With `key`, only what concerns that key, and notes. */
  lines(key: string | null = null): string[] {
    const lines: { atUs: number; order: number; text: string }[] = [];
    const add = (atUs: number, text: string): void => void lines.push({ atUs, order: lines.length, text });
    for (const { atUs, text } of this.notes) add(atUs, `          ${text}`);
    for (const operation of this.operations) {
      if (
        key !== null &&
        operation.key !== key &&
        !(operation.kind === 'scan' && key.startsWith(operation.key))
      )
        continue;
      add(operation.invokedUs, `${`#${operation.id} `.padEnd(8)}> ${describeCall(operation)}`);
      if (Number.isFinite(operation.endedUs))
        add(operation.endedUs, `${`#${operation.id} `.padEnd(8)}< ${describeEnd(operation, key)}`);
    }
    lines.sort((a, b) => a.atUs - b.atUs || a.order - b.order);
    return lines.map(({ atUs, text }) => `${(atUs / 1000).toFixed(3).padStart(11)} ms  ${text}`);
  }
}

const levelNames = new Map<number, string>(Object.entries(Consistency).map(([name, level]) => [level, name]));
/** Versions are shown as what they lie behind the simulation's epoch: short enough to compare by eye. */
export const showVersion = (version: number): string =>
  version === 0 ? '0' : `v${(version / 1000 - 1_700_000_000_000).toFixed(3)}`;
const showSeen = (seen: Seen | null): string =>
  seen === null ? 'nothing' : `${seen.value} at ${showVersion(seen.version)}`;

export function describeCall(operation: Operation): string {
  const { kind, key, node, client, consistency, sloppyAllowed, condition, expected, value } = operation;
  const level = levelNames.get(consistency) ?? String(consistency);
  const sloppy = sloppyAllowed === undefined ? '' : sloppyAllowed ? ' sloppy' : ' strict';
  const demand =
    condition === Condition.VERSION
      ? ` if ${expected === null ? 'absent' : showSeen(expected)}`
      : condition === Condition.EXISTS
        ? ' if present'
        : '';
  const once = operation.idempotencyKey === '' ? '' : ` once ${operation.idempotencyKey}`;
  const expiry = operation.expiresMs === 0 ? '' : ` until ${operation.expiresMs - 1_700_000_000_000} ms`;
  const what = value === null ? '' : ` = ${value}`;
  return `client ${client} at ${node}: ${level}${sloppy} ${kind} ${key}${what}${demand}${expiry}${once}`;
}

function describeEnd(operation: Operation, key: string | null): string {
  const { kind, status, version, found, sloppy, message, page } = operation;
  const name = statusName(status);
  if (kind === 'get' && status === 0) return `${showSeen(found)}`;
  if (kind === 'scan' && status === 0)
    return key === null ? `${page.size} records` : showSeen(page.get(key) ?? null);
  if (status === 0) return `OK ${showVersion(version)}${sloppy ? ' sloppy' : ''}`;
  const current = version === 0 ? '' : ` ${showVersion(version)}`;
  return `${name}${current}${message === '' ? '' : `: ${message}`}`;
}
