import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { probePort } from '../../src/front/front.ts';
import { setHeadLimit } from '../../src/front/http-head-limit.ts';
import { send } from '../front/harness.ts';

it('front ends in two threads share a port, take the longest key, and end without taking the process along', async () => {
  setHeadLimit(1024);
  const port = await probePort('127.0.0.1', 0);
  const threads = [0, 1].map(() => new Worker(resolve(import.meta.dirname, 'front-thread.mjs')));
  for (const thread of threads) {
    const up = new Promise((done) => thread.once('message', done));
    thread.postMessage(port);
    await up;
  }
  for (let i = 0; i < 20; i++)
    expect((await send(port, 'GET', `/v1/kv/${'%01'.repeat(1024)}`, {}, '')).status).toBe(404);
  for (const thread of threads) {
    const ended = new Promise((done) => thread.once('exit', done));
    thread.postMessage('close');
    expect(await ended).toBe(0);
  }
  await expect(send(port, 'GET', '/healthz', {}, '')).rejects.toThrow(/ECONNREFUSED/);
});
