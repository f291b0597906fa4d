/**
 * Headless Chromium of the system, driven by playwright-core, and servers of pages for it. A page server can stand before a
 * node as a reverse proxy does: the page and the node are of one origin then.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { resolve } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

const BUNDLE = resolve(import.meta.dirname, '../../dist/browser/ringkv-client.js');
const SCRIPT = resolve(import.meta.dirname, 'browser-page.mjs');

/** The path of a Chromium, or null where the system has none. RINGKV_CHROMIUM names another. */
export function findChromium(): string | null {
  const { RINGKV_CHROMIUM: named } = process.env;
  if (named !== undefined) return named;
  for (const name of ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'])
    try {
      return execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
    } catch (error) {
      if ((error as { readonly status?: number }).status === undefined) throw error;
    }
  return null;
}
export const launch = (executablePath: string): Promise<Browser> =>
  // The sandbox needs rights that containers of CI do not have.
  chromium.launch({ executablePath, chromiumSandbox: false });

/** Serves the page, its script and the bundle; what is below /v1, or /readyz, goes to `node` where it is given. */
export class PageServer {
  readonly origin: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  static async start(policy: string, node: string | null): Promise<PageServer> {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const page = new PageServer(server);
    server.on('connection', (socket) => page.#kept(socket));
    server.on('request', (asked, response) => page.#answer(asked, response, policy, node));
    server.on('upgrade', (asked: IncomingMessage, socket: Socket, head: Buffer) => {
      if (node !== null && !asked.url?.startsWith('/held/')) page.#tunnel(asked, socket, head, node);
    });
    return page;
  }
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }

  #answer(asked: IncomingMessage, response: ServerResponse, policy: string, node: string | null): void {
    const { url = '' } = asked;
    const files: Readonly<Record<string, readonly [type: string, body: string | Buffer]>> = {
      '/': ['text/html', '<!doctype html><title>page</title><script type="module" src="/page.mjs"></script>'],
      '/page.mjs': ['text/javascript', readFileSync(SCRIPT)],
      '/ringkv-client.js': ['text/javascript', readFileSync(BUNDLE)],
    };
    const [type, body] = files[url] ?? [];
    if (type !== undefined) {
      response.writeHead(200, { 'content-type': type, 'content-security-policy': policy }).end(body);
      return;
    }
    if (url.startsWith('/held/')) return;
    if (node === null || !/^(\/n\d)?\/(v1\/|readyz)/.test(url)) {
      response.writeHead(404).end();
      return;
    }
    const { method, headers } = asked;
    const passed = request(`${node}${withoutPrefix(url)}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    asked.pipe(passed);
  }

  /** An upgrade, with the Host of the page: the node compares it with the Origin. */
  #tunnel(asked: IncomingMessage, socket: Socket, head: Buffer, node: string): void {
    const { hostname, port } = new URL(node);
    const far = this.#kept(connect(Number(port), hostname));
    const lines: string[] = [`${asked.method} ${withoutPrefix(asked.url ?? '')} HTTP/1.1`];
    for (let at = 0; at < asked.rawHeaders.length; at += 2)
      lines.push(`${asked.rawHeaders[at]}: ${asked.rawHeaders[at + 1]}`);
    far.write(`${lines.join('\r\n')}\r\n\r\n`);
    far.write(head);
    far.pipe(socket);
    socket.pipe(far);
    far.on('close', () => socket.destroy());
    socket.on('close', () => far.destroy());
  }
  #kept(socket: Socket): Socket {
    this.#sockets.add(socket);
    // Either side may go at any time.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    return socket;
  }
}

/** Several nodes behind one origin: /n1, /n2. */
const withoutPrefix = (url: string): string => url.replace(/^\/n\d(?=\/)/, '');
