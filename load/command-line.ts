/** `npm run load -- ...`: flags, each refused with its value and limit where it is wrong. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { systemSeed } from '../src/base/random.ts';
import { formatDurationMs, formatSizeBytes, parseDurationMs, parseSizeBytes } from '../src/base/units.ts';
import { loadLimits } from './limits.ts';
import { PEERS } from './peers/peer-process.ts';
import type { RunOptions } from './run-options.ts';
import { type Rate, type Scenario, scenarios } from './scenarios.ts';
import type { TransportName } from './transports/transport.ts';

const TRANSPORTS: readonly TransportName[] = ['ws', 'http-raw', 'http-json', 'embedded'];
const CONSISTENCIES = ['ONE', 'QUORUM', 'ALL', 'SERIAL'] as const;
/** Requests on their way at a time: connections of HTTP, requests on connections of WebSocket, calls of the embedded store. */
const IN_FLIGHT_DEFAULT: Readonly<Record<TransportName, number>> = {
  ws: 512,
  'http-raw': 128,
  'http-json': 128,
  redis: 128,
  etcd: 128,
  embedded: 1024,
};

export interface Invocation {
  readonly runs: readonly RunOptions[];
  /** Where report.json and report.html go. */
  readonly out: string;
  readonly quiet: boolean;
  /** Compare the runs: RingKV first, then other stores. */
  readonly peers: boolean;
}

interface Flags {
  readonly slo?: true;
  readonly scenario: string[];
  readonly all?: true;
  readonly peers?: true;
  readonly transport: TransportName;
  readonly url: string[];
  readonly filled?: true;
  readonly nodes?: number;
  readonly idle?: number;
  readonly settings: Record<string, string>;
  readonly directory: string;
  readonly rate?: Rate;
  readonly duration?: number;
  readonly warmUp?: number;
  readonly keys?: number;
  readonly valueBytes?: { min: number; max: number };
  readonly consistency?: string;
  readonly connections?: number;
  readonly generators: number;
  readonly arrivals: 'constant' | 'poisson';
  readonly giveUp: number;
  readonly p99?: number;
  readonly seed?: number;
  readonly out: string;
  readonly quiet?: true;
  readonly list?: true;
}

function integer(what: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`${JSON.stringify(text)} is not ${what} from ${min} to ${max}`);
    return value;
  };
}
/** Words of an error of src/base/units.ts, as commander shows it. */
function unit<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  };
}
function duration(minMs: number, maxMs: number): (text: string) => number {
  return unit((text) => {
    const ms = parseDurationMs(text);
    if (ms < minMs || ms > maxMs)
      throw new InvalidArgumentError(
        `${text} lies outside of ${formatDurationMs(minMs)} to ${formatDurationMs(maxMs)}`,
      );
    return ms;
  });
}
const sizes = unit((text: string): { min: number; max: number } => {
  const [min = 0, max = min] = text.split('-').map(parseSizeBytes);
  const { valueBytesMin, valueBytesMax } = loadLimits;
  if (min < valueBytesMin || max > valueBytesMax || min > max || text.split('-').length > 2)
    throw new InvalidArgumentError(
      `${text} is no size or range of sizes from ${formatSizeBytes(valueBytesMin)} to ${formatSizeBytes(valueBytesMax)}`,
    );
  return { min, max };
});
function rate(text: string): Rate {
  const share = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  if (share !== undefined) {
    if (!(Number(share) > 0 && Number(share) <= 1000))
      throw new InvalidArgumentError(`${text} is not above 0% and at most 1000%`);
    return { share: Number(share) / 100 };
  }
  return { perSecond: integer('requests a second, nor a share such as 70%,', 1, loadLimits.rateMax)(text) };
}
function url(text: string, before: string[]): string[] {
  const all = text.split(',').map((one) => {
    const parsed = URL.canParse(one) ? new URL(one) : null;
    if (parsed === null || parsed.protocol !== 'http:' || parsed.pathname !== '/' || parsed.search !== '')
      throw new InvalidArgumentError(`${JSON.stringify(one)} is no URL such as http://127.0.0.1:8080`);
    return parsed.origin;
  });
  return [...before, ...all];
}
function names(text: string, before: string[]): string[] {
  for (const name of text.split(','))
    if (!scenarios.some((one) => one.name === name))
      throw new InvalidArgumentError(
        `${JSON.stringify(name)} is none of ${scenarios.map((one) => one.name).join(', ')}`,
      );
  return [...before, ...text.split(',')];
}
function setting(text: string, before: Record<string, string>): Record<string, string> {
  const [, name, value] = /^([a-z][a-z-]*)=(.+)$/.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new InvalidArgumentError(`${JSON.stringify(text)} is not NAME=VALUE, such as shards=2`);
  return { ...before, [name]: value };
}

