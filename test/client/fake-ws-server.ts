/**
 * A node of one Map behind ringkv.v1 and the cluster's documents, on a free port of the loopback. Written from
 * docs/websocket.md, with the codec of the tests and not the client's. `tricks` decide what comes in place of the proper
 * answer to a message.
 */

import uws, { type HttpRequest, type HttpResponse, type WebSocket } from 'uWebSockets.js';
import { freePort } from '../../load/target/free-port.ts';
import { decode, encode, type Item } from '../front/ws-client.ts';

export interface FakeRequest {
  readonly id: number;
  readonly op: number;
  readonly key: string;
  readonly value: Buffer | null;
  readonly version: number | null;
  readonly timeout: number;
  readonly idempotencyKey: string | null;
}
/** What is done with a message: its requests, carried out or not, and whatever is sent. */
export type Trick = (requests: readonly FakeRequest[], fake: FakeWsServer, socket: Socket) => void;
type Socket = WebSocket<unknown>;

export const PUT = 1;
export const GET = 2;
const PING = 4;
const LIMITS = {
  keyBytesMax: 1024,
  valueBytesMax: 1 << 20,
  messageBytesMax: 4 << 20,
  messageRequestsMax: 1024,
  inFlightMax: 1024,
  inFlightBytesMax: 16 << 20,
  pausedBytes: 4 << 20,
  unreadBytesMax: 16 << 20,
  timeoutMsDefault: 5000,
  timeoutMsMax: 30_000,
};

export class FakeWsServer {
  readonly items = new Map<string, { readonly value: Buffer; readonly version: number }>();
  /** Requests of each message, heartbeats left out. */
  readonly messages: FakeRequest[][] = [];
  readonly tricks: Trick[] = [];
  heartbeats = 0;
  connections = 0;
  inFlight = 0;
  inFlightSeenMax = 0;
  version = 100;
  /** Of GET /v1/cluster and /v1/cluster/ring. */
  self = 'fake';
  ring: object = { ring: 1, vnodes: 1, replicas: 1, ranges: [{ first: 0, last: 0, nodes: ['fake'] }] };
  ringsServed = 0;
  /** Of GET /v1/cluster, beside `self`. */
  cluster: object = {};
  clustersServed = 0;
  readonly unknownPaths: string[] = [];
  readonly port: number;
  readonly limits: Readonly<Record<string, number>>;
  readonly sockets = new Set<Socket>();
  #app: ReturnType<typeof uws.App> | null = null;

