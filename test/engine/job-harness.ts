/** A small shard for tests of jobs: a disk, a clock, tables, and a Map that knows what must be in them. */
import { ManualClock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import {
  compareRecordAge,
  compareRecordPlaces,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  isDeadAt,
  keyAt,
  keyspaceAt,
  type RecordFields,
  recordBytes,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
  writeRecord,
} from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { CompactJob, JobResult, TableMeta, TableOptions } from '../../src/engine/contract.ts';
import type { JobTools, TableFactory } from '../../src/engine/job-tools.ts';
import { runJob } from '../../src/engine/run-job.ts';
import type { StopFlagMemory } from '../../src/ipc/stop-flag.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { newDisk } from './disk.ts';
import { PlainTables } from './plain-tables.ts';

export const DIRECTORY = '/shard';
export const START_MS = 1_700_000_000_000;
export const DAY_MS = 86_400_000;
export const GRACE_MS = 10 * 86_400_000;
export const ALL_TOKENS = { firstHi: 0, firstLo: 0, lastHi: 0xffff_ffff, lastLo: 0xffff_ffff };

export interface Encoded {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}
export function encoded(fields: RecordFields): Encoded {
  const bytes = new Uint8Array(recordBytes(fields.key.length, fields.value.length));
  const view = new DataView(bytes.buffer);
  writeRecord(bytes, 0, fields);
  return { bytes, view };
}

export interface Write {
  key: string;
  /** null deletes. */
  value: string | null;
  version: number;
  expiresMs?: number;
  keyspace?: number;
  origin?: number;
  tokenHi?: number;
}
export function recordOf(write: Write): RecordFields {
  const key = Buffer.from(write.key);
  hashToken(key);
  const expiresMs = write.expiresMs ?? 0;
  return {
    tokenHi: write.tokenHi ?? token.hi,
    tokenLo: token.lo,
    keyspace: write.keyspace ?? 0,
    key: new Uint8Array(key),
    value: new Uint8Array(Buffer.from(write.value ?? '')),
    version: write.version,
    origin: write.origin ?? 1,
    flags: (write.value === null ? FLAG_TOMBSTONE : 0) | (expiresMs > 0 ? FLAG_EXPIRING : 0),
    expiresMs,
  };
}

export const nameAt = ({ view, bytes }: Encoded, offset = 0): string =>
  `${tokenHiAt(view, offset)}/${tokenLoAt(view, offset)}/${keyspaceAt(view, offset)}/${Buffer.from(keyAt(view, bytes, offset)).toString('latin1')}`;

export const inOrder = (records: Iterable<Encoded>): Encoded[] =>
  [...records].sort((a, b) => compareRecordPlaces(a.view, a.bytes, 0, b.view, b.bytes, 0));

export const imageOf = (records: readonly Encoded[]): string =>
  Buffer.concat(records.map(({ bytes }) => bytes)).toString('latin1');

/** Of each key the newest. */
export function newestOf(records: Iterable<Encoded>): Map<string, Encoded> {
  const newest = new Map<string, Encoded>();
  for (const one of records) {
    const other = newest.get(nameAt(one));
    if (other === undefined || compareRecordAge(one.view, one.bytes, 0, other.view, other.bytes, 0) > 0)
      newest.set(nameAt(one), one);
  }
  return newest;
}

const TABLE_OPTIONS: TableOptions = { blockBytes: 4096, compression: 'none', bloomBitsPerKey: 10 };

export class JobHarness<Tables extends TableFactory = PlainTables> {
  readonly disk: SimulatedFileSystem;
  readonly clock = new ManualClock(START_MS);
  readonly tables: Tables;
  stop: StopFlagMemory = createStopFlag();
  number = 1;
  /** Each wait of a job, in ms. */
  readonly pauses: number[] = [];
  /** Called in each wait. */
  onPause: (ms: number) => void = () => undefined;
  readonly tools: JobTools;

  constructor(disk: SimulatedFileSystem, tables: Tables) {
    this.disk = disk;
    this.tables = tables;
    this.tools = {
      tables,
      clock: this.clock,
      pause: async (ms) => {
        this.pauses.push(ms);
        this.onPause(ms);
        this.clock.advanceMs(ms);
        await Promise.resolve();
      },
    };
  }

  /** Writes one record of each key, the newest. */
  table(records: Iterable<Encoded>): TableMeta {
    const builder = this.tables.create(this.disk, DIRECTORY, this.number++, TABLE_OPTIONS);
    for (const { view, bytes } of inOrder(newestOf(records).values())) builder.add(view, bytes, 0);
    const meta = builder.finish();
    this.disk.syncDirectory(DIRECTORY);
    return meta;
  }
  tableOf(...writes: Write[]): TableMeta {
    return this.table(writes.map((write) => encoded(recordOf(write))));
  }

  read(meta: TableMeta): Encoded[] {
    const reader = this.tables.open(this.disk, DIRECTORY, meta);
    const out: Encoded[] = [];
    for (const cursor = reader.cursor(null); cursor.valid; cursor.next()) {
      const bytes = cursor.bytes.slice(
        cursor.offset,
        cursor.offset + recordBytesAt(cursor.view, cursor.offset),
      );
      out.push({ bytes, view: new DataView(bytes.buffer) });
    }
    reader.close();
    return out;
  }
  readAll(tables: readonly TableMeta[]): Encoded[] {
    return tables.flatMap((meta) => this.read(meta));
  }
  /** All bytes of the records, as text: fast to compare. */
  image(tables: readonly TableMeta[]): string {
    return imageOf(this.readAll(tables));
  }
  /** What a reader of these tables finds: live records by name. */
  live(tables: readonly TableMeta[], nowMs = this.clock.nowMs()): Map<string, Encoded> {
    const newest = newestOf(this.readAll(tables));
    for (const [name, one] of newest) if (isDeadAt(one.view, 0, nowMs)) newest.delete(name);
    return newest;
  }

  job(inputs: readonly TableMeta[], others: Partial<CompactJob> = {}): CompactJob {
    const outputsMax = others.outputsMax ?? 16;
    const firstNumber = this.number;
    this.number += outputsMax;
    return {
      kind: 'compact',
      fileSystem: { kind: 'memory' },
      directory: DIRECTORY,
      table: TABLE_OPTIONS,
      ownership: { vnodes: 16, shards: 1, shard: 0 },
      stop: this.stop,
      inputs,
      firstNumber,
      outputsMax,
      outputBytesMax: 2 ** 40,
      nowMs: this.clock.nowMs(),
      gcGraceMs: GRACE_MS,
      outside: [],
      rateBytesPerSecond: 0,
      ...others,
    };
  }
  compact(inputs: readonly TableMeta[], others: Partial<CompactJob> = {}): Promise<JobResult> {
    return runJob(this.job(inputs, others), this.disk, this.tools);
  }
  /** Names of table files. */
  files(): string[] {
    return this.disk.readdir(DIRECTORY).filter((name) => this.tables.numberOf(name) >= 0);
  }
  pathOf(number: number): string {
    return this.tables.path(DIRECTORY, number);
  }
}

/** With tables as simple as they can be. */
export const newHarness = (disk = newDisk()): JobHarness => new JobHarness(disk, new PlainTables());

export const outsideOf = (tables: readonly TableMeta[]): CompactJob['outside'] =>
  tables.map(({ range, versionMin }) => ({ ...range, versionMin }));

/** A history of one key space spread over tables as flushes would, with writes, deletes and expiries. */
export function randomTables(harness: JobHarness<TableFactory>, random: Random): TableMeta[] {
  let version = (START_MS - 30 * DAY_MS) * 1000;
  return Array.from({ length: random.between(2, 8) }, () => {
    const records = Array.from({ length: random.between(1, 60) }, () => {
      version += random.below(2 * DAY_MS * 10);
      const expires = random.chance(0.3);
      return encoded(
        recordOf({
          key: `k${random.below(50)}`,
          value: random.chance(0.3) ? null : 'v'.repeat(random.below(40)),
          version,
          ...(expires ? { expiresMs: START_MS + random.between(-20, 20) * DAY_MS } : {}),
        }),
      );
    });
    return harness.table(records);
  });
}
