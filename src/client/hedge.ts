/**
 * When a read that is not answered yet is asked of a second node too ("hedged requests": Dean and Barroso, The Tail at
 * Scale, 2013): after a fixed time, or after the 95th percentile of recent reads, and for a bounded share of reads.
 */
import { limits } from '../base/limits.ts';
import { Budget } from './retry.ts';
import type { HedgeOptions } from './types.ts';

const PERCENTILE = 0.95;
/** The percentile is taken anew after so many reads. */
const EVERY = 16;

export class Hedge {
  readonly #afterMs: number | 'p95';
  readonly #budget: Budget;
  readonly #latenciesMs: number[] = [];
  #count = 0;
  #p95Ms = Number.POSITIVE_INFINITY;

  constructor({ afterMs = 'p95', share = limits.clientHedgeShareDefault }: HedgeOptions) {
    this.#afterMs = afterMs;
    this.#budget = new Budget(limits.clientHedgesBurst, share);
  }
  /** Milliseconds after which a second node is asked; infinite where too little is known. */
  get afterMs(): number {
    return this.#afterMs === 'p95' ? this.#p95Ms : this.#afterMs;
  }
  take(): boolean {
    return this.#budget.take();
  }
  /** A read was answered. */
  answered(latencyMs: number): void {
    this.#budget.add();
    this.#latenciesMs[this.#count++ % limits.clientLatenciesKept] = latencyMs;
    const known = this.#latenciesMs.length;
    if (known < limits.clientLatenciesMin || this.#count % EVERY !== 0) return;
    const sorted = Float64Array.from(this.#latenciesMs).sort();
    this.#p95Ms = sorted[Math.floor(known * PERCENTILE)] as number;
  }
}
