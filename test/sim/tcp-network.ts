/**
 * A simulated network of TCP: machines, the names by which they are found, listeners, dials. All by chance from a seed.
 *
 * A name belongs to a machine, or to nobody, and may be given to another: what is dialled there next leads to that one.
 */

import { parseAddress } from '../../src/base/address.ts';
import { ListenError } from '../../src/base/errors.ts';
import type { Random } from '../../src/base/random.ts';
import type { ListenerEvents, PeerListener, PeerOutside } from '../../src/peer/outside.ts';
import type { ProcessLife } from './process-life.ts';
import type { Scheduler } from './scheduler.ts';
import type { NetworkProfile } from './sim-network.ts';
import { TcpEnd } from './tcp-end.ts';
import { TcpFlow } from './tcp-flow.ts';
import { RESEND_US_MAX, RESEND_US_MIN, TcpHost, TcpLinks } from './tcp-host.ts';

/** A kernel tries longer; the transport gives up sooner. */
const DIAL_GIVE_UP_US = 60_000_000;
const EPHEMERAL_PORT_MIN = 32_768;
const EPHEMERAL_PORTS = 28_000;

export class TcpNetwork {
  readonly links: TcpLinks;
  readonly #hosts = new Map<string, TcpHost>();
  readonly #names = new Map<string, TcpHost>();
  #dials = 0;

  constructor(scheduler: Scheduler, random: Random, profile: NetworkProfile) {
    this.links = new TcpLinks(scheduler, random, profile);
  }

  /** Of this name; made where there is none. */
  host(name: string): TcpHost {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      host = new TcpHost(name);
      this.#hosts.set(name, host);
    }
    return host;
  }
  hosts(): Iterable<TcpHost> {
    return this.#hosts.values();
  }
  /** `name` leads to `host` from now on; null: to nobody. */
  assign(name: string, host: TcpHost | null): void {
    if (host === null) this.#names.delete(name);
    else this.#names.set(name, host);
  }
  hostAt(name: string): TcpHost | undefined {
    return this.#names.get(name);
  }

  /** What a process on a machine has of it. */
  outside(host: TcpHost, life: ProcessLife): PeerOutside {
    const { scheduler } = this.links;
    return {
      after: (ms, run) => life.after(ms, run),
      atTurnEnd: (run) => void scheduler.after(0, () => life.receive(run)),
      newListener: (_, events) => new SimListener(host, life, events),
      dial: (address, _, onOpen) => this.#dial(host, life, address, onOpen).socket,
    };
  }

  #dial(from: TcpHost, life: ProcessLife, address: string, onOpen: () => void): TcpEnd {
    const { host: name, port } = parseAddress(address);
    const ownPort = EPHEMERAL_PORT_MIN + (this.#dials++ % EPHEMERAL_PORTS);
    const end = new TcpEnd(from, life, { address: name, port }, true, onOpen);
    const { scheduler, random } = this.links;
    const startUs = scheduler.nowUs;
    const fail = (what: string): void => {
      if (end.isConnecting) end.wasReset(`connect ${what} ${address}`);
    };
    const again = (waitUs: number): void => {
      if (scheduler.nowUs - startUs >= DIAL_GIVE_UP_US) fail('ETIMEDOUT');
      else scheduler.after(waitUs, () => attempt(Math.min(2 * waitUs, RESEND_US_MAX)));
    };
    const attempt = (waitUs: number): void => {
      if (!end.isConnecting || end.isForgotten) return;
      const to = this.#names.get(name);
      if (to === undefined) {
        if (random.chance(0.5)) scheduler.after(RESEND_US_MIN, () => fail('EHOSTUNREACH'));
        else again(waitUs);
        return;
      }
      scheduler.after(this.links.delayUs(from, to), () => {
        if (!end.isConnecting || end.isForgotten) return;
        if (this.links.passes(from, to, true)) this.#greet(end, to, port, ownPort, fail);
        else again(waitUs);
      });
    };
    attempt(RESEND_US_MIN);
    return end;
  }

  /** The wish for a connection has come to a machine. */
  #greet(dialled: TcpEnd, to: TcpHost, port: number, ownPort: number, fail: (what: string) => void): void {
    const { links } = this;
    const { scheduler } = links;
    const from = dialled.host;
    const listener = to.ports.get(port);
    const backUs = links.delayUs(to, from);
    if (listener === undefined || !listener.life.isAlive) {
      scheduler.after(backUs, () => {
        if (links.passes(to, from)) fail('ECONNREFUSED');
      });
      return;
    }
    const accepted: TcpEnd = new TcpEnd(to, listener.life, { address: from.name, port: ownPort }, false, () =>
      listener.accept(accepted),
    );
    const out = new TcpFlow(links, dialled, accepted);
    const back = new TcpFlow(links, accepted, dialled);
    accepted.bind(links, dialled, back, out);
    const answer = (): void => {
      if (accepted.isForgotten || accepted.isClosed) return;
      if (dialled.isForgotten || dialled.isClosed) accepted.wasReset('read ECONNRESET');
      else if (links.passes(to, from)) {
        dialled.bind(links, accepted, out, back);
        dialled.opened();
      } else scheduler.after(RESEND_US_MAX, answer);
    };
    scheduler.after(backUs, answer);
  }
}

class SimListener implements PeerListener {
  readonly #host: TcpHost;
  readonly #life: ProcessLife;
  readonly #events: ListenerEvents;
  readonly #open = new Set<TcpEnd>();
  #port = 0;
  #onClosed: (() => void) | null = null;

  constructor(host: TcpHost, life: ProcessLife, events: ListenerEvents) {
    this.#host = host;
    this.#life = life;
    this.#events = events;
  }

  async listen(host: string, port: number): Promise<number> {
    if (this.#host.ports.has(port))
      throw new ListenError(`cannot listen for nodes on ${host}:${port}: listen EADDRINUSE`);
    this.#port = port;
    this.#host.ports.set(port, { life: this.#life, accept: (end) => this.#accept(end) });
    return port;
  }

  #accept(end: TcpEnd): void {
    const { socket } = end;
    this.#open.add(end);
    socket.on('close', () => {
      this.#open.delete(end);
      if (this.#open.size === 0) this.#onClosed?.();
    });
    this.#events.onSocket(socket);
    if (!socket.destroyed) this.#events.onOpen(socket, socket);
  }

  close(): Promise<void> {
    if (this.#host.ports.get(this.#port)?.life === this.#life) this.#host.ports.delete(this.#port);
    return new Promise((resolve) => {
      this.#onClosed = resolve;
      if (this.#open.size === 0) resolve();
    });
  }
  renewTls(): void {
    // Bytes are all that is simulated.
  }
}
