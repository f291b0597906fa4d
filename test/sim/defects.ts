/** Deliberate defects: the simulator is believed because it finds each of them. */
export const DEFECTS = [
  /** The commit log is not synced before a write is acknowledged. */
  'skip-fsync',
  /** A hint that a stand-in keeps counts as a home replica's answer, and the client is not told. */
  'hint-counts-as-home',
  /** A QUORUM read answers with the newest record without giving it to the replicas that lack it. */
  'drop-read-repair',
  /** Tombstones go before all replicas have them. */
  'purge-early',
  /** A replica takes writes below what it promised. */
  'ignore-promise',
] as const;
export type Defect = (typeof DEFECTS)[number];

export const isDefect = (name: string): name is Defect => (DEFECTS as readonly string[]).includes(name);
