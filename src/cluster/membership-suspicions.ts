/**
 * Timers of suspicions: how long a suspected member has to refute before it is called down. The more others confirm a
 * suspicion, the sooner (Lifeguard, section IV-B). Pure; one per node.
 */
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';

interface Suspicion {
  readonly startMs: number;
  confirmations: number;
  cancel: () => void;
}

export class Suspicions {
  readonly #world: Pick<ClusterWorld, 'clock' | 'timers'>;
  readonly #onExpiry: (suspect: NodeNumber) => void;
  readonly #onStall: () => void;
  /** At most one a member. */
  readonly #running = new Map<NodeNumber, Suspicion>();

  constructor(
    world: Pick<ClusterWorld, 'clock' | 'timers'>,
    onExpiry: (suspect: NodeNumber) => void,
    onStall: () => void,
  ) {
    this.#world = world;
    this.#onExpiry = onExpiry;
    this.#onStall = onStall;
  }

  /** Starts anew, or shortens. `others` could confirm it. */
  update(suspect: NodeNumber, confirmations: number, others: number): void {
    const running = this.#running.get(suspect);
    running?.cancel();
    const startMs = running?.startMs ?? this.#world.clock.monotonicMs();
    const suspicion: Suspicion = { startMs, confirmations, cancel: () => this.#running.delete(suspect) };
    this.#running.set(suspect, suspicion);
    this.#arm(suspect, suspicion, durationMs(confirmations, others));
  }

  #arm(suspect: NodeNumber, suspicion: Suspicion, ms: number): void {
    const dueMs = suspicion.startMs + ms;
    const waitMs = Math.max(0, dueMs - this.#world.clock.monotonicMs());
    const armedDueMs = this.#world.clock.monotonicMs() + waitMs;
    suspicion.cancel = this.#world.timers.after(waitMs, () => {
      if (this.#running.get(suspect) !== suspicion) return;
      if (this.#world.clock.monotonicMs() - armedDueMs > limits.stallMs) this.#onStall();
      else {
        this.#running.delete(suspect);
        this.#onExpiry(suspect);
      }
    });
  }

  end(suspect: NodeNumber): void {
    this.#running.get(suspect)?.cancel();
    this.#running.delete(suspect);
  }
  /** This process stood still: those accused may have refuted meanwhile. */
  restart(): void {
    const nowMs = this.#world.clock.monotonicMs();
    for (const [suspect, { confirmations, cancel }] of [...this.#running]) {
      cancel();
      const suspicion: Suspicion = { startMs: nowMs, confirmations, cancel };
      this.#running.set(suspect, suspicion);
      this.#arm(suspect, suspicion, limits.suspicionMsMax);
    }
  }
  cancel(): void {
    for (const { cancel } of this.#running.values()) cancel();
    this.#running.clear();
  }
}

function durationMs(confirmations: number, others: number): number {
  const enough = Math.min(limits.accusersMax - 1, others);
  if (enough <= 0 || confirmations >= enough) return limits.suspicionMsMin;
  const share = Math.log(confirmations + 1) / Math.log(enough + 1);
  return limits.suspicionMsMax - (limits.suspicionMsMax - limits.suspicionMsMin) * share;
}
