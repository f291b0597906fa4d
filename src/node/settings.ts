/**
 * Every setting of a node: its name, what it may be, what it is where nobody says, and which field of NodeConfig
 * it fills. One name everywhere: `--sync-interval`, RINGKV_SYNC_INTERVAL, `syncInterval` in the file.
 */
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { GiB, KiB, limits, MiB } from '../base/limits.ts';
import { RACK, RACK_TEXT } from '../base/rack.ts';
import { formatDurationMs, formatSizeBytes, parseDurationMs, parseSizeBytes } from '../base/units.ts';
import type { NodeConfig } from './contract.ts';

export type SettingValue = string | number | boolean;

export interface Setting {
  readonly name: string;
  readonly field: keyof NodeConfig;
  readonly help: string;
  readonly fallback: () => SettingValue;
  /** A value of the file or of options: already typed, or a text with a unit. Throws a ZodError. */
  readonly check: (value: unknown) => SettingValue;
  /** The same for texts: environment and flags. */
  readonly parse: (text: string) => SettingValue;
  readonly show: (value: SettingValue) => string;
  /** A flag without an argument on the command line. */
  readonly toggle: boolean;
}

type Row = Pick<Setting, 'name' | 'field' | 'help'> & {
  readonly fallback: SettingValue | (() => SettingValue);
};
const fallbackOf = (row: Row): (() => SettingValue) => {
  const { fallback } = row;
  return typeof fallback === 'function' ? fallback : () => fallback;
};

function ranged(what: string, min: number, max: number, show: (value: number) => string) {
  return z
    .number({ error: (issue) => `${JSON.stringify(issue.input)} is not ${what}` })
    .int({ error: (issue) => `${String(issue.input)} is not a whole number` })
    .min(min, { error: (issue) => `${show(issue.input as number)} is below the minimum ${show(min)}` })
    .max(max, { error: (issue) => `${show(issue.input as number)} is above the maximum ${show(max)}` });
}

function integer(row: Row, min: number, max: number): Setting {
  const schema = ranged('a number', min, max, String);
  const numeric = /^[+-]?[0-9]+(\.[0-9]+)?$/;
  return {
    ...row,
    fallback: fallbackOf(row),
    check: (value) => schema.parse(value),
    parse: (text) => schema.parse(numeric.test(text) ? Number(text) : text),
    show: String,
    toggle: false,
  };
}

function measured(
  row: Row,
  what: string,
  parse: (text: string) => number,
  show: (value: number) => string,
  min: number,
  max: number,
): Setting {
  const schema = ranged(what, min, max, show);
  const check = (value: unknown): number => schema.parse(typeof value === 'string' ? parse(value) : value);
  return {
    ...row,
    fallback: fallbackOf(row),
    check,
    parse: check,
    show: (value) => show(value as number),
    toggle: false,
  };
}
const size = (row: Row, min: number, max: number): Setting =>
  measured(row, 'a size such as 64MiB', parseSizeBytes, formatSizeBytes, min, max);
const duration = (row: Row, minMs: number, maxMs: number): Setting =>
  measured(row, 'a duration such as 10s', parseDurationMs, formatDurationMs, minMs, maxMs);

function text(row: Row): Setting {
  const schema = z
    .string({ error: (issue) => `${JSON.stringify(issue.input)} is not a text` })
    .min(1, { error: 'must not be empty' });
  const check = (value: unknown): string => schema.parse(value);
  return { ...row, fallback: fallbackOf(row), check, parse: check, show: String, toggle: false };
}

/** A text that may be empty and must otherwise look like `pattern`. */
function pattern(row: Row, shape: RegExp, what: string): Setting {
  const schema = z
    .string({ error: (issue) => `${JSON.stringify(issue.input)} is not a text` })
    .refine((value) => value === '' || shape.test(value), {
      error: (issue) => `${JSON.stringify(issue.input)} is not ${what}`,
    });
  const check = (value: unknown): string => schema.parse(value);
  return { ...row, fallback: fallbackOf(row), check, parse: check, show: String, toggle: false };
}

