/** What a run does, when the command line has been read: a scenario with what was asked for otherwise. */
import type { ArrivalKind } from './arrivals.ts';
import type { PeerName } from './peers/peer-process.ts';
import type { Scenario } from './scenarios.ts';
import type { TransportName } from './transports/transport.ts';

export interface RunOptions {
  readonly scenario: Scenario;
  readonly transport: TransportName;
  readonly arrivals: ArrivalKind;
  /** Requests on their way at a time, over all generator threads. */
  readonly inFlight: number;
  readonly generators: number;
  readonly giveUpMs: number;
  readonly seed: number;
  readonly urls: readonly string[];
  /** The nodes at `urls` hold the records of an earlier run. */
  readonly filled: boolean;
  /** Another store instead of RingKV. */
  readonly peer: PeerName | null;
  /** Parent of data directories; empty: the system's. */
  readonly parent: string;
}