  private constructor(port: number, limits: Readonly<Record<string, number>>) {
    this.port = port;
    this.limits = { ...LIMITS, ...limits };
  }
  static async start(limits: Readonly<Record<string, number>> = {}): Promise<FakeWsServer> {
    const fake = new FakeWsServer(await freePort(), limits);
    await fake.listen();
    return fake;
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
  get requests(): readonly FakeRequest[] {
    return this.messages.flat();
  }

  /** Also again, after `stop`. */
  async listen(): Promise<void> {
    const app = uws.App();
    this.#app = app;
    app.ws('/v1/ws', {
      maxPayloadLength: 64 << 20,
      idleTimeout: 0,
      sendPingsAutomatically: false,
      open: (socket: Socket) => {
        this.connections++;
        this.sockets.add(socket);
        this.send(socket, { ids: [], limits: this.limits });
      },
      message: (socket: Socket, message: ArrayBuffer) => this.#take(socket, Buffer.from(message.slice(0))),
      close: (socket: Socket) => {
        this.sockets.delete(socket);
      },
    });
    app.get('/v1/cluster', (res: HttpResponse) => {
      this.clustersServed++;
      res.end(JSON.stringify({ self: this.self, ...this.cluster }));
    });
    app.get('/v1/cluster/ring', (res: HttpResponse) => {
      this.ringsServed++;
      res.end(JSON.stringify(this.ring));
    });
    app.any('/*', (res: HttpResponse, req: HttpRequest) => {
      this.unknownPaths.push(req.getUrl());
      res
        .writeStatus('404 Not Found')
        .end(JSON.stringify({ error: { code: 'NOT_FOUND', message: req.getUrl() } }));
    });
    await new Promise<void>((done, failed) => {
      app.listen('127.0.0.1', this.port, (token: unknown) =>
        token ? done() : failed(new Error(`port ${this.port} is taken`)),
      );
    });
  }
  /** Cuts all connections, and listens no more. */
  stop(): void {
    this.#app?.close();
    this.#app = null;
  }
  /** Cuts all connections. */
  cut(): void {
    for (const socket of [...this.sockets]) socket.close();
  }

  send(socket: Socket, columns: Readonly<Record<string, Item>>): void {
    // An answer that comes late may find nobody.
    if (this.sockets.has(socket)) socket.send(encode(columns), true);
  }
  /** Carries one out; its answer's columns. */
  apply({ op, key, value, version }: FakeRequest): Readonly<Record<string, Item>> {
    const item = this.items.get(key);
    if (op === GET)
      return item === undefined
        ? { statuses: 1, versions: null, values: null, messages: null }
        : { statuses: 0, versions: item.version, values: item.value, messages: null };
    if (version !== null && version !== (item?.version ?? 0))
      return { statuses: 2, versions: item?.version ?? 0, values: null, messages: 'another version' };
    this.version++;
    if (op === PUT) this.items.set(key, { value: value ?? Buffer.alloc(0), version: this.version });
    else this.items.delete(key);
    return { statuses: 0, versions: this.version, values: null, messages: null };
  }
  /** Carries all out and answers. */
  answer(requests: readonly FakeRequest[], socket: Socket): void {
    this.answerWith(
      socket,
      requests,
      requests.map((request) => this.apply(request)),
    );
  }
  /** The same for all: a status that is no success. */
  refuse(requests: readonly FakeRequest[], socket: Socket, status: number): void {
    const row = { statuses: status, versions: null, values: null, messages: `status ${status}` };
    this.answerWith(
      socket,
      requests,
      requests.map(() => row),
    );
  }
  answerWith(
    socket: Socket,
    requests: readonly FakeRequest[],
    rows: readonly Readonly<Record<string, Item>>[],
  ): void {
    const names = ['statuses', 'versions', 'messages', 'values'];
    const columns = names.map((name) => [name, rows.map((row) => row[name] ?? null)] as const);
    this.inFlight -= requests.length;
    this.send(socket, { ids: requests.map(({ id }) => id), ...Object.fromEntries(columns) });
  }

  #take(socket: Socket, message: Buffer): void {
    const columns = decode(message) as Readonly<Record<string, Item>>;
    const ids = columns.ids as readonly number[];
    const at = (name: string, index: number): Item => {
      const column = columns[name] ?? null;
      return Array.isArray(column) ? (column[index] as Item) : column;
    };
    const requests = ids.map(
      (id, index): FakeRequest => ({
        id,
        op: at('ops', index) as number,
        key: Buffer.from(at('keys', index) as Uint8Array).toString('latin1'),
        value: at('values', index) as Buffer | null,
        version: at('versions', index) as number | null,
        timeout: at('timeouts', index) as number,
        idempotencyKey: at('idempotencyKeys', index) as string | null,
      }),
    );
    this.inFlight += ids.length;
    this.inFlightSeenMax = Math.max(this.inFlightSeenMax, this.inFlight);
    if (requests.length === 1 && requests[0]?.op === PING && requests[0].key === '') {
      this.heartbeats++;
      this.inFlight--;
      const [{ id }] = requests as [FakeRequest];
      if (this.onHeartbeat !== 'silent') this.send(socket, { ids: [id], statuses: [this.onHeartbeat] });
      return;
    }
    this.messages.push(requests);
    const trick = this.tricks.shift();
    if (trick === undefined) this.answer(requests, socket);
    else trick(requests, this, socket);
  }
  /** The status that heartbeats are answered with: 3 is that of a server which does not know them. */
  onHeartbeat: number | 'silent' = 0;
}
