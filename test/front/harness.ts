/** A front end over the fake shard client, and two ways to talk to it: whole requests, and bytes on a socket. */
import { type OutgoingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { systemClock } from '../../src/base/clock.ts';
import type { Front, FrontOptions } from '../../src/front/contract.ts';
import { startFront } from '../../src/front/front.ts';
import { setHeadLimit } from '../../src/front/http-head-limit.ts';
import { FakeClient } from '../node/fake-client.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bytes: Buffer;
  readonly text: string;
  /** The parsed body; undefined where it is not JSON. */
  readonly json: Json;
}
// biome-ignore lint/suspicious/noExplicitAny: answers of any shape, looked into by the tests
export type Json = any;

export interface Served {
  readonly client: FakeClient;
  readonly front: Front;
  readonly call: (
    method: string,
    path: string,
    headers?: OutgoingHttpHeaders,
    body?: string | Uint8Array,
  ) => Promise<Answer>;
  readonly putJson: (path: string, body: unknown, headers?: OutgoingHttpHeaders) => Promise<Answer>;
  /** Sends each part when the one before has been written, a number waits so many ms; all that came until the end or `until`. */
  readonly talk: (
    parts: readonly (string | Uint8Array | number)[],
    until: (seen: string) => boolean,
  ) => Promise<Talk>;
  readonly close: () => Promise<void>;
}
export interface Talk {
  readonly seen: string;
  readonly ended: boolean;
}

export async function serve(changes: Partial<FrontOptions> = {}, slotsMax = 256): Promise<Served> {
  setHeadLimit(1024);
  const client = new FakeClient(3, slotsMax);
  const front = await startFront({
    client,
    clock: systemClock,
    host: '127.0.0.1',
    port: 0,
    sharedPort: false,
    maxKeyBytes: 1024,
    maxValueBytes: 64 * 1024,
    notReady: () => '',
    ...changes,
  });
  const call: Served['call'] = (method, path, headers = {}, body = '') =>
    send(front.port, method, path, headers, body);
  return {
    client,
    front,
    call,
    putJson: (path, body, headers = {}) =>
      call('PUT', path, { 'content-type': 'application/json', ...headers }, JSON.stringify(body)),
    talk: (parts, until) => talk(front.port, parts, until),
    close: () => front.close(1000),
  };
}

export function send(
  port: number,
  method: string,
  path: string,
  headers: OutgoingHttpHeaders,
  body: string | Uint8Array,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length =
      body.length === 0 || headers['transfer-encoding'] !== undefined
        ? {}
        : { 'content-length': Buffer.byteLength(body) };
    const outgoing = request(
      { port, host: '127.0.0.1', agent: false, method, path, headers: { ...length, ...headers } },
      (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('error', reject);
        res.on('end', () => {
          const bytes = Buffer.concat(chunks);
          const text = bytes.toString();
          resolve({ status: res.statusCode ?? 0, headers: res.headers, bytes, text, json: parsed(text) });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const TALK_MS = 60_000;
function talk(
  port: number,
  parts: readonly (string | Uint8Array | number)[],
  until: (seen: string) => boolean,
): Promise<Talk> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let seen = '';
    const finish = (ended: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ seen, ended });
    };
    const timer = setTimeout(() => finish(false), TALK_MS);
    socket.on('data', (chunk) => {
      seen += chunk.toString('latin1');
      if (until(seen)) finish(false);
    });
    socket.on('error', () => finish(true));
    socket.on('close', () => finish(true));
    void (async () => {
      for (const part of parts)
        if (typeof part === 'number') await new Promise((done) => setTimeout(done, part));
        else if (!socket.destroyed) await new Promise((done) => socket.write(part, done));
    })();
  });
}

/** A figure of front end 0 as /metrics tells it; `labels` are further ones. */
export async function figure(served: Served, name: string, labels = ''): Promise<number> {
  const { text } = await served.call('GET', '/metrics');
  const pattern = new RegExp(`^${name}\\{frontend="0"${labels}\\} (\\S+)$`, 'm');
  return Number(pattern.exec(text)?.[1] ?? Number.NaN);
}
/** WebSocket connections that were closed for a reason. */
export const closed = (served: Served, reason: string): Promise<number> =>
  figure(served, 'ringkv_ws_connections_closed_total', `,reason="${reason}"`);
