/**
 * What happened during a run, and when: flushes and compactions, as the nodes' own counters tell them, and what this program does
 * to nodes. Also the nodes' memory.
 */
import { readFileSync } from 'node:fs';
import { loadLimits } from './limits.ts';

export type MarkKind = 'flush' | 'compaction' | 'node killed' | 'node started' | 'node serves';
export interface Mark {
  /** Seconds from where counting began; negative in the warm-up. */
  readonly second: number;
  readonly kind: MarkKind;
  readonly node: string;
  /** How many of them since the poll before. */
  readonly count: number;
}
export interface MemoryPoint {
  readonly second: number;
  readonly node: string;
  readonly rssBytes: number;
}

/** Counters of one node, summed over its shards. */
export interface CounterSource {
  readonly name: string;
  /** Null where the node does not answer. */
  read(): Promise<Readonly<Record<string, number>> | null>;
  readonly pid: () => number | null;
}

/** Counters that become marks, by their name without `ringkv_shard_`. */
const MARKED: readonly (readonly [counter: string, kind: MarkKind])[] = [
  ['flushes', 'flush'],
  ['compactions', 'compaction'],
];
const POLL_MS = 200;
const SCRAPE_MS_MAX = 2000;
const MEMORY_POINTS_MAX = 20_000;

/** /metrics of a node. */
export function metricsSource(name: string, url: string, pid: () => number | null): CounterSource {
  const read = async (): Promise<Readonly<Record<string, number>> | null> => {
    try {
      const answer = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(SCRAPE_MS_MAX) });
      return answer.ok ? countersOf(await answer.text()) : null;
    } catch {
      // It is down, or too busy to answer in time: the next poll tells.
      return null;
    }
  };
  return { name, read, pid };
}
/** Sums over the shards of a node. Null where a shard did not answer: sums without it would go backwards. */
export function countersOf(metrics: string): Record<string, number> | null {
  const sums: Record<string, number> = {};
  for (const [, name = '', value = ''] of metrics.matchAll(/^ringkv_shard_([a-z_]+)\{[^}]*\} (\S+)$/gm)) {
    if (name === 'up' && value !== '1') return null;
    sums[name] = (sums[name] ?? 0) + Number(value);
  }
  return sums;
}

export class MarkRecorder {
  readonly marks: Mark[] = [];
  readonly memory: MemoryPoint[] = [];
  /** Marks beyond what is kept. */
  dropped = 0;
  readonly totals: Record<string, number> = {};
  readonly #sources: readonly CounterSource[];
  readonly #last = new Map<string, Readonly<Record<string, number>>>();
  #originMs = 0;
  #timer: NodeJS.Timeout | null = null;
  #polling: Promise<void> = Promise.resolve();
  #memoryMs = 0;
  #stopped = false;
  readonly #memoryEveryMs: number;

  constructor(sources: readonly CounterSource[], memoryEveryMs: number) {
    this.#sources = sources;
    this.#memoryEveryMs = memoryEveryMs;
  }
  /** `originMs`: second 0, in milliseconds since 1970. */
  start(originMs: number): void {
    this.#originMs = originMs;
    this.#again();
  }
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#polling;
  }
  add(kind: MarkKind, node: string, count = 1): void {
    const second = (performance.timeOrigin + performance.now() - this.#originMs) / 1000;
    if (second >= 0) this.totals[kind] = (this.totals[kind] ?? 0) + count;
    if (this.marks.length < loadLimits.marksMax) this.marks.push({ second, kind, node, count });
    else this.dropped++;
  }

  #again(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#polling = this.#poll().then(() => this.#again());
    }, POLL_MS);
  }
  async #poll(): Promise<void> {
    const now = performance.now();
    const withMemory = now - this.#memoryMs >= this.#memoryEveryMs;
    if (withMemory) this.#memoryMs = now;
    await Promise.all(
      this.#sources.map(async (source) => {
        if (withMemory) this.#noteMemory(source);
        const counters = await source.read();
        if (counters !== null) this.#compare(source.name, counters);
      }),
    );
  }
  #compare(node: string, counters: Readonly<Record<string, number>>): void {
    const last = this.#last.get(node);
    this.#last.set(node, counters);
    if (last === undefined) return;
    for (const [counter, kind] of MARKED) {
      // Fewer than before: the node was started anew and counts from 0.
      const more = (counters[counter] ?? 0) - (last[counter] ?? 0);
      if (more > 0) this.add(kind, node, more);
    }
  }
  #noteMemory({ name, pid }: CounterSource): void {
    const id = pid();
    if (id === null || this.memory.length >= MEMORY_POINTS_MAX) return;
    const rssBytes = usageOf(id)?.rssBytes;
    if (rssBytes === undefined) return;
    const second = (performance.timeOrigin + performance.now() - this.#originMs) / 1000;
    this.memory.push({ second, node: name, rssBytes });
  }
}

export interface Usage {
  readonly cpuSeconds: number;
  readonly rssBytes: number;
}
/** USER_HZ of Linux. */
const TICKS_PER_SECOND = 100;
const KIB = 1024;
/** Processor seconds of all threads of a process so far, and its resident bytes; null where the system does not tell. */
export function usageOf(pid: number): Usage | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const rssKib = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0);
    return {
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
      rssBytes: rssKib * KIB,
    };
  } catch {
    // Not Linux, or the process has ended.
    return null;
  }
}
