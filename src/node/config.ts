/**
 * Makes the effective configuration: defaults, then the file, then RINGKV_* of the environment, then flags;
 * the later wins. What is unknown, ill-typed or out of range is refused with its name and where it stood.
 */
import { ZodError } from 'zod';
import { ConfigurationError } from '../base/errors.ts';
import { KiB } from '../base/limits.ts';
import { formatSizeBytes } from '../base/units.ts';
import type { NodeConfig } from './contract.ts';
import {
  environmentName,
  fileName,
  flagName,
  PEER_PORT_BY_PORT,
  type Setting,
  type SettingValue,
  settings,
  settingsNotSupported,
} from './settings.ts';

export interface ConfigSources {
  /** Flags by setting name, as typed: `{ 'sync-interval': '10s', 'insecure-bind': 'true' }`. */
  readonly flags: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The parsed file, and its path for messages; null where there is none. */
  readonly file: { readonly path: string; readonly content: unknown } | null;
}

export interface EffectiveSetting {
  readonly name: string;
  readonly value: SettingValue;
  /** As a person writes it: 64MiB, 10d. */
  readonly shown: string;
  readonly source: string;
}

export interface EffectiveConfig {
  readonly config: NodeConfig;
  readonly settings: readonly EffectiveSetting[];
}

/** Variables of the environment that are not settings of a node: the command line reads them. */
const environmentOfCommands: ReadonlySet<string> = new Set(['RINGKV_CONFIG', 'RINGKV_URL']);
/** A memtable holds at least one longest record beside the headers of its commit log. */
const MEMTABLE_OVERHEAD_BYTES = 16 * KiB;

interface Given {
  readonly source: string;
  readonly read: (setting: Setting) => SettingValue;
}

function unknown(name: string, source: string): never {
  if (settingsNotSupported.has(name))
    throw new ConfigurationError(`${name} (${source}): not supported by this version of RingKV`);
  throw new ConfigurationError(
    `${source}: there is no setting ${JSON.stringify(name)}; \`ringkv config\` lists them`,
  );
}

function fromFlags(flags: ConfigSources['flags'], given: Map<string, Given>): void {
  for (const [name, text] of Object.entries(flags)) {
    const source = `flag ${flagName(name)}`;
    if (!settings.some((setting) => setting.name === name)) unknown(name, source);
    given.set(name, { source, read: (setting) => setting.parse(text) });
  }
}

function fromEnvironment(environment: ConfigSources['environment'], given: Map<string, Given>): void {
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('RINGKV_') || environmentOfCommands.has(variable) || text === undefined)
      continue;
    const name = variable.slice('RINGKV_'.length).toLowerCase().replaceAll('_', '-');
    const source = `environment ${variable}`;
    if (environmentName(name) !== variable || !settings.some((setting) => setting.name === name))
      unknown(name, source);
    given.set(name, { source, read: (setting) => setting.parse(text) });
  }
}

function fromFields(content: unknown, where: string, given: Map<string, Given>): void {
  if (typeof content !== 'object' || content === null || Array.isArray(content))
    throw new ConfigurationError(`${where}: must be a JSON object of settings`);
  for (const [field, value] of Object.entries(content)) {
    const name = field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    if (fileName(name) !== field || !settings.some((setting) => setting.name === name)) {
      if (settingsNotSupported.has(name)) unknown(name, where);
      unknown(field, where);
    }
    given.set(name, { source: where, read: (setting) => setting.check(value) });
  }
}

