/**
 * How far this node trusts its own accusations: the local health multiplier of Lifeguard (Dadgar, Phillips, Currey: "Lifeguard:
 * Local Health Awareness for More Accurate Failure Detection", section IV). Probes that fail without a word from the helpers,
 * accusations of this node itself, and timers that fire late raise it; answered probes lower it. Probes wait longer in proportion.
 */
import { limits } from '../base/limits.ts';

export class LocalHealth {
  #score = 0;

  /** From 1, healthy, to limits.healthMultiplierMax. */
  get multiplier(): number {
    return this.#score + 1;
  }
  worse(by: number): void {
    this.#score = Math.min(this.#score + by, limits.healthMultiplierMax - 1);
  }
  better(): void {
    this.#score = Math.max(this.#score - 1, 0);
  }
  worst(): void {
    this.#score = limits.healthMultiplierMax - 1;
  }
}
