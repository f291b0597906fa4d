/**
 * Asks addresses for the ring of their cluster, once, before this node decides to join it. It takes part in nothing: what else comes is
 * passed over. Peer worker; pure.
 */
import { BadRequestError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld } from './contract.ts';
import { decodeMessage } from './message-decode.ts';
import { Kind } from './message-kinds.ts';
import { encodeRingAgreement } from './messages.ts';
import { decodeRing } from './ring-codec.ts';
import type { RingMap } from './ring-map.ts';
import { checkRingMessage } from './ring-message-check.ts';

export type ProbeWorld = Pick<ClusterWorld, 'clock' | 'timers'> & {
  readonly network: Pick<ClusterWorld['network'], 'sendTo'>;
};

export class RingProbe {
  readonly #world: ProbeWorld;
  readonly #seeds: readonly string[];
  readonly #standings: () => ReadonlyMap<string, string>;
  #end: ((ring: RingMap | null) => void) | null = null;
  #cancel: () => void = () => undefined;

  /** `standings`: what is known of each address, for people. */
  constructor(world: ProbeWorld, seeds: readonly string[], standings: () => ReadonlyMap<string, string>) {
    this.#world = world;
    this.#seeds = seeds;
    this.#standings = standings;
  }

  /** The first ring that comes. Rejects with UnavailableError, which names what came of each address. */
  async ring(): Promise<RingMap> {
    const endMs = this.#world.clock.monotonicMs() + limits.joinProbeMs;
    const ring = await new Promise<RingMap | null>((resolve) => {
      this.#end = resolve;
      this.#ask(endMs);
    });
    this.#end = null;
    this.#cancel();
    if (ring !== null) return ring;
    const known = this.#standings();
    const each = this.#seeds.map((seed) => `${seed} (${known.get(seed) ?? 'no answer yet'})`);
    throw new UnavailableError(
      `no seed has told its ring within ${limits.joinProbeMs} ms: ${each.join(', ')}`,
    );
  }

  /** Throws MessageError where the bytes are no message. */
  receive(bytes: Uint8Array): void {
    const message = decodeMessage(bytes, this.#world.clock.monotonicMs());
    if (message.kind !== Kind.RING_AGREEMENT) return;
    try {
      const about = checkRingMessage(message.payload);
      if (about.kind === 'ring-decided') this.#end?.(decodeRing(about.ring));
    } catch (error) {
      // What is no ring is no answer.
      if (!(error instanceof BadRequestError)) throw error;
    }
  }

  #ask(endMs: number): void {
    const { clock, timers, network } = this.#world;
    if (clock.monotonicMs() >= endMs) {
      this.#end?.(null);
      return;
    }
    const bytes = encodeRingAgreement({ kind: 'ring-fetch', have: 0 });
    for (const seed of this.#seeds) network.sendTo(seed, bytes.slice());
    this.#cancel = timers.after(limits.joinProbeAgainMs, () => this.#ask(endMs));
  }
}
