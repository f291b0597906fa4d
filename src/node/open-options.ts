/** What `open` of the embedded store takes, and the configuration it stands for. */
import { ConfigurationError } from '../base/errors.ts';
import type { Compression, Durability } from '../engine/contract.ts';
import { configOfOptions } from './config.ts';
import type { Log, NodeConfig } from './contract.ts';

/** Sizes are bytes or texts such as 64MiB, durations milliseconds or texts such as 10s. Defaults: docs. */
export interface OpenOptions {
  /** The data directory, of the same format as a server's. Made where it is missing. Not with `inMemory`. */
  readonly path?: string;
  /** Nothing is written to disk, and nothing is left after `close`: for tests. */
  readonly inMemory?: boolean;
  /** Shard threads. A store that exists keeps its number where this is absent, and is changed where it differs. */
  readonly shards?: number;
  /** What a write has survived when its promise resolves: power loss (`always`, the default), or a crash. */
  readonly durability?: Durability;
  /** Between syncs at durability `interval`. */
  readonly syncInterval?: number | string;
  readonly memtableBytes?: number | string;
  /** Of all shards together. */
  readonly blockCacheBytes?: number | string;
  readonly compression?: Compression;
  /** From -10 (reads cost less) to 10 (writes cost less). */
  readonly compactionDial?: number;
  /** Of all shards together; 0 is unlimited. */
  readonly compactionBytesPerSecond?: number | string;
  readonly blockBytes?: number | string;
  readonly maxValueBytes?: number | string;
  readonly maxKeyBytes?: number | string;
  /** Segments of the ring, a power of two: of a new store. */
  readonly vnodes?: number;
  /** How long tombstones are kept. */
  readonly gcGrace?: number | string;
  /** Gets what a server would log. Nothing is logged where it is absent. */
  readonly log?: Log;
}

/** Settings that a store in one's own process has no use for, or has under another name. */
const notEmbedded: ReadonlySet<string> = new Set([
  ...['data', 'host', 'port', 'frontends', 'insecureBind', 'logLevel'],
  ...[
    'clusterName',
    'nodeId',
    'peerHost',
    'peerPort',
    'seeds',
    'replace',
    'replicas',
    'rack',
    'repairInterval',
  ],
  ...['peerTlsCert', 'peerTlsKey', 'peerTlsCa'],
]);

/** Throws ConfigurationError that names the option. */
export function configOfOpen(options: OpenOptions): NodeConfig {
  const { path, log: _, ...settings } = options;
  for (const name of Object.keys(settings))
    if (notEmbedded.has(name))
      throw new ConfigurationError(`option ${name}: an embedded store has no such option`);
  if ((path === undefined) === (options.inMemory !== true))
    throw new ConfigurationError(
      path === undefined
        ? 'option path: a store needs a path, or inMemory: true'
        : `option path ${JSON.stringify(path)}: a store with inMemory: true has no path`,
    );
  return configOfOptions(path === undefined ? settings : { ...settings, data: path });
}
