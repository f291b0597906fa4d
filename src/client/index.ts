/** The client on Node: `import { connect } from 'ringkv/client'`. In a browser the same name is browser.ts. */
import type { Client } from './client.ts';
import { connectOn } from './connect.ts';
import { nodePlatform } from './platform-node.ts';
import type { ConnectOptions } from './types.ts';

export * from './public.ts';

/**
 * A client of one node or several. Nothing is sent before the first call, so that a node that is down shows there.
 * Rejects with BadRequestError where an option is wrong.
 */
export const connect = async (options: ConnectOptions): Promise<Client> =>
  await Promise.resolve(connectOn(nodePlatform, options));