function choice(row: Row, choices: readonly [string, ...string[]]): Setting {
  const schema = z.enum(choices, {
    error: (issue) => `${JSON.stringify(issue.input)} is not one of ${choices.join(', ')}`,
  });
  const check = (value: unknown): string => schema.parse(value);
  const help = `${row.help}: ${choices.join(', ')}`;
  return { ...row, help, fallback: fallbackOf(row), check, parse: check, show: String, toggle: false };
}

function toggle(row: Row): Setting {
  const schema = z.boolean({ error: (issue) => `${JSON.stringify(issue.input)} is not true or false` });
  return {
    ...row,
    fallback: fallbackOf(row),
    check: (value) => schema.parse(value),
    parse: (given) => schema.parse(given === 'true' ? true : given === 'false' ? false : given),
    show: String,
    toggle: true,
  };
}

const DAY_MS = 86_400_000;
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
const SEEDS = /^[^\s,]+:\d{1,5}(,[^\s,]+:\d{1,5})*$/;
/** The peer port where nobody says: the port and 1000, or a free one where the port is one. */
export const PEER_PORT_BY_PORT = -1;
const coresWithin = (most: number) => (): number => Math.min(most, availableParallelism());

export const settings: readonly Setting[] = [
  text({ name: 'host', field: 'host', fallback: '127.0.0.1', help: 'address to listen on' }),
  integer(
    { name: 'port', field: 'port', fallback: 8080, help: 'port to listen on; 0 takes a free one' },
    0,
    65_535,
  ),
  text({ name: 'data', field: 'data', fallback: './data', help: 'data directory' }),
  toggle({
    name: 'in-memory',
    field: 'inMemory',
    fallback: false,
    help: 'keep nothing on disk: all is lost at the end',
  }),
  integer(
    {
      name: 'shards',
      field: 'shards',
      fallback: coresWithin(limits.shardsMax),
      help: 'shard threads; may change between starts',
    },
    1,
    limits.shardsMax,
  ),
  integer(
    { name: 'frontends', field: 'frontends', fallback: 1, help: 'HTTP threads' },
    1,
    limits.frontendsMax,
  ),
  choice(
    {
      name: 'durability',
      field: 'durability',
      fallback: 'always',
      help: 'what an acknowledged write has survived',
    },
    ['always', 'interval', 'os'],
  ),
  duration(
    {
      name: 'sync-interval',
      field: 'syncIntervalMs',
      fallback: 1000,
      help: 'between syncs at durability interval',
    },
    1,
    DAY_MS,
  ),
  size(
    {
      name: 'memtable-bytes',
      field: 'memtableBytes',
      fallback: limits.memtableBytesDefault,
      help: 'size of a memtable',
    },
    limits.memtableBytesMin,
    limits.memtableBytesMax,
  ),
  size(
    {
      name: 'block-cache-bytes',
      field: 'blockCacheBytes',
      fallback: limits.blockCacheBytesDefault,
      help: 'block cache of the node; half of it is for records in shared memory',
    },
    0,
    1024 * GiB,
  ),
  choice({ name: 'compression', field: 'compression', fallback: 'snappy', help: 'of blocks in SSTables' }, [
    'none',
    'snappy',
  ]),
  size(
    {
      name: 'block-bytes',
      field: 'blockBytes',
      fallback: limits.blockBytesDefault,
      help: 'block of an SSTable',
    },
    KiB,
    MiB,
  ),
  integer(
    {
      name: 'compaction-dial',
      field: 'compactionDial',
      fallback: 2,
      help: 'from -10 (reads cost less) to 10 (writes cost less)',
    },
    -10,
    10,
  ),
  size(
    {
      name: 'compaction-bytes-per-second',
      field: 'compactionBytesPerSecond',
      fallback: 0,
      help: 'most that compaction of the node writes; 0 is unlimited',
    },
    0,
    1024 * GiB,
  ),
  size(
    {
      name: 'max-value-bytes',
      field: 'maxValueBytes',
      fallback: limits.valueBytesMax,
      help: 'longest value',
    },
    1,
    limits.valueBytesCeiling,
  ),
  size(
    { name: 'max-key-bytes', field: 'maxKeyBytes', fallback: limits.keyBytesMax, help: 'longest key' },
    1,
    limits.keyBytesCeiling,
  ),
  integer(
    {
      name: 'vnodes',
      field: 'vnodes',
      fallback: limits.vnodesDefault,
      help: 'segments of the ring, a power of two; fixed when the data directory is made',
    },
    1,
    limits.vnodesMax,
  ),
  pattern(
    {
      name: 'cluster-name',
      field: 'clusterName',
      fallback: 'ringkv',
      help: 'nodes of another name are refused',
    },
    NAME,
    'a name of 1 to 64 letters, digits, dots, dashes and underscores',
  ),
  pattern(
    {
      name: 'node-id',
      field: 'nodeId',
      fallback: '',
      help: '32 hexadecimal digits; made and kept in the data directory where it is not given',
    },
    /^[0-9a-f]{32}$/,
    '32 hexadecimal digits',
  ),
  pattern(
    {
      name: 'peer-host',
      field: 'peerHost',
      fallback: '',
      help: 'address for other nodes; that of host by default',
    },
    /^[^\s,]+$/,
    'an address',
  ),
  integer(
    {
      name: 'peer-port',
      field: 'peerPort',
      fallback: PEER_PORT_BY_PORT,
      help: 'port for other nodes; port + 1000 by default, 0 takes a free one',
    },
    PEER_PORT_BY_PORT,
    65_535,
  ),
  pattern(
    {
      name: 'seeds',
      field: 'seeds',
      fallback: '',
      help: 'peer listeners of a cluster to join, host:port separated by commas',
    },
    SEEDS,
    'host:port, separated by commas',
  ),
  pattern(
    {
      name: 'replace',
      field: 'replace',
      fallback: '',
      help: 'id of a lost node whose place this new one takes as it joins',
    },
    /^[0-9a-f]{8}([0-9a-f]{24})?$/,
    'a node id, or its first 8 digits',
  ),
  integer(
    {
      name: 'replicas',
      field: 'replicas',
      fallback: 3,
      help: 'copies of each key, as far as there are nodes; of the first node of a cluster',
    },
    1,
    limits.replicasMax,
  ),
  pattern(
    {
      name: 'rack',
      field: 'rack',
      fallback: 'default',
      help: 'where the node stands, as RACK or ZONE/RACK: replicas go to different ones',
    },
    RACK,
    RACK_TEXT,
  ),
  duration(
    {
      name: 'repair-interval',
      field: 'repairIntervalMs',
      fallback: DAY_MS,
      help: 'how often each vnode is compared on all its replicas; 0 never',
    },
    0,
    10 * 365 * DAY_MS,
  ),
  pattern(
    {
      name: 'peer-tls-cert',
      field: 'peerTlsCert',
      fallback: '',
      help: 'certificate for other nodes, a PEM file',
    },
    /./,
    'a path',
  ),
  pattern(
    { name: 'peer-tls-key', field: 'peerTlsKey', fallback: '', help: 'its key, a PEM file' },
    /./,
    'a path',
  ),
  pattern(
    { name: 'peer-tls-ca', field: 'peerTlsCa', fallback: '', help: 'the CA of all nodes, a PEM file' },
    /./,
    'a path',
  ),
  duration(
    { name: 'gc-grace', field: 'gcGraceMs', fallback: 10 * DAY_MS, help: 'how long tombstones are kept' },
    0,
    10 * 365 * DAY_MS,
  ),
  choice({ name: 'log-level', field: 'logLevel', fallback: 'info', help: 'least level that is logged' }, [
    ...(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const),
  ]),
  toggle({
    name: 'insecure-bind',
    field: 'insecureBind',
    fallback: false,
    help: 'allow an address that other machines reach, without TLS',
  }),
];

/** Named by the public contract, for TLS of clients, encryption at rest and administration apart; this version has none of them. */
export const settingsNotSupported: ReadonlySet<string> = new Set([
  ...['admin-port', 'tls-cert', 'tls-key', 'tls-ca', 'encryption-key-file'],
]);

export const environmentName = (name: string): string => `RINGKV_${name.toUpperCase().replaceAll('-', '_')}`;
export const fileName = (name: string): string =>
  name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
export const flagName = (name: string): string => `--${name}`;
