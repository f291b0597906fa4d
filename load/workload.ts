/** What a load consists of: plain data, that goes to the generator threads as it is. */
import type { ArrivalKind } from './arrivals.ts';
import type { KeyChoice } from './keys/choosers.ts';

export const OPERATIONS = ['read', 'update', 'insert', 'scan', 'readModifyWrite', 'delete'] as const;
export type OperationName = (typeof OPERATIONS)[number];
/** Places in OPERATIONS. */
export const Operation = {
  READ: 0,
  UPDATE: 1,
  INSERT: 2,
  SCAN: 3,
  READ_MODIFY_WRITE: 4,
  DELETE: 5,
} as const;

export interface Workload {
  /** Shares of the requests; their sum is 1. */
  readonly mix: Readonly<Partial<Record<OperationName, number>>>;
  readonly keys: KeyChoice;
  readonly records: number;
  /** Sizes of values are spread evenly on a logarithmic scale from `min` to `max`. */
  readonly valueBytes: { readonly min: number; readonly max: number };
  /** Seconds that written values live, evenly from `min` to `max`; 0: for ever. */
  readonly ttlSeconds: { readonly min: number; readonly max: number };
  /** Records of a scan: evenly from 1 to this. */
  readonly scanLengthMax: number;
  /** Of reads and writes; empty: the node's default. */
  readonly consistency: string;
  readonly arrivals: ArrivalKind;
}

export type Phase =
  /** Every record once, as fast as the connections go; those below `from` are there already. */
  | { readonly kind: 'preload'; readonly from?: number }
  /**
   * Each connection sends when it has its answer, for so long, or until so many requests were sent by each thread. Of two with another
   * `round` the keys are other ones.
   */
  | {
      readonly kind: 'closed';
      readonly seconds: number;
      readonly round?: number;
      readonly requests?: number;
    }
  /** `rate` a second is due, first for `warmUp` seconds that do not count. */
  | {
      readonly kind: 'open';
      readonly rate: number;
      readonly warmUp: number;
      readonly seconds: number;
      readonly giveUpMs: number;
    }
  /** Reads every record once, for at most so many seconds. */
  | { readonly kind: 'verify'; readonly seconds: number };