const MINUTE_MS = 60_000;

function program(): Command {
  const { durationMsMin, durationMsMax, generatorsMax, idleMax, inFlightMax, keysMax, nodesMax } = loadLimits;
  return new Command('npm run load --')
    .description(
      'Loads RingKV as clients would: requests are due at a rate whatever the answers do, and a late one counts from when it was due.\n' +
        'Starts nodes itself, or loads those of --url. Ends with 0 where all is within the SLO, with 1 where it is not.',
    )
    .option('--slo', 'the headline: scenario slo for 5 minutes (where no scenario is named)')
    .option('--scenario <names>', 'one or more, separated by commas; see --list', names, [])
    .option('--all', 'all scenarios but soak that the transport and the target can run, one after another')
    .option(
      '--peers',
      'scenario slo beside Redis (AOF always, everysec) and etcd: a closed loop, then 70% of it (--rate, --keys 10000)',
    )
    .option('--list', 'list the scenarios')
    .addOption(new Option('--transport <name>', 'how requests go').choices(TRANSPORTS).default('http-raw'))
    .option('--url <urls>', 'nodes that run already, instead of starting some', url, [])
    .option(
      '--filled',
      'the nodes of --url hold the records of an earlier run with the same --seed and sizes',
    )
    .option('--nodes <n>', 'nodes to start', integer('a number of nodes', 1, nodesMax))
    .option(
      '--idle <n>',
      'idle connections that are held beside the load',
      integer('a number of connections', 0, idleMax),
    )
    .option('--set <name=value>', 'a setting of the nodes that are started, again for each', setting, {})
    .option('--directory <dir>', 'where data directories are made (and removed)', '')
    .option('--rate <n>', 'requests a second, or a share of what a closed loop reaches, such as 70%', rate)
    .option('--duration <time>', 'time that counts', duration(durationMsMin, durationMsMax))
    .option('--warm-up <time>', 'time before, that does not', duration(0, 60 * MINUTE_MS))
    .option('--keys <n>', 'records', integer('a number of keys', 1, keysMax))
    .option('--value-bytes <size>', 'size of values, or a range: 2KiB, 16KiB-1MiB', sizes)
    .addOption(
      new Option('--consistency <level>', 'of each request, without stand-ins').choices([...CONSISTENCIES]),
    )
    .option(
      '--connections <n>',
      'requests on their way at a time (with HTTP each has a connection)',
      integer('a number of requests', 1, inFlightMax),
    )
    .option('--generators <n>', 'generator threads', integer('a number of threads', 1, generatorsMax), 1)
    .addOption(
      new Option('--arrivals <kind>', 'evenly spaced, or as of independent clients')
        .choices(['constant', 'poisson'])
        .default('constant'),
    )
    .option(
      '--give-up <time>',
      'a request that waits so long to be sent is not; it counts with that time',
      duration(1, loadLimits.giveUpMsMax),
      loadLimits.giveUpMsDefault,
    )
    .option('--p99 <time>', 'limit of the 99th percentile', duration(1, MINUTE_MS))
    .option('--seed <n>', 'of keys and values', integer('a seed', 0, 2 ** 31 - 1))
    .option('--out <dir>', 'where report.html and report.json go', 'load-report')
    .option('--quiet', 'no progress')
    .allowExcessArguments(false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: false });
}

