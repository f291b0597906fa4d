/**
 * One end of a simulated connection of TCP: what the kernel of its machine holds of it, and the socket that the process has. It outlives
 * the socket: what a process wrote before it closed is still delivered. A stream of Node over it, so that the order of events
 * (`end`, `error`, `close`, callbacks of writes) is that of real sockets.
 */
import { Duplex } from 'node:stream';
import type { PeerSocket } from '../../src/peer/outside.ts';
import type { ProcessLife } from './process-life.ts';
import type { TcpFlow } from './tcp-flow.ts';
import type { TcpHost, TcpLinks } from './tcp-host.ts';

export const RECEIVE_BUFFER_BYTES = 128 * 1024;

type WriteDone = (error?: Error | null) => void;

export class SimSocket extends Duplex implements PeerSocket {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly #end: TcpEnd;

  constructor(end: TcpEnd, remoteAddress: string, remotePort: number) {
    super({ allowHalfOpen: false, decodeStrings: false });
    this.#end = end;
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
  }
  setNoDelay(): this {
    return this;
  }
  override _read(): void {
    this.#end.wantsBytes();
  }
  override _write(chunk: Buffer, _encoding: string, done: WriteDone): void {
    // The kernel's own copy: the transport uses its buffers again.
    this.#end.write(Buffer.from(chunk), done);
  }
  override _writev(chunks: { readonly chunk: Buffer }[], done: WriteDone): void {
    this.#end.write(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }
  override _final(done: WriteDone): void {
    this.#end.shutDown(done);
  }
  override _destroy(error: Error | null, done: WriteDone): void {
    this.#end.close();
    done(error);
  }
}

export class TcpEnd {
  readonly host: TcpHost;
  readonly life: ProcessLife;
  readonly socket: SimSocket;
  /** Dialled, and not yet answered. */
  isConnecting: boolean;
  /** The process has closed it. */
  isClosed = false;
  /** The kernel knows it no more. */
  isForgotten = false;
  #links: TcpLinks | null = null;
  #other: TcpEnd | null = null;
  #out: TcpFlow | null = null;
  #in: TcpFlow | null = null;
  readonly #received: Buffer[] = [];
  #receivedBytes = 0;
  #isWanted = false;
  #isEnded = false;
  #hasSentEnd = false;
  /** What the process wrote and the kernel has no room for yet. */
  #waiting: { bytes: Buffer; readonly done: WriteDone } | null = null;
  readonly #onOpen: () => void;
  /** The process has the socket. */
  #isTold: boolean;

  constructor(
    host: TcpHost,
    life: ProcessLife,
    remote: { readonly address: string; readonly port: number },
    isConnecting: boolean,
    onOpen: () => void,
  ) {
    this.host = host;
    this.life = life;
    this.isConnecting = isConnecting;
    this.#isTold = isConnecting;
    this.socket = new SimSocket(this, remote.address, remote.port);
    this.#onOpen = onOpen;
    host.ends.add(this);
  }

