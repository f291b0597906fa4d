/**
 * Connections that ask for next to nothing and are to be held: WebSocket, which answer the node's pings, and every tenth HTTP keep-alive, which
 * ask for /healthz more often than the node ends idle ones. In the end each must still answer.
 */
import { readFileSync } from 'node:fs';
import { loadLimits } from '../limits.ts';
import { usageOf } from '../marks.ts';
import type { StoreProcess } from '../target/target.ts';
import { type HttpNode, nodesOf } from '../transports/nodes.ts';
import { IdleHttp, type IdleSocket, IdleWebSocket } from './idle-socket.ts';

const HTTP_OF = 10;
const OPENED_AT_A_TIME = 100;
/** Connections of one address of this machine: below the ports that a system hands out for one. */
const PER_ADDRESS = 20_000;
const TICK_MS = 500;
/** Below the 8 s after which a node ends an idle connection. */
const HTTP_EVERY_MS = 4000;
/** Files and sockets of a process beside connections. */
const OTHER_DESCRIPTORS = 1024;

export interface IdleOutcome {
  readonly webSockets: number;
  readonly http: number;
  readonly openSeconds: number;
  /** Ended before they were asked to, by why. */
  readonly dropped: number;
  readonly reasons: Readonly<Record<string, number>>;
  /** Answered in the end. */
  readonly answered: number;
  /** Resident bytes of the nodes for each, just after they were opened; null where it is not known. */
  readonly bytesEach: number | null;
}

/** Open files that this process, and the nodes that it starts, may have; infinite where the system does not tell. */
function descriptorsMax(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    // Not Linux: what is missing is missing when connections are opened.
    return Number.POSITIVE_INFINITY;
  }
}
/** Throws where so many connections need more open files than there may be. */
export function checkDescriptors(connections: number, max = descriptorsMax()): void {
  const needed = connections + OTHER_DESCRIPTORS;
  if (needed > max)
    throw new Error(
      `${connections} connections need ${needed} open files; the limit of this process is ${max}: raise it with ulimit -n ${needed}`,
    );
}

/** 127.0.0.2 and so on where one address of a loopback has too few ports; undefined: the system's choice. */
export function sourceOf({ host }: HttpNode, index: number): string | undefined {
  const place = Math.floor(index / PER_ADDRESS);
  return place === 0 || !host.startsWith('127.') ? undefined : `127.0.0.${1 + place}`;
}

export class IdleConnections {
  readonly #sockets: IdleSocket[] = [];
  readonly #http: IdleHttp[] = [];
  readonly #nodes: readonly StoreProcess[];
  readonly #reasons: Record<string, number> = {};
  #dropped = 0;
  #closing = false;
  #openSeconds = 0;
  #bytesEach: number | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(nodes: readonly StoreProcess[]) {
    this.#nodes = nodes;
  }

  /** Resolves when all are open. Throws where one is refused, or does not open in time: then nothing was measured. */
  async open(urls: readonly string[], count: number, signal: AbortSignal): Promise<void> {
    const targets = nodesOf(urls);
    this.#keepAlive();
    const begun = performance.now();
    const before = this.#residentBytes();
    for (let first = 0; first < count; first += OPENED_AT_A_TIME) {
      signal.throwIfAborted();
      const some = Array.from({ length: Math.min(OPENED_AT_A_TIME, count - first) }, (_, i) => {
        const index = first + i;
        const node = targets[index % targets.length] as HttpNode;
        const from = sourceOf(node, index);
        const onEnd = (why: string): void => this.#ended(why);
        return index % HTTP_OF === HTTP_OF - 1
          ? new IdleHttp(node, from, onEnd)
          : new IdleWebSocket(node, from, onEnd);
      });
      this.#sockets.push(...some);
      this.#http.push(...some.filter((one) => one instanceof IdleHttp));
      await Promise.all(some.map((one) => one.opened));
    }
    const after = this.#residentBytes();
    this.#bytesEach = before === null || after === null ? null : Math.max(0, after - before) / count;
    this.#openSeconds = (performance.now() - begun) / 1000;
  }

  /** Asks each for an answer. */
  async outcome(): Promise<IdleOutcome> {
    let answered = 0;
    for (let first = 0; first < this.#sockets.length; first += OPENED_AT_A_TIME) {
      const some = this.#sockets.slice(first, first + OPENED_AT_A_TIME);
      const answers = await Promise.all(some.map((one) => one.answers(loadLimits.idleAnswerMs)));
      answered += answers.filter(Boolean).length;
    }
    return {
      webSockets: this.#sockets.filter((one) => one instanceof IdleWebSocket).length,
      http: this.#http.length,
      openSeconds: this.#openSeconds,
      dropped: this.#dropped,
      reasons: this.#reasons,
      answered,
      bytesEach: this.#bytesEach,
    };
  }

  close(): void {
    this.#closing = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const one of this.#sockets) one.close();
  }

  /** A part of the HTTP connections each time, so that requests are spread; also while others are opened. */
  #keepAlive(): void {
    let at = 0;
    this.#timer = setInterval(() => {
      const http = this.#http;
      const each = Math.ceil((http.length * TICK_MS) / HTTP_EVERY_MS);
      for (let i = 0; i < each; i++) http[at++ % http.length]?.ask();
    }, TICK_MS);
  }

  #ended(why: string): void {
    if (this.#closing) return;
    this.#dropped++;
    const known = why in this.#reasons || Object.keys(this.#reasons).length < loadLimits.failureNamesMax;
    const name = known ? why : 'other';
    this.#reasons[name] = (this.#reasons[name] ?? 0) + 1;
  }

  #residentBytes(): number | null {
    let sum = 0;
    for (const { pid } of this.#nodes) {
      const usage = pid === null ? null : usageOf(pid);
      if (usage === null) return null;
      sum += usage.rssBytes;
    }
    return this.#nodes.length === 0 ? null : sum;
  }
}
