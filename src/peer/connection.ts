/**
 * One connection between two nodes: greeting, frames in both directions, heartbeats. Owned by the peer worker's thread. It has no
 * timers: the transport calls `tick` about every peerHeartbeatMs and `flush` at the end of each turn in which it sent.
 *
 * 1. States go one way: greeting, ready, closing, closed. Messages pass in `ready` alone. The owner hears of `ready` at most
 *    once, and of the end exactly once.
 * 2. Bytes accepted and not yet taken by the kernel are at most peerQueueBytesMax; a message beyond them is refused.
 * 3. A batch's buffer is reused only after the socket has written it; one whose write failed never.
 */
import type { X509Certificate } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ConnectionId } from '../cluster/contract.ts';
import { MessageError } from '../cluster/message-bytes.ts';
import { nodeName } from '../cluster/node-name.ts';
import type { BatchPool } from './batch-pool.ts';
import { Batch, eachMessage, FrameKind, FrameReader, frameOf, frameOfMessage } from './frame.ts';
import {
  decodeHello,
  decodeRefusal,
  encodeHello,
  encodeRefusal,
  type Hello,
  type Refusal,
  RefusalCode,
} from './hello.ts';
import type { PeerSocket } from './outside.ts';
import type { PeerCounts } from './peer-counts.ts';
import { reasonOf } from './sockets.ts';
import { certificateFault, isTls, trustFault } from './tls.ts';

/** What a connection asks of the transport. */
export interface ConnectionOwner {
  hello(): Hello;
  nowMs(): number;
  /** Whether the node at the other end is wanted here: null, or why not. */
  judge(connection: Connection, hello: Hello): Refusal | null;
  /** Both sides agreed. Gives what is counted for that node. */
  ready(connection: Connection, hello: Hello): PeerCounts;
  /** Throws MessageError where the message is malformed. */
  message(connection: Connection, message: Uint8Array): void;
  /** `reason` for people; '' where this node closed it. */
  closed(connection: Connection, reason: string): void;
  /** Asks for `flush` at the end of this turn. */
  flushLater(connection: Connection): void;
}

const SPOKE_TLS = 'the other end speaks TLS, and this node does not';
const heartbeat = (): Buffer => frameOf(FrameKind.HEARTBEAT, new Uint8Array(0));

type State = 'greeting' | 'ready' | 'closing' | 'closed';

export class Connection {
  readonly id: ConnectionId;
  /** host:port of the other end, for people. */
  readonly remote: string;
  /** This node dialled. */
  readonly dialled: boolean;
  readonly #socket: PeerSocket;
  readonly #owner: ConnectionOwner;
  readonly #pool: BatchPool;
  readonly #reader = new FrameReader(limits.peerHelloBytesMax);
  #state: State = 'greeting';
  #hello: Hello | null = null;
  /** Of the node that dialled, until it says that it agrees. */
  #greeted: Hello | null = null;
  #certificate: X509Certificate | undefined;
  #counts: PeerCounts | null = null;
  #batch: Batch | null = null;
  /** Bytes given to the socket that it has not written. */
  #writing = 0;
  #reason = '';
  #refusal = 0;
  /** When it became what it is; for `closing`, when that began. */
  #since: number;
  #frameAt: number;
  /** What came first was a record of TLS: where it is no frame, that tells more. */
  #spokeTls = false;
  /** Bytes of an unfinished frame at the last period's start. */
  #bytesInPeriod = 0;
  #wroteAt: number;
  #sentInTick = false;

