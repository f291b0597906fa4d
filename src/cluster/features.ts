/**
 * What a build can do beyond its version of the protocol between nodes, as bits of its hello (docs/peer-protocol.md). Numbers are part of the
 * protocol: never reuse one. Whoever wants something of a node that lacks its bit does what docs/cluster.md says of mixed versions, and waits for no answer.
 */
export const Feature = {
  /** Takes `repair-marks`, and answers. */
  REPAIR_MARKS: 1,
  /** Says of a tree that it is being built. Builds without it answer NOT_FOUND until it is. */
  TREE_PROGRESS: 2,
  /** Refuses requests of a kind that it does not know, and keeps the connection. Builds without it close the connection. */
  UNKNOWN_KINDS: 4,
  /** Says what became of versions that it gave (kind 24). */
  WRITTEN: 8,
} as const;

/** Those of this build. */
export const FEATURES =
  Feature.REPAIR_MARKS | Feature.TREE_PROGRESS | Feature.UNKNOWN_KINDS | Feature.WRITTEN;
