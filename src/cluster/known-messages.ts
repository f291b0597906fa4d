/**
 * Decodes messages of peers whose build may be a later one: a message of a kind that this build does not know is no fault. A request gets an
 * answer that says so, anything else is dropped; the connection stays. Owned by the thread of the coordinator; pure.
 */
import { limits } from '../base/limits.ts';
import { PeerStatus } from '../base/status.ts';
import type { ClusterWorld, ConnectionId, NodeNumber } from './contract.ts';
import { decodeMessage, UnknownKindError } from './message-decode.ts';
import type { Message } from './message-kinds.ts';
import { encodeRefused } from './messages.ts';
import { nodeName } from './node-name.ts';

export class KnownMessages {
  readonly #world: Pick<ClusterWorld, 'self' | 'clock' | 'network' | 'log'>;
  /** Nodes and kinds that the log has. */
  readonly #logged = new Set<string>();

  constructor(world: Pick<ClusterWorld, 'self' | 'clock' | 'network' | 'log'>) {
    this.#world = world;
  }

  /** null: of an unknown kind, and answered where it asked for something. Throws MessageError where it is malformed. */
  decode(from: NodeNumber, bytes: Uint8Array, over: ConnectionId): Message | null {
    const { clock, network } = this.#world;
    try {
      return decodeMessage(bytes, clock.monotonicMs());
    } catch (error) {
      if (!(error instanceof UnknownKindError)) throw error;
      const { kind, call } = error;
      const text = `node ${nodeName(this.#world.self)} does not know messages of kind ${kind}: its build is an earlier one`;
      if (call !== null)
        network.send(from, encodeRefused(call.generation, call.id, PeerStatus.UNKNOWN_REQUEST, text), over);
      this.#log(from, kind);
      return null;
    }
  }

  #log(from: NodeNumber, kind: number): void {
    const name = `${from} ${kind}`;
    if (this.#logged.has(name) || this.#logged.size >= limits.unknownKindsLoggedMax) return;
    this.#logged.add(name);
    this.#world.log(
      'warn',
      `node ${nodeName(from)} sends messages of kind ${kind}, which this build does not know: they are not served`,
    );
  }
}
