/** Servers that are made to answer as a test wants, and a listener for what a transport tells. */
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach } from 'vitest';
import type { AnswerSink, Slot, Transport } from '../../load/transports/transport.ts';
import { Values } from '../../load/values.ts';

export const values = new Values({ seed: 1, min: 64, max: 4096 });

export interface Heard {
  readonly slot: number;
  readonly answer: number;
  readonly value: string | null;
  readonly failure: string;
}
/** Remembers what a transport tells. */
export class Listener implements AnswerSink {
  readonly heard: Heard[] = [];
  readonly events: string[] = [];
  readonly #waiting: (() => void)[] = [];
  answered(slot: Slot, answer: number, value: Buffer | null, failure: string): void {
    this.heard.push({
      slot: slot.index,
      answer,
      value: value === null ? null : value.toString('latin1'),
      failure,
    });
    this.#tell(`answered ${slot.index}`);
  }
  scanned(slot: Slot, key: Buffer): void {
    this.#tell(`scanned ${slot.index} ${key.toString()}`);
  }
  idle(slot: Slot): void {
    this.#tell(`idle ${slot.index}`);
  }
  gone(slot: Slot): void {
    this.#tell(`gone ${slot.index}`);
  }
  broken(error: Error): void {
    this.#tell(`broken ${error.message}`);
  }
  #tell(event: string): void {
    this.events.push(event);
    for (const wake of this.#waiting.splice(0)) wake();
  }
  /** Until `event` was told after the first `from` events; how many there are then. The test's own time limit bounds it. */
  async until(event: string, from = 0): Promise<number> {
    while (!this.events.slice(from).some((one) => one.startsWith(event)))
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.events.length;
  }
}

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
/** A server that hands its sockets to `serve`; its URL. */
export async function serverOf(serve: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((done) => server.close(done));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}
export async function opened(transport: Transport, slots: readonly Slot[]): Promise<Listener> {
  const listener = new Listener();
  cleanups.push(() => transport.close());
  await transport.open(slots, listener);
  for (const { index } of slots) await listener.until(`idle ${index}`);
  return listener;
}
