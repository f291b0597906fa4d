import { expect } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import {
  KEYSPACE_USER,
  keyAt,
  recordBytesAt,
  valueAt,
  versionAt,
  writeRecord,
} from '../../src/base/record.ts';
import type { Durability } from '../../src/engine/contract.ts';
import { CommitLog } from '../../src/engine/wal.ts';
import { WAL_GROUP_HEADER_BYTES } from '../../src/engine/wal-format.ts';
import type { CommitLogOptions, LogCallback } from '../../src/engine/wal-options.ts';
import {
  closeRecovered,
  liveSegments,
  type RecoveredSegment,
  recoverSegment,
  segmentFileBytes,
  segmentPath,
} from '../../src/engine/wal-recovery.ts';
import type { FileSystem } from '../../src/vfs/file-system.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';

export const DIRECTORY = '/shard';
export const SEGMENT_BYTES = 4096;

export interface Entry {
  readonly version: number;
  readonly key: string;
  readonly value: string;
}

/** An arena and the log under it, driven as the engine drives them. */
export class LogHarness {
  readonly disk: SimulatedFileSystem;
  readonly clock = new ManualClock(1_000_000);
  readonly timers: (() => void)[] = [];
  readonly failures: Error[] = [];
  readonly log: CommitLog;
  bytes = new Uint8Array(SEGMENT_BYTES);
  view = new DataView(this.bytes.buffer);
  /** Start of the group that collects. */
  from = 0;
  head = WAL_GROUP_HEADER_BYTES;
  records = 0;
  version = 0;

  constructor(
    disk: SimulatedFileSystem,
    durability: Durability = 'always',
    options: Partial<CommitLogOptions> = {},
  ) {
    this.disk = disk;
    this.log = new CommitLog({
      fs: disk,
      directory: DIRECTORY,
      durability,
      syncIntervalMs: 100,
      segmentBytes: SEGMENT_BYTES,
      clock: this.clock,
      setTimer: (_ms, fire) => this.timers.push(fire),
      onFailure: (error) => this.failures.push(error),
      random: new Random(7),
      ...options,
    });
  }

  open(number: number): void {
    this.log.openSegment(number);
    this.bytes = new Uint8Array(SEGMENT_BYTES).fill(0xee);
    this.view = new DataView(this.bytes.buffer);
    this.from = 0;
    this.head = WAL_GROUP_HEADER_BYTES;
    this.records = 0;
  }

  /** Puts a record into the collecting group. */
  append(key: string, value: string): Entry {
    const entry = { version: ++this.version, key, value };
    this.head += writeRecord(this.bytes, this.head, {
      tokenHi: 1,
      tokenLo: 2,
      keyspace: KEYSPACE_USER,
      key: Buffer.from(key),
      value: Buffer.from(value),
      version: entry.version,
      origin: 3,
      flags: 0,
      expiresMs: 0,
    });
    this.records++;
    return entry;
  }
  get room(): number {
    return SEGMENT_BYTES - this.head - 2 * WAL_GROUP_HEADER_BYTES;
  }

  /** Writes the collecting group; the next one collects behind it once it is in. */
  write(done: LogCallback): void {
    const to = this.head;
    this.log.writeGroup(this.bytes, this.view, this.from, to, this.records, (error) => {
      if (error === null) {
        this.from = to;
        this.head = to + WAL_GROUP_HEADER_BYTES;
        this.records = 0;
      }
      done(error);
    });
  }
  async commit(): Promise<Error | null> {
    let outcome: Error | null | undefined;
    this.write((error) => {
      outcome = error;
    });
    await this.disk.settle();
    if (outcome === undefined) throw new Error('the commit did not come back');
    return outcome;
  }
  async mark(): Promise<void> {
    expect(this.log.markDue).toBe(true);
    this.records = 0;
    this.head = this.from + WAL_GROUP_HEADER_BYTES;
    let marked = false;
    this.log.markIdle(this.bytes, this.view, this.from, (error) => {
      marked = error === null;
    });
    await this.disk.settle();
    expect(marked).toBe(true);
    this.from = this.head;
    this.head += WAL_GROUP_HEADER_BYTES;
  }
  /** Closes the segment: with the collecting group where it has records, otherwise without. */
  async closeSegment(): Promise<Error | null> {
    let outcome: Error | null | undefined;
    const to = this.records > 0 ? this.head : this.from + WAL_GROUP_HEADER_BYTES;
    this.log.closeSegment(this.bytes, this.view, this.from, to, this.records, (error) => {
      outcome = error;
    });
    await this.disk.settle();
    if (outcome === undefined) throw new Error('the close did not come back');
    return outcome;
  }
}

export interface Recovery {
  readonly entries: Entry[];
  readonly segments: RecoveredSegment[];
}

/** Recovers every segment, as an engine that starts does, and closes what was cut. */
export function recoverAll(fs: FileSystem, oldestLive = 1): Recovery {
  const numbers = liveSegments(fs, DIRECTORY, oldestLive);
  const entries: Entry[] = [];
  const segments = numbers.map((number, index) =>
    recoverOne(fs, number, index === numbers.length - 1, entries),
  );
  const last = segments.at(-1);
  if (last !== undefined && last.damage === null)
    closeRecovered(fs, segmentPath(DIRECTORY, last.number), last);
  return { entries, segments };
}

export function recoverOne(
  fs: FileSystem,
  number: number,
  newest: boolean,
  entries: Entry[],
): RecoveredSegment {
  const path = segmentPath(DIRECTORY, number);
  const bytes = new Uint8Array(segmentFileBytes(fs, path));
  const view = new DataView(bytes.buffer);
  let last = 0;
  return recoverSegment(fs, path, { number, newest, bytes, view }, (arena, arenaView, offset) => {
    expect(offset).toBeGreaterThanOrEqual(last);
    last = offset + recordBytesAt(arenaView, offset);
    entries.push({
      version: versionAt(arenaView, offset),
      key: Buffer.from(keyAt(arenaView, arena, offset)).toString(),
      value: Buffer.from(valueAt(arenaView, arena, offset)).toString(),
    });
  });
}

export const isPrefix = (entries: readonly Entry[], of: readonly Entry[]): boolean =>
  JSON.stringify(entries) === JSON.stringify(of.slice(0, entries.length));
