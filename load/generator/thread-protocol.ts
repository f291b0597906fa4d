/** Messages between the program and its generator threads. */
import type { IntervalPart } from '../latencies.ts';
import type { TransportName } from '../transports/transport.ts';
import type { Phase } from '../workload.ts';
import type { GeneratorOptions } from './generator.ts';
import type { PhaseResult } from './tally.ts';

export interface ThreadData {
  readonly options: GeneratorOptions;
  readonly transport: TransportName;
  readonly urls: readonly string[];
  /** Consistency and the like of each request. */
  readonly query: string;
  /** Over WebSocket too, each request on its way has a connection of its own. */
  readonly apart: boolean;
  /** embedded: where the store is, and its settings. */
  readonly directory: string;
  readonly settings: Readonly<Record<string, string>>;
}

export type ToThread =
  | { readonly kind: 'run'; readonly phase: Phase; readonly startMs: number }
  | { readonly kind: 'counters' }
  | { readonly kind: 'close' };

export type FromThread =
  | { readonly kind: 'opened' }
  | { readonly kind: 'interval'; readonly part: IntervalPart }
  | { readonly kind: 'result'; readonly result: PhaseResult }
  | { readonly kind: 'counters'; readonly counters: Readonly<Record<string, number>> }
  | { readonly kind: 'closed' }
  | { readonly kind: 'error'; readonly message: string };
