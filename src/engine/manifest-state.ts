/**
 * What a manifest says: which tables and log segments make up a shard. Plain state and the rules by which
 * an edit changes it; owned by the shard's thread.
 */
import type { Ownership, TableMeta } from './contract.ts';
import type { FramePayload } from './manifest-format.ts';

export interface ManifestState {
  readonly ownership: Ownership;
  /** Every table number given out so far lies below. */
  readonly nextNumber: number;
  /**
   * By number. A number tells nothing of age: a compaction's output is numbered after a table that was
   * flushed while it ran and holds newer records. See `newestFirst`.
   */
  readonly tables: ReadonlyMap<number, TableMeta>;
  /** Log segments below it are in tables, and go away. */
  readonly oldestLiveSegment: number;
  /** Highest version that any table held: the clock starts above it. */
  readonly versionMax: number;
}

/** What changes; a scalar that is absent stays. */
export interface VersionEdit {
  readonly addTables?: readonly TableMeta[];
  readonly removeTables?: readonly number[];
  readonly nextNumber?: number;
  readonly oldestLiveSegment?: number;
  readonly versionMax?: number;
  readonly ownership?: Ownership;
}

/**
 * Tables in the order in which a point read asks them: by versionMax, the highest first, then by number.
 * A hint for speed alone. Tables overlap in versions, so a reader may stop at a record only where every
 * table left has a lower versionMax than the record's version.
 */
export function newestFirst(tables: Iterable<TableMeta>): TableMeta[] {
  return [...tables].sort((a, b) => b.versionMax - a.versionMax || b.number - a.number);
}

/** The frame that turns `state` into what `edit` wants. */
export function payloadOfEdit(state: ManifestState, edit: VersionEdit): FramePayload {
  const addTables = edit.addTables ?? [];
  return {
    nextNumber: edit.nextNumber ?? state.nextNumber,
    versionMax: addTables.reduce(
      (highest, table) => Math.max(highest, table.versionMax),
      Math.max(state.versionMax, edit.versionMax ?? 0),
    ),
    oldestLiveSegment: edit.oldestLiveSegment ?? state.oldestLiveSegment,
    ownership: edit.ownership ?? state.ownership,
    addTables,
    removeTables: edit.removeTables ?? [],
  };
}

/** The frame that gives `state` from nothing. */
export function payloadOfState(state: ManifestState): FramePayload {
  return { ...state, addTables: [...state.tables.values()], removeTables: [] };
}

/** The state after a frame, or what is wrong with the frame; `state` null for a snapshot. */
export function applyPayload(state: ManifestState | null, payload: FramePayload): ManifestState | string {
  if (state !== null) {
    if (payload.nextNumber < state.nextNumber)
      return `next number ${payload.nextNumber} below ${state.nextNumber}`;
    if (payload.oldestLiveSegment < state.oldestLiveSegment)
      return `oldest live segment ${payload.oldestLiveSegment} below ${state.oldestLiveSegment}`;
    if (payload.versionMax < state.versionMax)
      return `versionMax ${payload.versionMax} below ${state.versionMax}`;
  }
  const tables = new Map(state?.tables ?? []);
  for (const number of payload.removeTables)
    if (!tables.delete(number)) return `table ${number} is removed and was not there`;
  for (const table of payload.addTables) {
    if (tables.has(table.number)) return `table ${table.number} is added and was there`;
    if (table.number >= payload.nextNumber)
      return `table ${table.number} is not below next number ${payload.nextNumber}`;
    tables.set(table.number, table);
  }
  const { ownership, nextNumber, oldestLiveSegment, versionMax } = payload;
  return { ownership, nextNumber, tables, oldestLiveSegment, versionMax };
}
