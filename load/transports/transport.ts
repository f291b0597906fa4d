/** How requests reach a store, and how answers come back. */
import type { WriteTicket } from '../key-states.ts';

/** A request that is on its way: made once, used again and again. */
export interface Slot extends WriteTicket {
  readonly index: number;
  /** From its first request to its last answer; of the generator. */
  busy: boolean;
  /** Has a connection; of the generator, by what the transport tells. */
  ready: boolean;
  /** Waits among the idle slots; of the generator. */
  queued: boolean;
  operation: number;
  /** READ_MODIFY_WRITE: whether the write is on its way. */
  writing: boolean;
  key: number;
  serial: number;
  valueBytes: number;
  ttlMs: number;
  scanLength: number;
  dueUs: number;
  sentUs: number;
  /** KeyStates.beginRead of the read under way. */
  readGeneration: number;
}

/** Of an answer. */
export const Answer = {
  OK: 0,
  /** A key that is not there. */
  ABSENT: 1,
  /** Surely nothing was done. */
  REFUSED: 2,
  /** A write may have been done, or be done yet. */
  UNKNOWN: 3,
} as const;

/** The generator. */
export interface AnswerSink {
  /** `value` of a read, valid during the call; `failure` names what is neither OK nor ABSENT. */
  answered(slot: Slot, answer: number, value: Buffer | null, failure: string): void;
  /** One record of a scan, before `answered`. */
  scanned(slot: Slot, key: Buffer, value: Buffer): void;
  /** The slot can take a request: after each answer, and when a connection is there (again). Not where it is busy by then. */
  idle(slot: Slot): void;
  /** The slot's connection has gone: it takes nothing until `idle`. Before `answered` for what was on its way. */
  gone(slot: Slot): void;
  /** Something that cannot go on. */
  broken(error: Error): void;
}

export interface Transport {
  /** Calls `sink.idle` for each slot when it can be used. */
  open(slots: readonly Slot[], sink: AnswerSink): Promise<void>;
  /** Begins what the slot says: read, write or delete of `slot.key`, or scan from it. */
  read(slot: Slot): void;
  write(slot: Slot): void;
  delete(slot: Slot): void;
  scan(slot: Slot): void;
  /** After a group of requests: what was held back goes out. */
  flush(): void;
  close(): Promise<void>;
  /** Counters of the store, where it runs in this process: flushes, compactions. */
  counters?(): Promise<Readonly<Record<string, number>>>;
}

export type TransportName = 'ws' | 'http-raw' | 'http-json' | 'embedded' | 'redis' | 'etcd';

export const freshSlot = (index: number): Slot => ({
  index,
  busy: false,
  ready: false,
  queued: false,
  operation: 0,
  writing: false,
  key: 0,
  serial: 0,
  valueBytes: 0,
  ttlMs: 0,
  scanLength: 0,
  dueUs: 0,
  sentUs: 0,
  readGeneration: 0,
  generation: 0,
  alone: false,
  before: 0,
});

const KEY_DIGITS = 10;
const KEY_PREFIX = 'user';
export const keyText = (key: number): string => KEY_PREFIX + String(key).padStart(KEY_DIGITS, '0');
/** The number of a key that keyText made; -1 for any other. */
export function keyNumber(bytes: Buffer): number {
  if (bytes.length !== KEY_PREFIX.length + KEY_DIGITS) return -1;
  const text = bytes.toString('latin1');
  const number = Number(text.slice(KEY_PREFIX.length));
  return Number.isSafeInteger(number) && keyText(number) === text ? number : -1;
}