  /** Of a dialled connection its answered end, or of that the dialled one. */
  get other(): TcpEnd | null {
    return this.#other;
  }
  get isFull(): boolean {
    return this.#receivedBytes >= RECEIVE_BUFFER_BYTES;
  }
  /** Its process has it, and what comes or goes over it is held up: TcpFlow. */
  isHeldUp(us: number): boolean {
    if (!this.#isTold || this.isClosed || this.isForgotten) return false;
    return this.#out?.isHeldUp(us) === true || this.#in?.isHeldUp(us) === true;
  }
  /** Nothing passes any more in one direction, or both: a middle box has forgotten the connection. */
  stall(outwards: boolean, inwards: boolean): void {
    if (this.#out !== null && outwards) this.#out.isDead = true;
    if (this.#in !== null && inwards) this.#in.isDead = true;
  }
  bind(links: TcpLinks, other: TcpEnd, out: TcpFlow, into: TcpFlow): void {
    this.#links = links;
    this.#other = other;
    this.#out = out;
    this.#in = into;
  }

  // ------------------------------------------------------------------------------------------ of the process

  write(bytes: Buffer, done: WriteDone): void {
    this.#waiting = { bytes, done };
    this.#fill();
  }
  shutDown(done: WriteDone): void {
    this.#sendEnd();
    done();
  }
  wantsBytes(): void {
    this.#isWanted = true;
    this.#deliver();
  }
  /** Also by its kernel, where the process has ended. Bytes that nobody read make that a reset. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null && this.life.isAlive) waiting.done(new Error('write ECANCELED'));
    if (this.isForgotten) return;
    if (this.isConnecting) this.forget();
    else if (this.#receivedBytes > 0) {
      this.#out?.sendMark('reset');
      this.forget();
    } else {
      this.#sendEnd();
      this.#forgetWhereDone();
    }
  }

  // ------------------------------------------------------------------------------------------- of the kernel

  /** The other end has answered. */
  opened(): void {
    if (this.isClosed || this.isForgotten) return;
    this.isConnecting = false;
    this.#out?.sendMark('accept');
    this.#tellOpen();
    this.hasRoom();
    if (this.#hasSentEnd) this.#out?.sendMark('fin');
  }
  /** The dialler has said that it heard the answer: now the process gets its end. */
  accept(): void {
    this.#tellOpen();
  }
  #tellOpen(): void {
    this.life.receive(() => {
      if (this.isClosed || this.socket.destroyed) return;
      this.#isTold = true;
      this.#onOpen();
    });
  }

  take(bytes: Buffer): void {
    this.#received.push(bytes);
    this.#receivedBytes += bytes.length;
    this.life.receive(() => this.#deliver());
  }
  takeEnd(): void {
    this.#isEnded = true;
    this.life.receive(() => this.#deliver());
    this.#forgetWhereDone();
  }
  hasRoom(): void {
    if (this.#waiting !== null) this.life.receive(() => this.#fill());
  }

  /** The connection is no more; the process hears of it as an error. */
  wasReset(message: string): void {
    if (this.isForgotten) return;
    this.forget();
    this.life.receive(() => {
      if (this.#isTold) this.socket.destroy(new Error(message));
      else this.isClosed = true;
    });
  }
  /** Something came for a connection that is not known here, or that its process has closed. */
  answerReset(): void {
    const other = this.#other;
    const links = this.#links;
    if (other === null || links === null) return;
    this.forget();
    links.scheduler.after(links.delayUs(this.host, other.host), () => {
      if (links.passes(this.host, other.host)) other.wasReset('read ECONNRESET');
    });
  }

  /** As by a power cut: nobody is told. */
  forget(): void {
    this.isForgotten = true;
    this.host.ends.delete(this);
    // A reset goes its way.
    if (!this.host.isOn) this.#out?.drop();
  }
  #forgetWhereDone(): void {
    if (this.isClosed && this.#isEnded) this.host.ends.delete(this);
  }

  #sendEnd(): void {
    if (this.#hasSentEnd) return;
    this.#hasSentEnd = true;
    if (!this.isConnecting) this.#out?.sendMark('fin');
  }
  #fill(): void {
    const waiting = this.#waiting;
    const out = this.#out;
    if (waiting === null || out === null || this.isClosed) return;
    const taken = Math.min(out.room, waiting.bytes.length);
    if (taken > 0) out.send(waiting.bytes.subarray(0, taken));
    if (taken < waiting.bytes.length) {
      waiting.bytes = waiting.bytes.subarray(taken);
      return;
    }
    this.#waiting = null;
    waiting.done();
  }
  #deliver(): void {
    while (this.#isWanted && this.#received.length > 0 && !this.isClosed) {
      const [bytes] = this.#received.splice(0, 1) as [Buffer];
      this.#receivedBytes -= bytes.length;
      this.#in?.wasRead(bytes.length);
      this.#isWanted = this.socket.push(bytes);
    }
    if (this.#isEnded && this.#received.length === 0 && !this.isClosed) this.socket.push(null);
  }
}
