/** The browser's entry, bundled by Vite as an application would: nothing of Node is in it, and it runs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Rollup } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeWsServer } from './fake-ws-server.ts';

const root = resolve(import.meta.dirname, '../..');
/** What a bundler cannot resolve in a browser, and packages that are Node's. */
const NODE = /^(node:|undici|uWebSockets|piscina|snappy|xxhash-addon)/;
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringkv-bundle-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

async function bundle(entry: string): Promise<{ readonly code: string; readonly external: string[] }> {
  const external: string[] = [];
  const result = (await build({
    root,
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      target: 'es2023',
      minify: false,
      lib: { entry: join(root, entry), formats: ['es'], fileName: 'client' },
      rollupOptions: {
        external: (id) => {
          const isNode = NODE.test(id);
          if (isNode) external.push(id);
          return isNode;
        },
      },
    },
  })) as Rollup.RollupOutput[];
  const [output] = result;
  const code = (output?.output ?? []).map((chunk) => (chunk.type === 'chunk' ? chunk.code : '')).join('\n');
  return { code, external };
}

describe('the client for browsers', () => {
  it('is bundled without a module of Node', async () => {
    const { code, external } = await bundle('src/client/browser.ts');
    expect(external).toEqual([]);
    expect(code).not.toMatch(/from\s*["']node:|require\(["']|\bBuffer\.|\bprocess\.|\bsetImmediate\(/);
    expect(code).toContain('ringkv.v1');
  });

  it('would be found out if there were one', async () => {
    const { external } = await bundle('src/client/index.ts');
    expect(external).toContain('undici');
  });

  it('puts and gets over the WebSocket and the fetch that a page has', async () => {
    const { code } = await bundle('src/client/browser.ts');
    const file = join(directory, 'client.mjs');
    writeFileSync(file, code);
    const { connect } = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as {
      connect: typeof import('../../src/client/browser.ts').connect;
    };
    const server = await FakeWsServer.start();
    const { WebSocket } = await import('undici');
    const page = globalThis as { WebSocket?: unknown };
    const { WebSocket: own } = page;
    page.WebSocket = WebSocket;
    const client = await connect({ nodes: [server.url], transport: 'ws' });
    try {
      await client.putMany([
        { key: 'a', value: 'one' },
        { key: 'b', value: 'two' },
      ]);
      expect((await client.getMany(['a', 'b'])).map((value) => Buffer.from(value ?? '').toString())).toEqual([
        'one',
        'two',
      ]);
      expect(server.messages.map(({ length }) => length)).toEqual([2, 2]);
      expect(await client.clusterRing()).toMatchObject({ vnodes: 1 });
      await expect(connect({ nodes: [server.url], tls: {} })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    } finally {
      page.WebSocket = own;
      await client.close();
      server.stop();
    }
  });
});
