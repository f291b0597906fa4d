/**
 * Ports for nodes that are killed and started again. Not those that the system hands out: while the node is down it may give its port
 * to any connection, even to one that is being made to that very port.
 */
import { createServer } from 'node:net';
import { Random, systemSeed } from '../../src/base/random.ts';

/** Below the ports of outgoing connections, on Linux from 32,768 on, and above most services. */
const PORT_MIN = 20_000;
const PORT_MAX = 32_000;
const TRIES_MAX = 100;
const random = new Random(systemSeed());

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(true)));
  });
}

/** Throws where none of TRIES_MAX ports is free. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const port = random.between(PORT_MIN, PORT_MAX);
    if (await isFree(port)) return port;
  }
  throw new Error(`none of ${TRIES_MAX} ports from ${PORT_MIN} to ${PORT_MAX} is free`);
}
