/** What one node is asked over HTTP and has not answered yet is bounded, whether somebody waits for it or not. */
import { describe, expect, it } from 'vitest';
import { deadlineIn, systemClock } from '../../src/base/clock.ts';
import { limits, MiB } from '../../src/base/limits.ts';
import type { RawAnswer } from '../../src/client/encoding.ts';
import { HttpLink } from '../../src/client/http-link.ts';
import { type KvAnswer, KvOp, type KvRequest } from '../../src/client/kv.ts';
import type { HttpNode, HttpRequest } from '../../src/client/platform.ts';

/** A node that answers when told. */
class HeldNode implements HttpNode {
  readonly held: { readonly request: HttpRequest; readonly answer: (error?: Error) => void }[] = [];
  send(request: HttpRequest, signal: AbortSignal): Promise<RawAnswer> {
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      const answer = (error?: Error): void => {
        if (error !== undefined) reject(error);
        else
          resolve({
            status: 204,
            header: (name) => (name === 'etag' ? '"7"' : undefined),
            body: new Uint8Array(),
          });
      };
      this.held.push({ request, answer });
    });
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

const DEADLINE_MS = 60_000;
function link(): { node: HeldNode; put: (value: Uint8Array, signal?: AbortSignal) => Promise<KvAnswer> } {
  const node = new HeldNode();
  const http = new HttpLink('http://node', node, systemClock, { next: () => 0.5 } as never, setImmediate);
  const put = (value: Uint8Array, signal?: AbortSignal): Promise<KvAnswer> => {
    const request: KvRequest = {
      op: KvOp.PUT,
      key: Buffer.from('k'),
      value,
      consistency: undefined,
      ttl: undefined,
      version: undefined,
      idempotencyKey: undefined,
    };
    const answer = http.send(request, deadlineIn(systemClock, DEADLINE_MS), signal, false);
    // Nobody waits for most of them.
    answer.catch(() => undefined);
    return answer;
  };
  return { node, put };
}
const PATH_BYTES = '/v1/kv/k'.length;
const nothingSent = { code: 'OVERLOADED' };

describe('puts over HTTP that nobody waits for', () => {
  it('are refused beyond a number, and taken again with each answer', async () => {
    const { node, put } = link();
    const empty = new Uint8Array();
    const first = Array.from({ length: limits.clientQueueMax }, () => put(empty));
    await expect(put(empty)).rejects.toMatchObject({
      ...nothingSent,
      message: `${limits.clientQueueMax} requests to http://node have no answer yet; the limit is ${limits.clientQueueMax}; nothing was sent`,
    });
    expect(node.held).toHaveLength(limits.clientQueueMax);
    node.held[5]?.answer();
    expect((await first[5])?.version).toBe(7);
    const next = put(empty);
    await expect(put(empty)).rejects.toMatchObject(nothingSent);
    for (const { answer } of node.held) answer();
    await Promise.all([...first, next]);
  });

  it('are refused beyond so many bytes, and taken again when they are answered, fail or are given up', async () => {
    const { node, put } = link();
    const value = new Uint8Array(8 * MiB - PATH_BYTES);
    const over = new AbortController();
    const all = Array.from({ length: limits.clientQueueBytesMax / (8 * MiB) - 1 }, () => put(value));
    const last = put(value, over.signal);
    await expect(put(new Uint8Array())).rejects.toMatchObject({
      ...nothingSent,
      message: `requests of ${limits.clientQueueBytesMax} bytes to http://node have no answer yet and the next has ${PATH_BYTES}; the limit is ${limits.clientQueueBytesMax}; nothing was sent`,
    });
    over.abort(new Error('given up'));
    await expect(last).rejects.toThrow('given up');
    all.push(put(value));
    await expect(put(value)).rejects.toMatchObject(nothingSent);
    node.held[0]?.answer(new Error('lost'));
    await expect(all[0]).rejects.toThrow('lost');
    all.push(put(value));
    await expect(put(value)).rejects.toMatchObject(nothingSent);
    node.held[1]?.answer();
    await all[1];
    all.push(put(value));
    for (const { answer } of node.held) answer();
    expect((await Promise.allSettled(all)).filter(({ status }) => status === 'rejected')).toHaveLength(1);
  });

  it('are taken one at a time where each is longer than all may be', async () => {
    const { node, put } = link();
    const value = new Uint8Array(limits.clientQueueBytesMax);
    const one = put(value);
    await expect(put(value)).rejects.toMatchObject(nothingSent);
    node.held[0]?.answer();
    await one;
    const two = put(value);
    node.held[1]?.answer();
    expect((await two).version).toBe(7);
  });
});
