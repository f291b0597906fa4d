/**
 * Says which seeds do not answer while a node waits for its cluster: to /readyz as it changes, to the log after limits.seedSaidMs,
 * when it changes, and every limits.seedSaidAgainMs. Peer worker.
 */
import { limits } from '../base/limits.ts';
import type { Timers } from '../cluster/contract.ts';

export interface SeedWatchOptions {
  readonly timers: Timers;
  readonly seeds: readonly string[];
  /** What is known of each address, for people. */
  readonly standings: () => ReadonlyMap<string, string>;
  readonly onNotReady: (reason: string) => void;
  readonly log: (level: 'warn', message: string) => void;
}

export class SeedWatch {
  readonly #options: SeedWatchOptions;
  #reason = '';
  #said = '';
  #waitedMs = 0;
  #saidMs = 0;
  #cancel: (() => void) | null = null;

  constructor(options: SeedWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#look();
  }
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #look(): void {
    const { timers, seeds, standings, onNotReady, log } = this.#options;
    this.#cancel = timers.after(limits.seedWatchMs, () => {
      this.#waitedMs += limits.seedWatchMs;
      this.#look();
    });
    const known = standings();
    const each = seeds.map((seed) => `${seed} (${known.get(seed) ?? 'no answer yet'})`);
    const reason = `this node has not found its cluster yet${each.length === 0 ? '' : `; seeds: ${each.join(', ')}`}`;
    if (reason !== this.#reason) onNotReady(reason);
    this.#reason = reason;
    const isDue = reason !== this.#said || this.#waitedMs - this.#saidMs >= limits.seedSaidAgainMs;
    if (this.#waitedMs < limits.seedSaidMs || !isDue) return;
    this.#said = reason;
    this.#saidMs = this.#waitedMs;
    log('warn', `${reason}; it goes on asking`);
  }
}
