/**
 * Outcome codes: small integers that pass between threads and, later, over the wire, where an error
 * object would cost an allocation. 0 is success. Numbers are part of the WebSocket protocol: never reuse one.
 */
export const Status = {
  OK: 0,
  NOT_FOUND: 1,
  VERSION_MISMATCH: 2,
  BAD_REQUEST: 3,
  KEY_TOO_LARGE: 4,
  VALUE_TOO_LARGE: 5,
  RATE_LIMITED: 6,
  OVERLOADED: 7,
  UNAVAILABLE: 8,
  TIMEOUT: 9,
  DISK_FULL: 10,
  PRECONDITION_FAILED: 11,
  CORRUPTION: 12,
  READ_ONLY: 13,
  SHARD_DOWN: 14,
} as const;

/** Outcomes that stay between coordinators and replicas. Numbers never meet those of Status. */
export const PeerStatus = {
  /** A replica holds or promised a version at or above the one that came. */
  STALE_VERSION: 64,
  /** The sender's ring is older than the receiver's. */
  STALE_RING: 65,
  /** The receiver's build does not know requests of this kind. */
  UNKNOWN_REQUEST: 66,
} as const;

export type StatusCode = (typeof Status)[keyof typeof Status];
export type StatusName = keyof typeof Status;

const names = new Map<number, StatusName>(
  (Object.entries(Status) as [StatusName, StatusCode][]).map(([name, code]) => [code, name]),
);

export function statusName(code: number): StatusName | `UNKNOWN_${number}` {
  return names.get(code) ?? `UNKNOWN_${code}`;
}
