/** Gives each message of a peer to the part that it is for. Owned by the thread of the coordinator; pure. */
import type { ClusterWorld, ConnectionId, NodeNumber } from './contract.ts';
import { KnownMessages } from './known-messages.ts';
import type { Plain } from './message-bytes.ts';
import { isAnswer, isRequest, Kind } from './message-kinds.ts';
import type { RemoteReplicas } from './rpc.ts';
import type { ReplicaService } from './rpc-service.ts';

export interface MessageRouterOptions {
  readonly world: ClusterWorld;
  readonly remote: RemoteReplicas;
  readonly service: ReplicaService;
  /** Payloads are plain and untrusted: the callee checks them. */
  readonly onGossip: (from: NodeNumber, payload: Plain) => void;
  readonly onRingAgreement: (from: NodeNumber, payload: Plain) => void;
  /** Bytes of encodeRing, untrusted. */
  readonly onRing: (from: NodeNumber, ring: Uint8Array) => void;
}

export class MessageRouter {
  readonly #options: MessageRouterOptions;
  readonly #known: KnownMessages;
  constructor(options: MessageRouterOptions) {
    this.#options = options;
    this.#known = new KnownMessages(options.world);
  }

  /** Takes one message of `from` that came `over` a connection, whose bytes are given away. Throws MessageError where it is malformed; then nothing was done. */
  receive(from: NodeNumber, bytes: Uint8Array, over: ConnectionId): void {
    const { remote, service, onGossip, onRingAgreement, onRing } = this.#options;
    const message = this.#known.decode(from, bytes, over);
    if (message === null) return;
    if (isRequest(message)) service.receive(from, message, over);
    else if (isAnswer(message)) remote.receive(from, message);
    else if (message.kind === Kind.GOSSIP) onGossip(from, message.payload);
    else if (message.kind === Kind.RING_AGREEMENT) onRingAgreement(from, message.payload);
    else onRing(from, message.ring);
  }
}
