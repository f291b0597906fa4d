/** A world and a server that plays tricks, new for each test of a file that calls `withServer`. */
import { afterEach, beforeEach } from 'vitest';
import { FakeServer } from '../client/fake-server.ts';
import { World } from './harness.ts';

export let world: World;
export let server: FakeServer;

export function withServer(): void {
  beforeEach(async () => {
    world = new World();
    server = await FakeServer.start();
  });
  afterEach(async () => {
    world.remove();
    await server.stop();
  });
}

/** What the server answers to its next requests, 200 and as JSON. */
export function answers(...bodies: readonly object[]): void {
  for (const body of bodies)
    server.tricks.push({
      kind: 'answer',
      status: 200,
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    });
}
