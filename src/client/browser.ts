/** The client in a browser, of the same name as index.ts on Node: nothing that it loads is of Node. */
import type { Client } from './client.ts';
import { connectOn } from './connect.ts';
import { browserPlatform } from './platform-browser.ts';
import type { ConnectOptions } from './types.ts';

export * from './public.ts';

/** As connect() on Node, but for `tls` and `connections`, which are the browser's business. */
export const connect = async (options: ConnectOptions): Promise<Client> =>
  await Promise.resolve(connectOn(browserPlatform, options));
