/** What a simulation is told, and what it gives. */
import type { Violation } from './check-quorum.ts';
import type { ConnectionDefect } from './connection-defects.ts';
import type { NetworkKind } from './connection-plan.ts';
import type { Defect } from './defects.ts';
import type { History } from './history.ts';

export interface SimulationOptions {
  readonly seed: number;
  readonly defect?: Defect | ConnectionDefect | null;
  /** Hot keys, whatever the seed says. */
  readonly hot?: boolean;
  readonly verbose?: boolean;
  /** Messages alone, or connections and addresses too; null: as chance has it. */
  readonly network?: NetworkKind | null;
}

export interface SimulationResult {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly history: History;
  readonly setting: string;
  readonly stats: {
    readonly events: number;
    readonly virtualMs: number;
    readonly operations: number;
    readonly acknowledged: number;
    readonly messages: number;
    readonly rings: number;
    readonly convergedMs: number;
    readonly resurrections: number;
    /** Keys whose history at SERIAL is too concurrent to be judged. */
    readonly undecided: number;
    /** Virtual time; 0 where there was no hot key. */
    readonly slowestHotReadMs: number;
  };
}
