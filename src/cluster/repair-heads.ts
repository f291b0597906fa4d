/** Heads of records (records without their values) of one side, read page by page. Pure. */
import { deadlineIn } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  compareRecordAge,
  compareRecordPlaces,
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  keyAt,
  keyspaceAt,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../base/record.ts';
import type { PagePlace, Replica, ReplicaPage } from './contract.ts';
import { pageOf } from './repair-calls.ts';
import type { RepairSessionOptions } from './repair-options.ts';

const NO_BYTES = new Uint8Array(0);
const TOKEN_LO_MAX = 0xffff_ffff;

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A record's head, or the record itself. */
export interface Head {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Walks over a range of one side. */
export class Heads {
  readonly #options: RepairSessionOptions;
  readonly #replica: Replica;
  readonly #range: Pick<ReplicaPage, 'firstHi' | 'lastHi'>;
  readonly #headOnly: boolean;
  #after: PagePlace | null = null;
  #isDone = false;
  #page: Head[] = [];
  #at = 0;

  constructor(
    options: RepairSessionOptions,
    replica: Replica,
    range: Pick<ReplicaPage, 'firstHi' | 'lastHi'>,
    headOnly: boolean,
  ) {
    this.#options = options;
    this.#replica = replica;
    this.#range = range;
    this.#headOnly = headOnly;
  }

  /** The next head without taking it; null at the end. */
  async peek(): Promise<Head | null> {
    while (this.#at === this.#page.length && !this.#isDone) await this.#fill();
    return this.#page[this.#at] ?? null;
  }
  take(): void {
    this.#at++;
  }

  async #fill(): Promise<void> {
    const options = this.#options;
    const { records, next } = await pageOf(options, this.#replica, {
      ...this.#range,
      firstLo: 0,
      lastLo: TOKEN_LO_MAX,
      after: this.#after,
      userOnly: false,
      prefix: NO_BYTES,
      headOnly: this.#headOnly,
      recordsMax: limits.repairPageRecordsMax,
      bytesMax: limits.repairPageBytes,
      deadlineMs: deadlineIn(options.clock, limits.repairRequestMsMax),
    });
    if (this.#replica === options.remote) options.statistics.bytesReceived += records.length;
    await options.pace(records.length);
    this.#after = next;
    this.#isDone = next === null;
    this.#page = [];
    this.#at = 0;
    const view = viewOf(records);
    for (let at = 0; at < records.length; at += recordBytesAt(view, at)) {
      const bytes = records.subarray(at, at + recordBytesAt(view, at));
      this.#page.push({ bytes, view: viewOf(bytes) });
    }
  }
}

/** One place at both sides; null where a side holds nothing there. */
export interface Pair {
  readonly our: Head | null;
  readonly their: Head | null;
}

/** Both sides in order of places, a token at a time: a user record lies beside its outcomes and its promise. */
export async function* tokenGroups(ours: Heads, theirs: Heads): AsyncGenerator<Pair[]> {
  let group: Pair[] = [];
  let token: Head | null = null;
  for (;;) {
    const our = await ours.peek();
    const their = await theirs.peek();
    const place = comparePlaces(our, their);
    const first = place <= 0 ? our : their;
    if (token !== null && (first === null || !isSameToken(token, first))) {
      yield group;
      group = [];
    }
    if (first === null) return;
    token = first;
    if (place <= 0) ours.take();
    if (place >= 0) theirs.take();
    group.push({ our: place <= 0 ? our : null, their: place >= 0 ? their : null });
  }
}

/** The end comes after everything. */
function comparePlaces(a: Head | null, b: Head | null): number {
  if (a === null) return b === null ? 0 : 1;
  return b === null ? -1 : compareRecordPlaces(a.view, a.bytes, 0, b.view, b.bytes, 0);
}
function isSameToken(a: Head, b: Head): boolean {
  return tokenHiAt(a.view, 0) === tokenHiAt(b.view, 0) && tokenLoAt(a.view, 0) === tokenLoAt(b.view, 0);
}

/** What heads say of age: equal versions with different values are equal here, as they are in the trees. */
export function compareHeads(a: Head, b: Head): number {
  return compareRecordAge(a.view, a.bytes, 0, b.view, b.bytes, 0);
}

export function diedBefore({ view }: Head, cutoffMs: number): boolean {
  const flags = flagsAt(view, 0);
  if ((flags & FLAG_TOMBSTONE) !== 0) return versionAt(view, 0) / 1000 < cutoffMs;
  return (flags & FLAG_EXPIRING) !== 0 && expiresMsAt(view, 0) < cutoffMs;
}

export const keyspaceOf = ({ view }: Head): number => keyspaceAt(view, 0);
export const keyOf = ({ view, bytes }: Head): Uint8Array => keyAt(view, bytes, 0);
export function placeOf(head: Head): PagePlace {
  return {
    tokenHi: tokenHiAt(head.view, 0),
    tokenLo: tokenLoAt(head.view, 0),
    keyspace: keyspaceOf(head),
    key: keyOf(head),
  };
}
