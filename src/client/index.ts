/**
 * The client: `import { connect } from 'ringkv/client'`. HTTP only in this version; the WebSocket transport with
 * its batches, routing by token and hedged reads are not there yet, and neither is TLS.
 */
import { systemClock } from '../base/clock.ts';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Random, systemSeed } from '../base/random.ts';
import { Client } from './client.ts';
import type { ConnectOptions } from './types.ts';

export {
  BadRequestError,
  ClosedError,
  DiskFullError,
  KeyTooLargeError,
  OverloadedError,
  ReadOnlyError,
  ResourceError,
  RingKvError,
  ShardDownError,
  TimeoutError,
  UnavailableError,
  ValueTooLargeError,
  VersionMismatchError,
} from '../base/errors.ts';
export type { Client } from './client.ts';
export { ConnectionError, ProtocolError, RateLimitedError, ServerError, UnsupportedError } from './errors.ts';
export type {
  Bytes,
  CallOptions,
  ConnectOptions,
  Consistency,
  Entry,
  PutOptions,
  ReadOptions,
  ScanEntry,
  ScanOptions,
  WriteOptions,
} from './types.ts';

const CONNECTIONS_DEFAULT = 64;
const CONNECTIONS_MAX = 4096;
const RETRIES_DEFAULT = 4;
const RETRIES_MAX = 100;
const NODES_MAX = 1000;

/**
 * A client of one node or several. Nothing is sent before the first call, so that a node that is down shows there.
 * Rejects with BadRequestError where an option is wrong.
 */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { nodes, transport = 'http', connections = CONNECTIONS_DEFAULT, retries = RETRIES_DEFAULT } = options;
  if (transport !== 'http')
    throw new BadRequestError(`transport ${JSON.stringify(transport)}: this version has 'http' only`);
  within('nodes', nodes.length, 1, NODES_MAX);
  within('connections', connections, 1, CONNECTIONS_MAX);
  within('retries', retries, 0, RETRIES_MAX);
  const { timeoutMs = limits.requestTimeoutMsDefault } = options;
  within('timeoutMs', timeoutMs, 1, limits.requestTimeoutMsMax);
  const { clock = systemClock, random = new Random(systemSeed()) } = options;
  return await Promise.resolve(new Client({ nodes, connections, retries, timeoutMs, clock, random }));
}

function within(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new BadRequestError(`${name} ${value} is not a whole number from ${min} to ${max}`);
}
