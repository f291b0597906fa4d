/**
 * What is watched before a release: a kind of request, and what the bare server does beside it in the same minute. Not WebSocket: how
 * many requests share a message follows from what else the machine does, and with it what each costs.
 */
import type { TransportName } from '../transports/transport.ts';

export const NODES = ['memory', 'tables'] as const;
export type NodeName = (typeof NODES)[number];
export const BARE = ['bare-raw', 'bare-json'] as const;
export type BareName = (typeof BARE)[number];

export interface Contest {
  readonly name: string;
  readonly what: string;
  readonly node: NodeName;
  readonly transport: TransportName;
  readonly operation: 'read' | 'update';
  /** The server beside it, which does the same by HTTP. */
  readonly bare: BareName;
}

export const contests: readonly Contest[] = [
  {
    name: 'http-get-raw',
    what: 'HTTP GET as bytes, from a memtable',
    ...{ node: 'memory', transport: 'http-raw', operation: 'read', bare: 'bare-raw' },
  },
  {
    name: 'http-get-json',
    what: 'HTTP GET as JSON, from a memtable',
    ...{ node: 'memory', transport: 'http-json', operation: 'read', bare: 'bare-json' },
  },
  {
    name: 'http-put-raw',
    what: 'HTTP PUT as bytes, durable',
    ...{ node: 'memory', transport: 'http-raw', operation: 'update', bare: 'bare-raw' },
  },
  {
    name: 'http-put-json',
    what: 'HTTP PUT as JSON, durable',
    ...{ node: 'memory', transport: 'http-json', operation: 'update', bare: 'bare-json' },
  },
  {
    name: 'tables-get',
    what: 'HTTP GET as bytes, from tables beyond the block cache',
    ...{ node: 'tables', transport: 'http-raw', operation: 'read', bare: 'bare-raw' },
  },
];

/** Of `memory` all keys stay in a memtable while they are read; `tables` has many times its caches. */
export const KEYS: Readonly<Record<NodeName, number>> = { memory: 10_000, tables: 60_000 };
export const SETTINGS: Readonly<Record<NodeName, readonly string[]>> = {
  memory: [],
  tables: ['--memtable-bytes', '4MiB', '--block-cache-bytes', '8MiB'],
};
export const VALUE_BYTES = 2048;
/** Connections, one request on its way on each. */
export const CONNECTIONS = 64;
export const FILL_IN_FLIGHT = 256;
/** A round measures each side so many times, each time over so many requests. */
export const PARTS = 4;
export const REQUESTS = 10_000;