  constructor(
    id: ConnectionId,
    socket: PeerSocket,
    dialled: boolean,
    remote: string,
    owner: ConnectionOwner,
    pool: BatchPool,
  ) {
    this.id = id;
    this.#socket = socket;
    this.dialled = dialled;
    this.remote = remote;
    this.#owner = owner;
    this.#pool = pool;
    const now = owner.nowMs();
    this.#since = now;
    this.#frameAt = now;
    this.#wroteAt = now;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('end', () => this.#fail(this.#spokeTls ? SPOKE_TLS : this.#closedByOther()));
    socket.on('error', (error) => this.#fail(reasonOf(error)));
    socket.on('close', () => this.#closed());
  }

  get state(): State {
    return this.#state;
  }
  /** Of the other end, from `ready` on. */
  get hello(): Hello | null {
    return this.#hello;
  }
  /** RefusalCode of the refusal that was sent or came; 0 for none. */
  get refusal(): number {
    return this.#refusal;
  }
  /** Bytes that wait to be sent. */
  get queued(): number {
    return this.#writing + (this.#batch === null ? 0 : this.#batch.bytes);
  }

  /** Connected, TLS included: the dialler greets first. */
  connected(): void {
    if (this.#state !== 'greeting') return;
    const fault = this.#certificateFault('');
    if (fault !== '') this.refuse({ code: RefusalCode.CERTIFICATE, message: fault });
    else if (this.dialled) this.#greet();
  }

  #greet(): void {
    this.#write(frameOf(FrameKind.HELLO, encodeHello(this.#owner.hello())));
  }

  #certificateFault(nodeId: string): string {
    if (!(this.#socket instanceof TLSSocket)) return '';
    // On the side of the dialler Node gives it once only.
    this.#certificate ??= this.#socket.getPeerX509Certificate();
    const fault = trustFault(this.#socket, this.#certificate);
    if (fault !== '') return fault;
    return certificateFault(this.#certificate, this.#owner.hello().clusterName, nodeId);
  }

  /** False: refused, nothing will be sent. */
  send(message: Uint8Array): boolean {
    if (this.#state !== 'ready' || this.queued + message.length > limits.peerQueueBytesMax) return false;
    if (!Batch.fits(message)) {
      this.flush();
      this.#write(frameOfMessage(message));
      this.#countOut(1);
      return true;
    }
    if (this.#batch === null) {
      this.#batch = this.#pool.take();
      this.#owner.flushLater(this);
    }
    if (this.#batch.add(message)) return true;
    this.flush();
    this.#batch = this.#pool.take();
    this.#batch.add(message);
    this.#owner.flushLater(this);
    return true;
  }

  /** Sends what was put together. */
  flush(): void {
    const batch = this.#batch;
    if (batch === null) return;
    this.#batch = null;
    if (this.#state !== 'ready') {
      this.#pool.give(batch);
      return;
    }
    this.#countOut(batch.messages);
    this.#write(batch.seal(), batch);
  }

  #countOut(messages: number): void {
    if (this.#counts !== null) this.#counts.messagesOut += messages;
  }

  #write(frame: Buffer, batch?: Batch): void {
    const bytes = frame.length;
    this.#sentInTick = true;
    if (this.#writing === 0) this.#wroteAt = this.#owner.nowMs();
    this.#writing += bytes;
    this.#socket.write(frame, (error) => {
      this.#writing -= bytes;
      this.#wroteAt = this.#owner.nowMs();
      if (batch !== undefined && (error === null || error === undefined)) this.#pool.give(batch);
    });
    if (this.#counts !== null) {
      this.#counts.framesOut++;
      this.#counts.bytesOut += bytes;
    }
  }

  #receive(chunk: Buffer): void {
    if (this.#state !== 'greeting' && this.#state !== 'ready') return;
    if (this.#bytesInPeriod === 0 && this.#hello === null) this.#spokeTls = isTls(chunk);
    this.#bytesInPeriod += chunk.length;
    if (this.#counts !== null) this.#counts.bytesIn += chunk.length;
    try {
      this.#reader.push(chunk, this.#takeFrame);
    } catch (error) {
      // Anything else is a mistake of this program, and ends the thread.
      const isBad = error instanceof MessageError || error instanceof CorruptionError;
      if (!isBad) throw error;
      const message = error instanceof CorruptionError ? error.what : error.message;
      this.refuse({ code: RefusalCode.MALFORMED, message: this.#spokeTls ? SPOKE_TLS : message });
    }
  }

  readonly #takeFrame = (kind: number, payload: Buffer): boolean => {
    this.#frameAt = this.#owner.nowMs();
    this.#bytesInPeriod = 0;
    if (this.#counts !== null) this.#counts.framesIn++;
    if (this.#state === 'greeting') this.#takeGreeting(kind, payload);
    else if (kind === FrameKind.MESSAGES) eachMessage(payload, this.#takeMessage);
    else if (kind === FrameKind.REFUSAL) this.#refused(payload);
    else if (kind !== FrameKind.HEARTBEAT || payload.length !== 0)
      throw new MessageError(`a frame of kind ${kind} with ${payload.length} bytes after the hello`);
    return this.#state === 'greeting' || this.#state === 'ready';
  };

  readonly #takeMessage = (message: Uint8Array): boolean => {
    if (this.#counts !== null) this.#counts.messagesIn++;
    this.#owner.message(this, message);
    return this.#state === 'ready';
  };

  #takeGreeting(kind: number, payload: Buffer): void {
    if (kind === FrameKind.REFUSAL) {
      this.#refused(payload);
      return;
    }
    const greeted = this.#greeted;
    if (greeted !== null) {
      if (kind !== FrameKind.HEARTBEAT)
        throw new MessageError(`a frame of kind ${kind} instead of an agreement`);
      this.#agree(greeted);
      return;
    }
    if (kind !== FrameKind.HELLO) throw new MessageError(`a frame of kind ${kind} instead of a hello`);
    const hello = decodeHello(payload);
    const fault = this.#certificateFault(hello.nodeId);
    if (fault !== '') {
      this.refuse({ code: RefusalCode.CERTIFICATE, message: `node ${nodeName(hello.node)}: ${fault}` });
      return;
    }
    if (this.dialled) this.#agree(hello);
    else {
      const refusal = this.#owner.judge(this, hello);
      if (refusal !== null) this.refuse(refusal);
      else {
        this.#greeted = hello;
        this.#greet();
      }
    }
  }

  /** Both hellos are here. The dialler tells so by a heartbeat: only then is the other end sure that it is wanted. */
  #agree(hello: Hello): void {
    const refusal = this.#owner.judge(this, hello);
    if (refusal !== null) {
      this.refuse(refusal);
      return;
    }
    if (this.dialled) this.#write(heartbeat());
    this.#hello = hello;
    this.#state = 'ready';
    this.#since = this.#owner.nowMs();
    this.#reader.payloadBytesMax = limits.peerMessageBytesMax + limits.peerHelloBytesMax;
    this.#counts = this.#owner.ready(this, hello);
  }

  #refused(payload: Buffer): void {
    const { code, message } = decodeRefusal(payload);
    this.#refusal = code;
    this.#fail(`refused by the other end (${code}): ${message}`);
  }

  /** Tells the other end why, and closes when it has read that. */
  refuse(refusal: Refusal): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.flush();
    this.#refusal = refusal.code;
    this.#enterClosing(refusal.message);
    this.#write(frameOf(FrameKind.REFUSAL, encodeRefusal(refusal)));
    this.#socket.end();
  }

  /** Closes after what was accepted has been sent. */
  end(): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.flush();
    this.#enterClosing('');
    this.#socket.end();
  }

  /** Cuts it. `reason` for people. */
  destroy(reason: string): void {
    this.#fail(reason);
  }

  #enterClosing(reason: string): void {
    this.#reason = reason;
    this.#state = 'closing';
    this.#since = this.#owner.nowMs();
  }

  #fail(reason: string): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'closing') this.#enterClosing(reason);
    this.#socket.destroy();
  }

  #closed(): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'closing') this.#reason = this.#closedByOther();
    this.#state = 'closed';
    if (this.#batch !== null) this.#pool.give(this.#batch);
    this.#batch = null;
    this.#owner.closed(this, this.#reason);
  }

  #closedByOther(): string {
    const isPlain = !(this.#socket instanceof TLSSocket);
    const maySpeakTls = isPlain && this.dialled && this.#state === 'greeting' && this.#greeted === null;
    return `the other end closed it${maySpeakTls ? ' without a hello: it may speak TLS, and this node does not' : ''}`;
  }

  /** This thread was held up: silence until now says nothing about the other end. */
  forgive(): void {
    const now = this.#owner.nowMs();
    this.#frameAt = now;
    this.#wroteAt = now;
  }

  /** Sends a heartbeat where nothing else was sent, and closes what is stuck. */
  tick(now: number): void {
    switch (this.#state) {
      case 'greeting':
        if (now - this.#since >= limits.peerHandshakeMs)
          this.#fail(`no hello within ${limits.peerHandshakeMs} ms`);
        break;
      case 'closing':
        if (now - this.#since >= limits.peerLingerMs) this.#socket.destroy();
        break;
      case 'ready':
        if (this.#isSilent(now)) this.#fail(`no whole frame within ${limits.peerIdleMs} ms`);
        else if (this.#writing > 0 && now - this.#wroteAt >= this.#writeMsMax())
          this.#fail(`it did not take ${this.#writing} bytes within ${this.#writeMsMax()} ms`);
        else if (!this.#sentInTick && this.#writing === 0) this.#write(heartbeat());
        this.#sentInTick = false;
    }
  }

  /** Node tells when all that was given to a socket at a time was written, not how much of it. */
  #writeMsMax(): number {
    return limits.peerIdleMs + Math.ceil((this.#writing * 1000) / limits.peerSlowestBytesPerSecond);
  }

  /** A long frame may take longer than peerIdleMs, as long as it comes at peerIdleBytesMin in that time. */
  #isSilent(now: number): boolean {
    if (now - this.#frameAt < limits.peerIdleMs) return false;
    if (this.#bytesInPeriod < limits.peerIdleBytesMin) return true;
    this.#frameAt = now;
    this.#bytesInPeriod = 0;
    return false;
  }
}
