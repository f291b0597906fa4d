/**
 * Chooses and opens the target of a command: --url or --data where one is given, otherwise RINGKV_URL, otherwise
 * the server at the default address. `import` and `export` fall back to the data directory where that does not
 * answer, and say on standard error which one they took.
 *
 * A data directory that exists is opened with the vnodes and the shards that it has: a command must not move its
 * data to another number of shards.
 */
import { RingKvError } from '../base/errors.ts';
import { ConnectionError } from '../client/errors.ts';
import { resolveConfig } from '../node/config.ts';
import { readConfigFile } from '../node/config-file.ts';
import type { NodeConfig } from '../node/contract.ts';
import type { Context } from './context.ts';
import { isDataDirectory, layoutOf } from './directory-view.ts';
import { ExitCode } from './exit-codes.ts';
import { CommandError, UsageError } from './failure.ts';
import type { Target } from './target.ts';
import { EmbeddedTarget } from './target-embedded.ts';
import { ServerTarget } from './target-server.ts';

export const DEFAULT_URL = 'http://127.0.0.1:8080';
/** How long the default server may take to say that it is there. */
const PROBE_MS = 2000;
const CONNECTIONS_DEFAULT = 4;

export interface TargetFlags {
  readonly url?: string;
  readonly data?: string;
}
export interface TargetNeeds {
  /** Without --url, --data and RINGKV_URL, and without a server that answers: the data directory. */
  readonly fallBack: boolean;
  /** Whether a data directory that is not there is made. */
  readonly create: boolean;
  /** Requests that run at once at a server. */
  readonly connections?: number;
  /** Repeats by the client; 0 where the command repeats itself. */
  readonly retries?: number;
}

export async function openTarget(flags: TargetFlags, needs: TargetNeeds, context: Context): Promise<Target> {
  if (flags.url !== undefined && flags.data !== undefined)
    throw new UsageError('--url and --data exclude each other: one names a server, the other a directory');
  if (flags.data !== undefined) return await openDirectory(flags.data, needs, context);
  const url = flags.url ?? context.environment.RINGKV_URL;
  if (url !== undefined) return await openServer(url, needs, context);
  const server = await openServer(DEFAULT_URL, needs, context);
  if (!needs.fallBack) return server;
  if (await answers(server.client, context)) {
    await context.stderr.line(`using the server at ${DEFAULT_URL} (--url and --data choose)`);
    return server;
  }
  await server.close();
  const data = configuredData(context);
  await context.stderr.line(
    `no server answers at ${DEFAULT_URL}: using the data directory ${data} (--url and --data choose)`,
  );
  return await openDirectory(data, needs, context);
}

/** Opens the target, and closes it whatever comes. */
export async function usingTarget<T>(
  flags: TargetFlags,
  needs: TargetNeeds,
  context: Context,
  use: (target: Target) => Promise<T>,
): Promise<T> {
  const target = await openTarget(flags, needs, context);
  try {
    return await use(target);
  } finally {
    await target.close();
  }
}

class ServerWithClient extends ServerTarget {
  readonly client: Awaited<ReturnType<Context['connect']>>;
  constructor(client: Awaited<ReturnType<Context['connect']>>, url: string) {
    super(client, url);
    this.client = client;
  }
}

async function openServer(urls: string, needs: TargetNeeds, context: Context): Promise<ServerWithClient> {
  const nodes = urls.split(',').map((url) => url.trim());
  const { connections = CONNECTIONS_DEFAULT, retries } = needs;
  const client = await context.connect({
    nodes,
    connections,
    discover: false,
    ...(retries === undefined ? {} : { retries }),
  });
  return new ServerWithClient(client, urls);
}

/** Whether something listens there; whether it can serve now will show. */
async function answers(client: ServerWithClient['client'], context: Context): Promise<boolean> {
  try {
    await client.ready({ timeoutMs: PROBE_MS, signal: context.interrupted });
    return true;
  } catch (error) {
    if (error instanceof ConnectionError) return false;
    if (error instanceof RingKvError) return true;
    throw error;
  }
}

function configOf(flags: Readonly<Record<string, string>>, { environment }: Context): NodeConfig {
  return resolveConfig({ flags, environment, file: readConfigFile(undefined, environment) }).config;
}

/** The data directory that the file or the environment names, otherwise the default. */
export const configuredData = (context: Context): string => configOf({}, context).data;

async function openDirectory(path: string, needs: TargetNeeds, context: Context): Promise<Target> {
  const { fileSystem } = context;
  const there = isDataDirectory(fileSystem, path);
  if (!there && !needs.create)
    throw new CommandError(`${path} is not a data directory of RingKV: there is no node.json`, ExitCode.DATA);
  const { shards, vnodes } = there ? layoutOf(fileSystem, path) : { shards: 0, vnodes: 0 };
  const kept = there ? { shards: String(shards), vnodes: String(vnodes) } : {};
  const config = configOf({ data: path, 'in-memory': 'false', ...kept }, context);
  return new EmbeddedTarget(await context.openStore(config), path, context.clock);
}
