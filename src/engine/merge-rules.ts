/**
 * What a compaction does with the newest record of a key among its inputs. Owned by the job's thread; asked in
 * rising order of places. What must hold, whatever is dropped:
 *
 * 1. No read changes its answer. The older records of the key among the inputs go with the newest one, so only
 *    a source outside the job can hold an older one. A dead record goes only where no outside source that
 *    covers its token has versions at or below its own. Frozen and active memtables are such sources.
 * 2. Sources that come into being while the job runs need not be known: their records come from sources that
 *    are known, or were appended later, and the engine appends only versions above every one that it holds of
 *    the key, the dead record's included, which stays in force until the job's outputs are. Whoever brings a
 *    table into force by another way may do so only while no compaction runs.
 * 3. No deletion is forgotten before other replicas could learn of it: gcGraceMs, as long as repair may take.
 *    A tombstone's age counts from its version. A record that has expired is kept as a tombstone until
 *    gcGraceMs after its expiry, since it may still be live by the clock of another replica. The tombstone it
 *    becomes has its version, and is as old as that: the record was there to be repaired while it lived
 *    (as in Cassandra, where lifetime and tombstone together must outlast gc_grace_seconds).
 * 4. An expired record of the idempotency keyspace just goes. An outcome is replaced only after it expired by
 *    the clock that gives its successor an expiry idempotencyTtlMs later. So where one has expired, all older
 *    ones of its key expired at least idempotencyTtlMs before, and none comes back while the clock does not go
 *    back further than that. No replica waits to hear of it: a repeat after the expiry is a new write.
 *    The same holds for promises and outcomes of SERIAL (KEYSPACE_PROMISES, KEYSPACE_OUTCOMES): those of a key come with
 *    rising expiry.
 * 5. Records of vnodes that the shard does not own go, live ones too: their new owner took them over before
 *    the ownership was changed in the manifest.
 * 6. What is kept is kept as it is, byte for byte; an expired record loses its value and nothing else.
 */
import {
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  KEYSPACE_USER,
  keyLengthAt,
  keyspaceAt,
  RECORD_HEADER_BYTES,
  recordBytes,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../base/record.ts';
import { vnodeOf } from '../base/token.ts';
import type { CompactJob, Ownership } from './contract.ts';
import { OutsideSources } from './merge-outside.ts';
import { owns } from './token-range.ts';

export const FATE_KEEP = 0;
/** Write `MergeRules.tombstone` in its place. */
export const FATE_BURY = 1;
export const FATE_DROP = 2;
export type Fate = 0 | 1 | 2;

const KEY_BYTES_MAX = 0xffff;
const FLAGS_AT = 6;
const EXPIRY_AT = 32;

export class MergeRules {
  /** After FATE_BURY: the tombstone, encoded, at offset 0; valid until the next call. */
  readonly tombstone = new Uint8Array(recordBytes(KEY_BYTES_MAX, 0));
  readonly tombstoneView = new DataView(this.tombstone.buffer);
  readonly #nowMs: number;
  readonly #graceMs: number;
  readonly #ownership: Ownership;
  readonly #outside: OutsideSources;
  readonly #purgeBefore: Float64Array | null;

  constructor(job: Pick<CompactJob, 'nowMs' | 'gcGraceMs' | 'ownership' | 'outside' | 'purgeBefore'>) {
    this.#nowMs = job.nowMs;
    this.#graceMs = job.gcGraceMs;
    this.#ownership = job.ownership;
    this.#outside = new OutsideSources(job.outside);
    this.#purgeBefore = job.purgeBefore ?? null;
  }

  fateOf(view: DataView, bytes: Uint8Array, offset: number): Fate {
    const hi = tokenHiAt(view, offset);
    if (!owns(this.#ownership, hi)) return FATE_DROP;
    const flags = flagsAt(view, offset);
    if (flags === 0) return FATE_KEEP;
    const version = versionAt(view, offset);
    if ((flags & FLAG_TOMBSTONE) !== 0) {
      const old = this.#nowMs - version / 1000 >= this.#graceMs;
      return old && this.#mayPurge(hi, version) && this.#outsideIsNewer(hi, view, offset, version)
        ? FATE_DROP
        : FATE_KEEP;
    }
    const expiresMs = expiresMsAt(view, offset);
    if ((flags & FLAG_EXPIRING) === 0 || expiresMs > this.#nowMs) return FATE_KEEP;
    // Outcomes and promises: nobody asks for them any more, nor for older ones.
    if (keyspaceAt(view, offset) !== KEYSPACE_USER) return FATE_DROP;
    const old = this.#nowMs - expiresMs >= this.#graceMs;
    if (old && this.#mayPurge(hi, version) && this.#outsideIsNewer(hi, view, offset, version))
      return FATE_DROP;
    this.#bury(view, bytes, offset);
    return FATE_BURY;
  }

  /** Whether all replicas are known to have the dead record. */
  #mayPurge(hi: number, version: number): boolean {
    const before = this.#purgeBefore;
    return before === null || version < (before[vnodeOf(hi, this.#ownership.vnodes)] as number);
  }
  #outsideIsNewer(hi: number, view: DataView, offset: number, version: number): boolean {
    return this.#outside.versionMinAt(hi, tokenLoAt(view, offset)) > version;
  }

  #bury(view: DataView, bytes: Uint8Array, offset: number): void {
    const keyLength = keyLengthAt(view, offset);
    const end = RECORD_HEADER_BYTES + keyLength;
    const size = recordBytes(keyLength, 0);
    for (let i = 0; i < end; i++) this.tombstone[i] = bytes[offset + i] as number;
    this.tombstone.fill(0, end, size);
    this.tombstoneView.setUint32(0, 0, true);
    this.tombstone[FLAGS_AT] = FLAG_TOMBSTONE;
    this.tombstone.fill(0, EXPIRY_AT, RECORD_HEADER_BYTES);
  }
}
