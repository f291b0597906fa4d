/**
 * One direction of a simulated connection of TCP: bytes come whole, once and in order, or the connection dies.
 *
 * 1. What is under way arrives in the order in which it was sent: one segment that is late holds up all behind it.
 * 2. What cannot arrive now, because the link is cut, the other machine has no power or its process reads nothing, is tried again, for
 *    GIVE_UP_US at most.
 * 3. Bytes that were taken of a process and that the other has not read are at most SEND_BUFFER_BYTES.
 */
import type { Scheduled } from './scheduler.ts';
import type { TcpEnd } from './tcp-end.ts';
import { RESEND_US_MAX, RESEND_US_MIN, type TcpLinks } from './tcp-host.ts';

export const SEND_BUFFER_BYTES = 256 * 1024;
const GIVE_UP_US = 60_000_000;
/** A segment that is cut in two, so that frames come in pieces. */
const SPLIT_CHANCE = 0.1;

/** Bytes, or what else passes in their order. */
type Payload = Buffer | 'accept' | 'fin' | 'reset';
interface Segment {
  readonly payload: Payload;
  readonly dueUs: number;
}

export class TcpFlow {
  readonly #links: TcpLinks;
  readonly #from: TcpEnd;
  readonly #to: TcpEnd;
  readonly #segments: Segment[] = [];
  #lastDueUs = 0;
  #scheduled: Scheduled | null = null;
  #backoffUs = 0;
  #stuckSinceUs = -1;
  /** Something between the machines has forgotten the connection: nothing passes any more. */
  isDead = false;
  #buffered = 0;
  /** Of bytes that could not be told as read: acknowledgements are lost with the way back. */
  #unacknowledged = 0;

  constructor(links: TcpLinks, from: TcpEnd, to: TcpEnd) {
    this.#links = links;
    this.#from = from;
    this.#to = to;
  }

  /** A fault, though it may have ended, keeps what is sent now from arriving within `us`: forgotten on the way, tried again later, or behind what is late. */
  isHeldUp(us: number): boolean {
    return this.isDead || this.#stuckSinceUs >= 0 || this.#lastDueUs > this.#links.scheduler.nowUs + us;
  }
  get room(): number {
    return SEND_BUFFER_BYTES - this.#buffered;
  }

  /** Takes bytes for which there is room. They are the flow's from then on. */
  send(bytes: Buffer): void {
    this.#buffered += bytes.length;
    const { random } = this.#links;
    const cut = bytes.length > 1 && random.chance(SPLIT_CHANCE) ? random.between(1, bytes.length - 1) : 0;
    if (cut > 0) this.#push(bytes.subarray(0, cut));
    this.#push(bytes.subarray(cut));
  }
  sendMark(mark: 'accept' | 'fin' | 'reset'): void {
    this.#push(mark);
  }

  /** The other process has read so many bytes. */
  wasRead(bytes: number): void {
    this.#unacknowledged += bytes;
    this.#acknowledge();
    if (this.#scheduled === null) this.#schedule(0);
  }

  /** Nothing arrives any more. */
  drop(): void {
    this.#segments.length = 0;
    if (this.#scheduled !== null) this.#scheduled.run = null;
    this.#scheduled = null;
  }

  /** With the next segment that arrives at the latest: heartbeats see to that. */
  #acknowledge(): void {
    const { host } = this.#from;
    if (this.#unacknowledged === 0 || this.isDead || !this.#links.passes(this.#to.host, host)) return;
    this.#buffered -= this.#unacknowledged;
    this.#unacknowledged = 0;
    this.#from.hasRoom();
  }

  #push(payload: Payload): void {
    const links = this.#links;
    const { nowUs } = links.scheduler;
    const dueUs = Math.max(this.#lastDueUs, nowUs + links.delayUs(this.#from.host, this.#to.host));
    this.#lastDueUs = dueUs;
    this.#segments.push({ payload, dueUs });
    if (this.#scheduled === null) this.#schedule(0);
  }

  #schedule(leastUs: number): void {
    const [first] = this.#segments;
    if (first === undefined) return;
    const { scheduler } = this.#links;
    this.#scheduled = scheduler.at(Math.max(first.dueUs, scheduler.nowUs + leastUs), () => {
      this.#scheduled = null;
      this.#arrive();
    });
  }

  #arrive(): void {
    const links = this.#links;
    const { nowUs } = links.scheduler;
    const to = this.#to;
    if (this.isDead || !links.passes(this.#from.host, to.host)) {
      this.#again(nowUs);
      return;
    }
    this.#stuckSinceUs = -1;
    this.#backoffUs = 0;
    this.#acknowledge();
    for (
      let first = this.#segments[0];
      first !== undefined && first.dueUs <= nowUs;
      first = this.#segments[0]
    ) {
      const { payload } = first;
      // Its window is shut: tried again when it reads.
      if (payload instanceof Buffer && to.isFull) return;
      this.#segments.shift();
      if (!this.#give(payload)) return;
    }
    this.#schedule(0);
  }

  /** False where the connection ends with it. */
  #give(payload: Payload): boolean {
    const to = this.#to;
    if (payload === 'reset') {
      this.drop();
      to.wasReset('read ECONNRESET');
      return false;
    }
    if (to.isForgotten || (to.isClosed && payload !== 'fin')) {
      this.drop();
      to.answerReset();
      return false;
    }
    if (payload === 'accept') to.accept();
    else if (payload === 'fin') to.takeEnd();
    else to.take(payload);
    return true;
  }

  #again(nowUs: number): void {
    if (this.#stuckSinceUs < 0) this.#stuckSinceUs = nowUs;
    if (nowUs - this.#stuckSinceUs >= GIVE_UP_US) {
      this.drop();
      this.#from.wasReset('write ETIMEDOUT');
      return;
    }
    this.#backoffUs = Math.min(Math.max(2 * this.#backoffUs, RESEND_US_MIN), RESEND_US_MAX);
    this.#schedule(this.#backoffUs);
  }
}
