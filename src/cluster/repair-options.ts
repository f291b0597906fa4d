/** What a comparison of two replicas of a vnode (repair-session.ts) is given, and what it counts. */
import type { Clock } from '../base/clock.ts';
import type { Replica } from './contract.ts';
import type { CallTools } from './repair-calls.ts';

export interface RepairStatistics {
  recordsCompared: number;
  recordsSent: number;
  recordsReceived: number;
  /** Records. */
  bytesSent: number;
  /** Records, heads and hashes. */
  bytesReceived: number;
  settled: number;
  resurrections: number;
}
export const newRepairStatistics = (): RepairStatistics => ({
  recordsCompared: 0,
  recordsSent: 0,
  recordsReceived: 0,
  bytesSent: 0,
  bytesReceived: 0,
  settled: 0,
  resurrections: 0,
});

export interface RepairSessionOptions extends CallTools {
  readonly vnode: number;
  readonly vnodes: number;
  readonly local: Replica;
  readonly remote: Replica;
  /** Whether each of both sides, `local` first, says of a tree that it is being built. */
  readonly tellsOfTrees: readonly boolean[];
  /** Tells this session's trees from others. */
  readonly session: number;
  /** Take only what this node lacks. */
  readonly pullOnly: boolean;
  /** The remote side is part of every quorum: what it holds is taken below promises too (WriteMode.FILL). With `pullOnly` only. */
  readonly overPromises: boolean;
  readonly clock: Clock;
  /** Resolves when so many more bytes may be moved; rejects where the session is to end. */
  readonly pace: (bytes: number) => Promise<void>;
  /** Runs a key through SERIAL, so that all its replicas that are up agree. */
  readonly settle: (key: Uint8Array, tokenHi: number, tokenLo: number) => Promise<void>;
  readonly statistics: RepairStatistics;
  /** What both sides will probably leave out: saves that one of them builds its tree twice. 0: unknown. */
  readonly expectedCutoffMs: number;
  /** Called with the heads of records that the other side lacks, where only it is to be taken from. */
  readonly onOnlyHere?: (head: Uint8Array) => void;
}