function settingValue(setting: Setting, given: Given | undefined): SettingValue {
  if (given === undefined) return setting.fallback();
  try {
    return given.read(setting);
  } catch (error) {
    const what = error instanceof ZodError ? error.issues[0]?.message : undefined;
    const message = what ?? (error instanceof Error ? error.message : String(error));
    throw new ConfigurationError(`${setting.name} (${given.source}): ${message}`, { cause: error });
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** What holds between settings. `sourceOf` names where a setting stood. */
function checkRelations(config: NodeConfig, sourceOf: (name: string) => string): void {
  const fail = (name: string, what: string): never => {
    throw new ConfigurationError(`${name} (${sourceOf(name)}): ${what}`);
  };
  if (!Number.isInteger(Math.log2(config.vnodes))) fail('vnodes', `${config.vnodes} is not a power of two`);
  if (config.shards > config.vnodes)
    fail('shards', `${config.shards} is more than the ${config.vnodes} vnodes there are`);
  const least = config.maxValueBytes + config.maxKeyBytes + MEMTABLE_OVERHEAD_BYTES;
  if (config.memtableBytes < least)
    fail(
      'memtable-bytes',
      `${formatSizeBytes(config.memtableBytes)} is below ${formatSizeBytes(least)}, which max-value-bytes ` +
        `${formatSizeBytes(config.maxValueBytes)} and max-key-bytes ${formatSizeBytes(config.maxKeyBytes)} need`,
    );
  if (config.peerPort > PORT_MAX)
    fail('peer-port', `${config.peerPort}, which is port + 1000, is above ${PORT_MAX}; name another`);
  if (config.peerPort !== 0 && config.peerPort === config.port && config.peerHost === config.host)
    fail('peer-port', `${config.peerPort} is the port for clients too; name another`);
  if (config.replace !== '' && config.seeds === '')
    fail('replace', `${config.replace} is to be replaced, and there are no seeds to find its cluster by`);
  if (config.clusterName === '') fail('cluster-name', 'must not be empty');
  if (config.rack === '') fail('rack', 'must not be empty');
  if (config.inMemory && config.nodeId === '' && config.seeds !== '')
    fail(
      'seeds',
      'a node with in-memory that joins a cluster is another node after each start; give it a node-id',
    );
  if (/^0{8}/.test(config.nodeId)) fail('node-id', `${config.nodeId} begins with eight zeros`);
  const tls = [config.peerTlsCert, config.peerTlsKey, config.peerTlsCa].filter((path) => path !== '');
  if (tls.length > 0 && tls.length < 3)
    fail('peer-tls-cert', 'peer-tls-cert, peer-tls-key and peer-tls-ca go together');
  if (!isLoopback(config.host) && !config.insecureBind)
    fail(
      'host',
      `${JSON.stringify(config.host)} is reachable from other machines, and this version has no TLS; ` +
        'add --insecure-bind to listen there all the same',
    );
  if (!isLoopback(config.peerHost) && tls.length === 0 && !config.insecureBind)
    fail(
      'peer-host',
      `${JSON.stringify(config.peerHost)} is reachable from other machines; give peer-tls-cert, peer-tls-key and ` +
        'peer-tls-ca, or add --insecure-bind to listen there without TLS',
    );
}

const PORT_MAX = 65_535;
const PEER_PORT_OFFSET = 1000;

function peerPortOf(port: number, peerPort: number): number {
  if (peerPort !== PEER_PORT_BY_PORT) return peerPort;
  return port === 0 ? 0 : port + PEER_PORT_OFFSET;
}

function effective(given: ReadonlyMap<string, Given>): EffectiveConfig {
  const rows = settings.map((setting) => {
    const value = settingValue(setting, given.get(setting.name));
    const source = given.get(setting.name)?.source ?? 'default';
    return { setting, row: { name: setting.name, value, shown: setting.show(value), source } };
  });
  const value = <F extends keyof NodeConfig>(field: F): NodeConfig[F] =>
    rows.find(({ setting }) => setting.field === field)?.row.value as NodeConfig[F];
  const config: NodeConfig = {
    host: value('host'),
    port: value('port'),
    data: value('data'),
    inMemory: value('inMemory'),
    // Where nobody says, no more shards than a small ring has vnodes.
    shards: given.has('shards') ? value('shards') : Math.min(value('shards'), value('vnodes')),
    frontends: value('frontends'),
    durability: value('durability'),
    syncIntervalMs: value('syncIntervalMs'),
    memtableBytes: value('memtableBytes'),
    blockCacheBytes: value('blockCacheBytes'),
    compression: value('compression'),
    compactionDial: value('compactionDial'),
    compactionBytesPerSecond: value('compactionBytesPerSecond'),
    blockBytes: value('blockBytes'),
    maxValueBytes: value('maxValueBytes'),
    maxKeyBytes: value('maxKeyBytes'),
    vnodes: value('vnodes'),
    clusterName: value('clusterName'),
    nodeId: value('nodeId'),
    peerHost: value('peerHost') === '' ? value('host') : value('peerHost'),
    peerPort: peerPortOf(value('port'), value('peerPort')),
    seeds: value('seeds'),
    replace: value('replace'),
    replicas: value('replicas'),
    rack: value('rack'),
    repairIntervalMs: value('repairIntervalMs'),
    peerTlsCert: value('peerTlsCert'),
    peerTlsKey: value('peerTlsKey'),
    peerTlsCa: value('peerTlsCa'),
    gcGraceMs: value('gcGraceMs'),
    logLevel: value('logLevel'),
    insecureBind: value('insecureBind'),
  };
  checkRelations(config, (name) => given.get(name)?.source ?? 'default');
  const shown = rows.map(({ setting, row }) => {
    const used = config[setting.field];
    return { ...row, value: used, shown: setting.show(used) };
  });
  return { config, settings: shown };
}

/** Throws ConfigurationError. */
export function resolveConfig(sources: ConfigSources): EffectiveConfig {
  const given = new Map<string, Given>();
  if (sources.file !== null) fromFields(sources.file.content, `file ${sources.file.path}`, given);
  fromEnvironment(sources.environment, given);
  fromFlags(sources.flags, given);
  return effective(given);
}

/**
 * The same from options of a program: values by setting name in camel case, sizes and durations as numbers
 * (bytes, ms) or texts. Neither file nor environment is read. Throws ConfigurationError.
 */
export function configOfOptions(options: Readonly<Record<string, unknown>>): NodeConfig {
  const given = new Map<string, Given>();
  const present = Object.entries(options).filter(([, value]) => value !== undefined);
  fromFields(Object.fromEntries(present), 'option', given);
  return effective(given).config;
}
