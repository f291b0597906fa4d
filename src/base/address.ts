/** Addresses of peer listeners: host:port, IPv6 hosts in brackets. */
import { ConfigurationError } from './errors.ts';

/** Cuts an address into host and port. Throws ConfigurationError. */
export function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+)):([0-9]{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65_535))
    throw new ConfigurationError(`${JSON.stringify(address.slice(0, 200))} is no address: use host:port`);
  return { host, port };
}