/** Throws CommanderError: with exitCode 0 after help. `null`: the list of scenarios was asked for. */
export function readCommandLine(argv: readonly string[]): Invocation | null {
  const command = program();
  command.parse(argv, { from: 'user' });
  const raw = command.opts<Flags & { set: Record<string, string> }>();
  const flags: Flags = { ...raw, settings: raw.set };
  if (flags.list === true) return null;
  const chosen = chosenOf(flags);
  const refuse = (message: string): never => command.error(`error: ${message}`);
  const { transport, generators } = flags;
  const inFlight = flags.connections ?? IN_FLIGHT_DEFAULT[transport];
  if (generators > inFlight)
    refuse(`--generators ${generators} with --connections ${inFlight}: each thread needs one at least`);
  if (transport === 'embedded') {
    if (generators > 1)
      refuse(`--generators ${generators}: an embedded store is in one thread; the limit is 1`);
    if (flags.url.length > 0) refuse('--url with --transport embedded: an embedded store has no URL');
    if ((flags.nodes ?? 1) > 1) refuse(`--nodes ${flags.nodes} with --transport embedded: it is one store`);
    if (flags.consistency !== undefined)
      refuse('--consistency with --transport embedded: it has no replicas');
  }
  if (flags.url.length > 0 && Object.keys(flags.settings).length > 0)
    refuse('--set with --url: nodes that run already have their settings');
  if (flags.filled === true && flags.url.length === 0) refuse('--filled without --url: new nodes are empty');
  const seed = flags.seed ?? systemSeed() >>> 1;
  const runs = chosen.map((scenario): RunOptions => {
    const adapted = adapt(scenario, flags);
    if (adapted.idle > 0 && transport === 'embedded')
      refuse(`${adapted.idle} idle connections with --transport embedded: it has none`);
    if (adapted.nodes > 1 && transport === 'embedded')
      refuse(`scenario ${scenario.name} needs ${adapted.nodes} nodes; --transport embedded is one store`);
    if (transport === 'ws' && (adapted.mix.scan ?? 0) > 0)
      refuse(`scenario ${scenario.name} scans; --transport ws has no scans, use http-json or embedded`);
    if (adapted.killAt !== null && flags.url.length > 0)
      refuse(`scenario ${scenario.name} kills a node: only of those that it starts, without --url`);
    if (adapted.killAt !== null && adapted.nodes < 3)
      refuse(
        `scenario ${scenario.name} kills a node: --nodes ${adapted.nodes} leaves no majority; at least 3`,
      );
    return {
      scenario: adapted,
      transport,
      arrivals: flags.arrivals,
      inFlight: flags.connections ?? adapted.inFlight ?? inFlight,
      generators,
      giveUpMs: flags.giveUp,
      seed,
      urls: flags.url,
      filled: flags.filled === true,
      peer: null,
      parent: flags.directory,
    };
  });
  const peers = flags.peers === true;
  if (peers && (flags.all === true || flags.scenario.some((name) => name !== 'slo')))
    refuse('--peers with --all or another --scenario than slo: what all stores can do is slo');
  if (peers && (flags.idle ?? 0) > 0)
    refuse('--peers with --idle: other stores have connections of their own');
  if (peers && flags.url.length > 0) refuse('--peers with --url: it starts all stores by itself');
  return {
    runs: peers ? besidePeers(runs, flags) : runs,
    out: flags.out,
    quiet: flags.quiet === true,
    peers,
  };
}

const PEERS_KEYS = 10_000;
const PEERS_SECONDS = 20;
const PEERS_WARM_UP_SECONDS = 3;
/** The same for each store, one after another. */
function besidePeers(runs: readonly RunOptions[], flags: Flags): RunOptions[] {
  const [own] = runs;
  if (own === undefined) return [];
  const scenario: Scenario = {
    ...own.scenario,
    rate: flags.rate ?? { share: 0.7 },
    records: flags.keys ?? PEERS_KEYS,
    seconds: flags.duration === undefined ? PEERS_SECONDS : own.scenario.seconds,
    warmUpSeconds: flags.warmUp === undefined ? PEERS_WARM_UP_SECONDS : own.scenario.warmUpSeconds,
  };
  const named = (name: string): Scenario => ({ ...scenario, name });
  return [
    { ...own, scenario: named(`ringkv-${own.transport}`) },
    ...PEERS.map((peer): RunOptions => {
      const transport = peer === 'etcd' ? 'etcd' : 'redis';
      const inFlight = flags.connections ?? IN_FLIGHT_DEFAULT[transport];
      return { ...own, scenario: { ...named(peer), settings: {}, query: '' }, transport, inFlight, peer };
    }),
  ];
}

function chosenOf({ all, scenario, transport, url }: Flags): readonly Scenario[] {
  if (all === true)
    return scenarios.filter(
      ({ name, mix, nodes, idle }) =>
        name !== 'soak' &&
        (transport !== 'embedded' || idle === 0) &&
        (transport !== 'ws' || (mix.scan ?? 0) === 0) &&
        (transport !== 'embedded' || nodes === 1) &&
        (url.length === 0 || nodes === 1),
    );
  const wanted = scenario.length === 0 ? ['slo'] : scenario;
  return wanted.map((name) => scenarios.find((one) => one.name === name) as Scenario);
}

const MS_PER_S = 1000;
function adapt(scenario: Scenario, flags: Flags): Scenario {
  const { rate: asked, duration: ms, warmUp, keys, valueBytes, consistency, nodes, p99, settings } = flags;
  return {
    ...scenario,
    rate: asked ?? scenario.rate,
    seconds: ms === undefined ? scenario.seconds : ms / MS_PER_S,
    warmUpSeconds: warmUp === undefined ? scenario.warmUpSeconds : warmUp / MS_PER_S,
    records: keys ?? scenario.records,
    valueBytes: valueBytes ?? scenario.valueBytes,
    nodes: nodes ?? scenario.nodes,
    idle: flags.idle ?? scenario.idle,
    query: consistency === undefined ? scenario.query : `consistency=${consistency}&sloppy=false`,
    settings: { ...scenario.settings, ...settings },
    slo: { ...scenario.slo, p99Ms: p99 ?? scenario.slo.p99Ms },
  };
}
