/**
 * A channel carries records of any permitted size from one thread to another, in order: a byte ring, the
 * consumer's doorbell, and a side port for what does not fit a ring. ChannelWriter belongs to the producing
 * thread and ChannelReader to the consuming one; the ends are plain data, to be posted with their ports.
 *
 * Invariants:
 * 1. A payload above the ring's recordBytesMax is posted on the side port before its stub is published in the
 *    ring, and the consumer takes it when it meets the stub: order is the ring's, and the message is there.
 * 2. Side payloads posted and not released never exceed limits.sideBytesMax.
 * 3. `bytes` and `view` of either end change with `reserve` and `next`: read them anew for each record.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { RingConsumer, RingMemory, RingProducer } from './contract.ts';
import { type DoorbellMemory, DoorbellRinger } from './doorbell.ts';
import { RingReader, RingWriter } from './ring.ts';
import { createRing } from './ring-layout.ts';

/** Stub: u32 length of the payload beside the ring, u32 bytes of its buffer. */
const STUB_BYTES = 8;

export interface ChannelWriterEnd {
  readonly ring: RingMemory;
  /** Of the consumer. */
  readonly doorbell: DoorbellMemory;
  readonly bell: MessagePort;
  readonly side: MessagePort;
}
export interface ChannelReaderEnd {
  readonly ring: RingMemory;
  readonly bell: MessagePort;
  readonly side: MessagePort;
}
export interface Channel {
  readonly writer: ChannelWriterEnd;
  readonly reader: ChannelReaderEnd;
}

/** A new channel to the consumer that owns `doorbell`. Post each end with `portsOf(end)` as transfer list. */
export function createChannel(doorbell: DoorbellMemory, ringBytes: number = limits.ringBytes): Channel {
  const ring = createRing(ringBytes);
  const bell = new MessageChannel();
  const side = new MessageChannel();
  return {
    writer: { ring, doorbell, bell: bell.port1, side: side.port1 },
    reader: { ring, bell: bell.port2, side: side.port2 },
  };
}

export const portsOf = (end: ChannelWriterEnd | ChannelReaderEnd): MessagePort[] => [end.bell, end.side];

export class ChannelWriter implements RingProducer {
  readonly recordBytesMax: number = limits.sideBytesMax;
  bytes: Uint8Array;
  view: DataView;
  offset = 0;
  readonly #end: ChannelWriterEnd;
  readonly #ring: RingWriter;
  /** The buffer reserved beside the ring, null while the reservation is in the ring. */
  #beside: Uint8Array<ArrayBuffer> | null = null;
  #sidePosted = 0;

  constructor(end: ChannelWriterEnd) {
    this.#end = end;
    this.#ring = new RingWriter(end.ring, new DoorbellRinger(end.doorbell, end.bell));
    this.bytes = this.#ring.bytes;
    this.view = this.#ring.view;
  }

  reserve(length: number): boolean {
    assert(this.#beside === null, 'ChannelWriter.reserve: a reservation is open');
    if (length > this.#ring.recordBytesMax) return this.#reserveBeside(length);
    if (!this.#ring.reserve(length)) return false;
    this.bytes = this.#ring.bytes;
    this.view = this.#ring.view;
    this.offset = this.#ring.offset;
    return true;
  }

  commit(length: number): void {
    const beside = this.#beside;
    if (beside === null) {
      this.#ring.commit(length);
      return;
    }
    assert(length >= 0 && length <= beside.length, 'ChannelWriter.commit: longer than reserved');
    const { view, offset } = this.#ring;
    view.setUint32(offset, length, true);
    view.setUint32(offset + 4, beside.length, true);
    this.#sidePosted = (this.#sidePosted + beside.length) >>> 0;
    this.#end.side.postMessage(beside, [beside.buffer]);
    this.#ring.commitSide(STUB_BYTES);
    this.#beside = null;
    this.bytes = this.#ring.bytes;
    this.view = this.#ring.view;
  }

  flush(): void {
    this.#ring.flush();
  }
  usedBytes(): number {
    return this.#ring.usedBytes() + this.#sideBytes();
  }
  /** Closes the ports. Records that were flushed stay readable while the reader holds its end. */
  close(): void {
    this.#end.bell.close();
    this.#end.side.close();
  }

  #sideBytes(): number {
    return (this.#sidePosted - this.#ring.sideTaken()) >>> 0;
  }

  #reserveBeside(length: number): boolean {
    assert(length <= limits.sideBytesMax, () => `a record of ${length} bytes; limit ${limits.sideBytesMax}`);
    if (this.#sideBytes() + length > limits.sideBytesMax || !this.#ring.reserve(STUB_BYTES)) return false;
    this.#beside = new Uint8Array(length);
    this.bytes = this.#beside;
    this.view = new DataView(this.#beside.buffer);
    this.offset = 0;
    return true;
  }
}

export class ChannelReader implements RingConsumer {
  bytes: Uint8Array;
  view: DataView;
  offset = 0;
  length = 0;
  readonly #end: ChannelReaderEnd;
  readonly #ring: RingReader;
  #sideTaken = 0;
  #sideReleased = 0;

  /** `onWake` runs on every message of the doorbell. */
  constructor(end: ChannelReaderEnd, onWake: () => void) {
    this.#end = end;
    this.#ring = new RingReader(end.ring);
    this.bytes = this.#ring.bytes;
    this.view = this.#ring.view;
    end.bell.on('message', onWake);
  }

  next(): boolean {
    if (!this.#ring.next()) return false;
    if (this.#ring.side) {
      this.#takeBeside();
      return true;
    }
    this.bytes = this.#ring.bytes;
    this.view = this.#ring.view;
    this.offset = this.#ring.offset;
    this.length = this.#ring.length;
    return true;
  }

  release(): void {
    if (this.#sideReleased !== this.#sideTaken) {
      this.#sideReleased = this.#sideTaken;
      this.#ring.releaseSide(this.#sideTaken);
      // A large payload must not live on until the next record comes.
      this.bytes = this.#ring.bytes;
      this.view = this.#ring.view;
    }
    this.#ring.release();
  }

  /** Whether there is a record that `next` has not passed: for DoorbellSleeper.sleep. */
  pending(): boolean {
    return this.#ring.pending();
  }
  /** Lets the thread end although it could still be woken. */
  unref(): void {
    this.#end.bell.unref();
  }
  close(): void {
    this.#end.bell.close();
    this.#end.side.close();
  }

  #takeBeside(): void {
    const { view, offset, length } = this.#ring;
    assert(length === STUB_BYTES, 'channel: a stub of the wrong size');
    const payload = view.getUint32(offset, true);
    const message = receiveMessageOnPort(this.#end.side)?.message as unknown;
    assert(
      message instanceof Uint8Array && message.length === view.getUint32(offset + 4, true),
      'channel: the payload beside the ring is not the one of the stub',
    );
    assert(payload <= message.length, 'channel: a payload longer than its buffer');
    this.#sideTaken = (this.#sideTaken + message.length) >>> 0;
    this.bytes = message;
    this.view = new DataView(message.buffer, message.byteOffset, message.length);
    this.offset = 0;
    this.length = payload;
  }
}
