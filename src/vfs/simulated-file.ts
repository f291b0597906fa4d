/** An open file of the simulated disk. As with a real one, a close waits for the calls in flight. */
import { basename } from 'node:path';
import type { File, IoCallback } from './file-system.ts';
import { checkTransfer, closedFailure, ioFailure } from './io-failure.ts';
import type { CallQueue } from './simulated-calls.ts';
import { Crash, type FaultPlan, type Operation } from './simulated-faults.ts';
import type { FileNode } from './simulated-node.ts';

/** What an open file needs of its disk. */
export interface FileOwner {
  readonly plan: FaultPlan;
  readonly calls: CallQueue;
  /** How many of `bytes` more there is room for; counts them as used. */
  take(bytes: number): number;
  give(bytes: number): void;
  closed(file: SimulatedFile): void;
}

export class SimulatedFile implements File {
  readonly path: string;
  readonly node: FileNode;
  readonly #name: string;
  readonly #owner: FileOwner;
  readonly #isWritable: boolean;
  #inFlight = 0;
  #closed = false;
  readonly #ended = (): void => {
    this.#inFlight--;
    if (this.#closed && this.#inFlight === 0) this.#owner.closed(this);
  };

  constructor(owner: FileOwner, path: string, node: FileNode, isWritable: boolean) {
    this.#owner = owner;
    this.path = path;
    this.#name = basename(path);
    this.node = node;
    this.#isWritable = isWritable;
  }

  readSync(target: Uint8Array, start: number, length: number, position: number): number {
    this.#check('read');
    checkTransfer(target, start, length, position);
    return this.#read(target, start, length, position);
  }
  writeSync(source: Uint8Array, start: number, length: number, position: number): void {
    this.#check('write');
    checkTransfer(source, start, length, position);
    this.#write(source, start, length, position);
  }
  syncSync(): void {
    this.#check('sync');
    this.#sync();
  }

  read(target: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    checkTransfer(target, start, length, position);
    this.#later('read', () => this.#read(target, start, length, position), done);
  }
  write(source: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    checkTransfer(source, start, length, position);
    this.#later('write', () => this.#write(source, start, length, position), done);
  }
  sync(done: IoCallback): void {
    this.#later('sync', () => this.#sync(), done);
  }

  truncate(length: number): void {
    this.#check('truncate');
    this.#owner.plan.pass('truncate', this.path, this.#name);
    if (!this.#isWritable) throw ioFailure('truncate', this.path, 'EINVAL', 'the file is open for reading');
    const growth = length - this.node.size;
    if (growth > 0) {
      const room = this.#owner.take(growth);
      if (room < growth) {
        this.#owner.give(room);
        throw ioFailure('truncate', this.path, 'ENOSPC', `to ${length} bytes`);
      }
    } else this.#owner.give(-growth);
    this.node.truncate(length);
  }

  size(): number {
    this.#check('size');
    this.#owner.plan.pass('size', this.path, this.#name);
    return this.node.size;
  }

  close(): void {
    if (this.#closed) return;
    try {
      this.#owner.plan.enter('close', this.path, this.#name);
    } finally {
      this.#closed = true;
      if (this.#inFlight === 0) this.#owner.closed(this);
    }
  }

  #check(operation: Operation): void {
    if (this.#owner.plan.crashed) throw new Crash(`${operation} ${this.path} after the crash`);
    if (this.#closed) throw closedFailure(operation, this.path);
  }

  #later(operation: Operation, run: () => number, done: IoCallback): void {
    const { calls } = this.#owner;
    if (this.#closed) {
      const fail = (): number => {
        throw closedFailure(operation, this.path);
      };
      calls.add({ run: fail, done, ended: () => undefined });
      return;
    }
    this.#inFlight++;
    calls.add({ run, done, ended: this.#ended });
  }

  #read(target: Uint8Array, start: number, length: number, position: number): number {
    this.#owner.plan.pass('read', this.path, this.#name);
    return this.node.read(target, start, length, position);
  }

  #write(source: Uint8Array, start: number, length: number, position: number): number {
    const fault = this.#owner.plan.enter('write', this.path, this.#name);
    if (!this.#isWritable) throw ioFailure('write', this.path, 'EBADF', 'the file is open for reading');
    if (fault !== null) {
      this.#put(source, start, Math.min(length, fault.bytes ?? 0), position);
      throw ioFailure('write', this.path, fault.errno, 'injected');
    }
    if (this.#put(source, start, length, position) < length)
      throw ioFailure('write', this.path, 'ENOSPC', `${length} bytes at ${position}`);
    return length;
  }

  /** Writes as much as there is room for; the bytes. */
  #put(source: Uint8Array, start: number, length: number, position: number): number {
    const growth = length === 0 ? 0 : Math.max(0, position + length - this.node.size);
    const room = this.#owner.take(growth);
    const possible = length - (growth - room);
    if (possible > 0) {
      this.node.write(source, start, possible, position);
      return possible;
    }
    this.#owner.give(room);
    return 0;
  }

  #sync(): number {
    const fault = this.#owner.plan.enter('sync', this.path, this.#name);
    if (fault !== null) {
      this.node.failSync();
      throw ioFailure('sync', this.path, fault.errno, 'injected');
    }
    this.node.sync();
    return 0;
  }
}
