/**
 * What clients ask for next. Keys are of kinds, by what is asked of them, so that each promise of the store is checked where it is
 * given:
 *
 *   serial    everything at SERIAL: histories are linearizable
 *   quorum    plain reads and writes at QUORUM and ALL
 *   mixed     both: no conditional write passes over an acknowledged QUORUM write
 *   expiring  QUORUM writes with an expiry
 *   loose     ONE, and sloppy QUORUM: no promise but that all replicas end up the same
 */
import type { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { Consistency, type ConsistencyCode } from '../../src/cluster/contract.ts';
import { Condition } from '../../src/shard/contract.ts';
import type { Operation, Seen } from './history.ts';
import type { Machine } from './machine.ts';

export const KEY_KINDS = ['serial', 'quorum', 'mixed', 'expiring', 'loose'] as const;
export type KeyKind = (typeof KEY_KINDS)[number];

export interface PlannerOptions {
  readonly keysPerKind: number;
  readonly kinds: readonly KeyKind[];
  /** Reads of 100 plain operations. Of the others 3 in 11 are deletes. */
  readonly readPercent: number;
  /** Operations of 100 on mixed keys that are at SERIAL. */
  readonly serialPercent: number;
  /** Reads of 100 operations at SERIAL. */
  readonly serialReadPercent: number;
  /** Of writes at SERIAL: with an idempotency key, and so with an outcome that is always known. */
  readonly onceChance: number;
  /** Clients tell each other what they saw: most conditional writes then demand what is there, and several at once do. */
  readonly sharesSeen: boolean;
}

export interface Plan {
  readonly kind: Operation['kind'];
  readonly key: string;
  readonly consistency: ConsistencyCode;
  readonly sloppy?: boolean | undefined;
  readonly condition?: number;
  readonly expected?: Seen | null;
  readonly once?: string;
  readonly value?: string;
  readonly ttlMs?: number;
}

export class Planner {
  readonly #random: Random;
  readonly #options: PlannerOptions;
  readonly #shared = new Map<string, Seen | null>();
  readonly keys: string[] = [];
  #values = 0;
  #repeatable = 0;

  constructor(random: Random, options: PlannerOptions) {
    this.#random = random;
    this.#options = options;
    for (const kind of options.kinds)
      for (let i = 0; i < options.keysPerKind; i++) this.keys.push(`${kind}-${i}`);
  }

  next(client: ClientState): Plan {
    const random = this.#random;
    if (random.chance(0.02)) return { kind: 'scan', key: '', consistency: Consistency.QUORUM };
    const key = random.pick(this.keys);
    const kind = key.slice(0, key.indexOf('-')) as KeyKind;
    if (kind === 'serial') return this.#serialPlan(client, key);
    if (kind === 'mixed' && random.chance(this.#options.serialPercent / 100))
      return this.#serialPlan(client, key);
    return this.#plainPlan(key, kind);
  }

  #plainPlan(key: string, kind: KeyKind): Plan {
    const random = this.#random;
    const isLoose = kind === 'loose';
    const level = random.chance(0.1) ? Consistency.ALL : Consistency.QUORUM;
    const consistency = isLoose ? random.pick([Consistency.ONE, Consistency.QUORUM]) : level;
    const { readPercent } = this.#options;
    const dice = random.below(100);
    if (dice < readPercent) {
      const isWeak = random.chance(0.1);
      return { kind: 'get', key, consistency: isWeak ? Consistency.ONE : level };
    }
    const sloppy = isLoose ? random.pick([undefined, true, false]) : random.pick([undefined, false, false]);
    if (dice < readPercent + ((100 - readPercent) * 3) / 11)
      return { kind: 'delete', key, consistency, sloppy };
    const plan = { kind: 'put', key, consistency, sloppy, value: this.#newValue() } as const;
    if (kind !== 'expiring' || random.chance(0.3)) return plan;
    return { ...plan, ttlMs: random.pick([200, 1000, 5000, 20_000]) };
  }

  #serialPlan(client: ClientState, key: string): Plan {
    const random = this.#random;
    const consistency = Consistency.SERIAL;
    const { serialReadPercent, onceChance, sharesSeen } = this.#options;
    const dice = random.below(100);
    const once = random.chance(onceChance) ? { once: `once-${++this.#repeatable}` } : {};
    if (dice < serialReadPercent) return { kind: 'get', key, consistency };
    const writes = (dice - serialReadPercent) / (100 - serialReadPercent);
    if (writes < 1 / 6) return { kind: 'delete', key, consistency, ...once };
    if (writes < 1 / 3) return { kind: 'put', key, consistency, value: this.#newValue(), ...once };
    const expected = sharesSeen ? this.#shared.get(key) : client.seen(key);
    const write =
      writes < 5 / 6 ? ({ kind: 'put', value: this.#newValue() } as const) : ({ kind: 'delete' } as const);
    if (expected === undefined || random.chance(0.1))
      return { ...write, key, consistency, condition: Condition.EXISTS, ...once };
    return { ...write, key, consistency, condition: Condition.VERSION, expected, ...once };
  }

  /** What a client was told. */
  learn(client: ClientState, operation: Operation): void {
    client.learn(operation);
    const seen = client.seen(operation.key);
    if (seen !== undefined) this.#shared.set(operation.key, seen);
  }

  #newValue(): string {
    return `w${++this.#values}`;
  }
}

/** What one client remembers of what it saw. */
export class ClientState {
  readonly number: number;
  machine: Machine | null = null;
  readonly #seen = new Map<string, Seen | null>();

  constructor(number: number) {
    this.number = number;
  }
  seen(key: string): Seen | null | undefined {
    return this.#seen.get(key);
  }
  learn({ kind, key, status, found, value, version, expiresMs }: Operation): void {
    if (status !== Status.OK) this.#seen.delete(key);
    else if (kind === 'get') this.#seen.set(key, found);
    else if (kind === 'put' && value !== null) this.#seen.set(key, { value, version, expiresMs });
    else if (kind === 'delete') this.#seen.set(key, null);
  }
}
