/** The browser's entry as `npm run build` bundles it: nothing of Node is in it, it is as small as documented, and it runs. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleOf } from '../../scripts/browser-bundle.mjs';
import { FakeWsServer } from './fake-ws-server.ts';

const ENTRY = 'src/client/browser.ts';
const KB = 1000;
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringkv-bundle-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

describe('the client for browsers', () => {
  it('is bundled without a module of Node', async () => {
    const { code, external } = await bundleOf(ENTRY, false);
    expect(external).toEqual([]);
    // Not even what a page's policy may forbid.
    expect(code).not.toMatch(/\bWebAssembly\b|\beval\(|new Function\(/);
    expect(code).not.toMatch(/^import\b/m);
    expect(code).not.toMatch(/from\s*["']node:|require\(["']|\bBuffer\.|\bprocess\.|\bsetImmediate\(/);
    expect(code).toContain('ringkv.v1');
  });

  it('would be found out if there were one', async () => {
    const { external } = await bundleOf('src/client/index.ts');
    expect(external).toContain('undici');
  });

  it('is as small as docs/client.md says', async () => {
    const { code } = await bundleOf(ENTRY);
    const page = readFileSync(resolve(import.meta.dirname, '../../docs/client.md'), 'utf8');
    const [, size, zipped] = /ringkv-client\.js`, (\d+) KB, (\d+) KB with\s+gzip/.exec(page) ?? [];
    expect([Number(size), Number(zipped)]).toEqual([
      Math.round(code.length / KB),
      Math.round(gzipSync(code).length / KB),
    ]);
  });

  it('puts and gets over the WebSocket and the fetch that a page has', async () => {
    const { code } = await bundleOf(ENTRY);
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
