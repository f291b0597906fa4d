/** Nodes by their URLs. */

export interface HttpNode {
  readonly host: string;
  readonly port: number;
}

/** Throws for what is not http://. */
export const nodesOf = (urls: readonly string[]): HttpNode[] =>
  urls.map((text) => {
    const { protocol, hostname, port } = new URL(text);
    if (protocol !== 'http:') throw new Error(`${text}: http:// is what the transports speak`);
    return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? 80 : Number(port) };
  });
