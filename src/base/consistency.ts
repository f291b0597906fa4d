/** How many replicas a request waits for. Numbers are part of the protocols between threads and nodes. */
export const Consistency = { ONE: 1, QUORUM: 2, ALL: 3, SERIAL: 4 } as const;
export type ConsistencyCode = (typeof Consistency)[keyof typeof Consistency];
