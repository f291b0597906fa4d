/** A WsLink over sockets that are the test's, with a clock and timers that move when the test says so. */
import { expect, vi } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import { type KvAnswer, type KvLink, KvOp, type KvRequest } from '../../src/client/kv.ts';
import type { Platform, StandardSocket } from '../../src/client/platform.ts';
import { WsLink } from '../../src/client/ws-link.ts';
import { monotonic } from '../base/clocks.ts';
import { decode, encode, type Item } from '../front/ws-client.ts';

export const LIMITS = {
  valueBytesMax: 1 << 20,
  messageBytesMax: 4 << 20,
  messageRequestsMax: 1024,
  inFlightMax: 1024,
  inFlightBytesMax: 16 << 20,
  pausedBytes: 4 << 20,
};
type Listener = (event: {
  readonly data?: unknown;
  readonly code?: number;
  readonly reason?: string;
}) => void;

export interface Sent {
  readonly ids: readonly number[];
  readonly ops: Item;
  readonly keys: readonly Buffer[];
  readonly timeouts: Item;
}

export class FakeSocket {
  readonly sent: Sent[] = [];
  closes = 0;
  readonly #listeners = new Map<string, Listener>();
  addEventListener(name: string, listener: Listener): void {
    this.#listeners.set(name, listener);
  }
  send(bytes: Uint8Array): void {
    this.sent.push(decode(Buffer.from(bytes)) as unknown as Sent);
  }
  close(): void {
    this.closes++;
    queueMicrotask(() => this.closed());
  }
  message(columns: Readonly<Record<string, Item>>): void {
    const bytes = encode(columns);
    this.data(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  }
  data(data: unknown): void {
    this.#listeners.get('message')?.({ data });
  }
  closed(code = 1006, reason = ''): void {
    this.#listeners.get('close')?.({ code, reason });
  }
  open(limits: Readonly<Record<string, number>> = LIMITS): void {
    this.message({ ids: [], statuses: [], limits });
  }
  /** Answers the message at `index` with one status for all its requests. */
  answer(index: number, status: number, columns: Readonly<Record<string, Item>> = {}): void {
    const ids = this.sent[index]?.ids ?? [];
    this.message({ ids, statuses: ids.map(() => status), ...columns });
  }
}

export interface Outcome {
  answer: KvAnswer | null;
  error: {
    readonly code?: string;
    readonly sent?: boolean;
    readonly version?: number;
    readonly message: string;
  } | null;
}

const none = { consistency: undefined, version: undefined, ttl: undefined, idempotencyKey: undefined };
export const getOf = (key: string): KvRequest => ({
  op: KvOp.GET,
  key: Buffer.from(key),
  value: null,
  ...none,
});
export const putOf = (key: string, value: Uint8Array): KvRequest => ({
  op: KvOp.PUT,
  key: Buffer.from(key),
  value,
  ...none,
});

/** Call `vi.useFakeTimers()` before, and `vi.useRealTimers()` after. */
export class LinkWorld {
  readonly clock = new ManualClock(1_000_000);
  readonly sockets: FakeSocket[] = [];
  /** The longest wait that each reconnection could have drawn, in milliseconds; it waits so long. */
  readonly waits: number[] = [];
  readonly byHttp: { readonly args: readonly unknown[]; readonly end: (answer: KvAnswer) => void }[] = [];
  readonly link: WsLink;
  constructor() {
    const platform = {
      socket: (): StandardSocket => {
        const socket = new FakeSocket();
        this.sockets.push(socket);
        return socket as unknown as StandardSocket;
      },
      soon: queueMicrotask,
    } as unknown as Platform;
    const between = (_: number, most: number): number => {
      this.waits.push(most);
      return most;
    };
    const http: KvLink = {
      usable: true,
      send: (...args) => new Promise((end) => this.byHttp.push({ args, end })),
      close: () => Promise.resolve(),
    };
    const random = { between } as unknown as Random;
    this.link = new WsLink('ws://node/v1/ws', { platform, clock: this.clock, random, tls: undefined, http });
  }
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error('no socket');
    return socket;
  }
  get now(): number {
    return this.clock.monotonicMs();
  }
  send(request: KvRequest, leftMs = 1e9, signal?: AbortSignal, isOneOfMany = false): Outcome {
    const outcome: Outcome = { answer: null, error: null };
    this.link.send(request, monotonic(this.now + leftMs), signal, isOneOfMany).then(
      (answer) => {
        outcome.answer = answer;
      },
      (error) => {
        outcome.error = error;
      },
    );
    return outcome;
  }
  /** Both the clock and the timers, and what follows from them. */
  async pass(ms: number): Promise<void> {
    this.clock.advanceMs(ms);
    await vi.advanceTimersByTimeAsync(ms);
  }
  /** A connection that is open. */
  async opened(limits: Readonly<Record<string, number>> = LIMITS): Promise<FakeSocket> {
    const first = this.send(getOf('first'));
    this.socket.open(limits);
    await this.pass(0);
    this.socket.answer(0, 1);
    await this.pass(0);
    expect(first.answer).toMatchObject({ found: false });
    return this.socket;
  }
}
