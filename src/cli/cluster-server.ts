/** What commands about a cluster share: they ask one server, by --url, RINGKV_URL or the default address. */
import { type Command, Option } from 'commander';
import { limits } from '../base/limits.ts';
import type { Client } from '../client/index.ts';
import type { Context } from './context.ts';
import { duration, jsonFlag } from './flags.ts';
import { DEFAULT_URL } from './open-target.ts';

export interface ServerFlags {
  readonly url?: string;
  readonly timeout?: number;
  readonly json?: true;
}

export function withServer(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', `server to ask (default: RINGKV_URL, or ${DEFAULT_URL})`))
    .addOption(
      new Option('--timeout <duration>', 'longest wait for the server, such as 10s (default: 5s)').argParser(
        duration(1, limits.requestTimeoutMsMax),
      ),
    )
    .addOption(jsonFlag());
}

/** Connects, and closes whatever comes. */
export async function usingServer<T>(
  flags: ServerFlags,
  context: Context,
  use: (client: Client, options: { readonly timeoutMs?: number; readonly signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const url = flags.url ?? context.environment.RINGKV_URL ?? DEFAULT_URL;
  const client = await context.connect({
    nodes: url.split(',').map((one) => one.trim()),
    connections: 1,
    discover: false,
  });
  try {
    const signal = context.interrupted;
    return await use(client, flags.timeout === undefined ? { signal } : { signal, timeoutMs: flags.timeout });
  } finally {
    await client.close();
  }
}
