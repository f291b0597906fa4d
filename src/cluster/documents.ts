/** What the parts of the cluster keep on disk besides records and hints. */

/** Small documents of this node that survive a crash once `done` is called: generation, ring, acceptor, progress. */
export interface Documents {
  /** As of the start; null where it was never saved. */
  load(name: string): Uint8Array | null;
  /** Replaces it atomically. Saves of one name take effect in order. */
  save(name: string, bytes: Uint8Array, done: (error: Error | null) => void): void;
}
export interface RemovableDocuments extends Documents {
  /** Durably, before it returns, whether it was there or not; no save of it is under way. Throws IoError. */
  remove(name: string): void;
}
