/** The bundle of the client in headless Chromium, against a real node: pages of its origin and of another. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findChromium, launch, PageServer } from './chromium.ts';
import { type Process, urlOf, Workplace } from './cli-process.ts';
import { takePort } from './node-process.ts';

const executable = findChromium();
if (executable === null)
  console.warn(
    'SKIPPED: "the client in Chromium": no chromium on this machine (Debian: apt-get install chromium; or RINGKV_CHROMIUM=path)',
  );

const TIMEOUT_MS = 240_000;
/** Of a call, where machines are busy. */
const PATIENCE_MS = 30_000;
/** No eval, no WebAssembly, and of other hosts nothing but what a test names. */
const STRICT = "default-src 'none'; script-src 'self'; connect-src 'self'";

describe.skipIf(executable === null)('the client in Chromium', () => {
  let place: Workplace;
  let browser: Browser;
  let node: Process;
  let port: number;
  let url: string;
  let own: PageServer;
  let page: Page;
  const problems: string[] = [];

  const serve = async (): Promise<void> => {
    node = place.start('serve', '--port', String(port), '--data', place.path('data'));
    url = await urlOf(node);
  };
  const open = async (server: PageServer): Promise<Page> => {
    const opened = await browser.newPage();
    opened.on('pageerror', (error) => problems.push(String(error)));
    await opened.goto(server.origin, { waitUntil: 'networkidle' });
    return opened;
  };
  /** A scenario of browser-page.mjs. */
  const run = async (name: string, options: object = {}, on = page): Promise<unknown> =>
    // biome-ignore lint/suspicious/noExplicitAny: a function of the page
    await on.evaluate(([what, given]) => (globalThis as any).run(what, given), [name, options] as const);

  beforeAll(async () => {
    place = new Workplace();
    const taken = await takePort();
    await new Promise((done) => taken.server.close(done));
    port = taken.port;
    await serve();
    own = await PageServer.start(STRICT, url);
    browser = await launch(executable ?? '');
    page = await open(own);
    for (const transport of ['ws', 'http'])
      await run('connect', { name: transport, nodes: [own.origin], transport, timeoutMs: PATIENCE_MS });
  }, TIMEOUT_MS);
  afterAll(async () => {
    await browser?.close();
    await own?.stop();
    await place?.remove();
  }, TIMEOUT_MS);

  it('runs where the page forbids eval and WebAssembly', async () => {
    expect(await run('forbidden')).toEqual(['EvalError', 'CompileError']);
    expect(problems).toEqual([]);
  });

  describe.each(['ws', 'http'])('over %s', (transport) => {
    const name = transport;

    it('keeps bytes, text and JSON under keys of any bytes, on conditions and for a time', async () => {
      expect(await run('values', { name })).toEqual({
        kept: Array.from({ length: 7 }, (_, at) => `${at},0,255,10,13`),
        empty: 0,
        json: { name: 'Ada', tags: [1, null, 'ü'] },
        absent: [null, null],
        isVersion: true,
        timed: ['value', true],
        isRepeat: true,
        deleted: ['done', null],
        isSame: true,
        isBytes: true,
      });
    });

    it('sends many at once in few messages, and scans', async () => {
      expect(await run('many', { name })).toEqual({
        versions: 100,
        isSame: true,
        // Reads are split by the values that came before.
        sent:
          transport === 'ws'
            ? { messages: expect.toSatisfy(isFew), requests: [], count: 0 }
            : { messages: expect.any(Number), requests: ['/v1/batch'], count: expect.toSatisfy(isFew) },
        partial: ['PartialFailureError', 'VERSION_MISMATCH', 'number', 'KEY_TOO_LARGE'],
        scanned: Array.from({ length: 10 }, (_, n) => `many ${n}: ${n === 1 ? 'new' : `value ${n}`}`),
        keysAlone: [null, null, null],
      });
    });

    it('tells errors apart by class', async () => {
      const { version, ...errors } = (await run('errors', { name })) as { readonly version: number };
      const error = (kind: string, code: string, more: object = {}): object => ({
        name: kind,
        code,
        isTyped: true,
        ...more,
      });
      const wrong = error('BadRequestError', 'BAD_REQUEST');
      expect(errors).toEqual({
        mismatch: error('VersionMismatchError', 'VERSION_MISMATCH', { version }),
        long: error('KeyTooLargeError', 'KEY_TOO_LARGE'),
        large: error('ValueTooLargeError', 'VALUE_TOO_LARGE'),
        ...{ empty: wrong, ttl: wrong, level: wrong, noBytes: wrong, tls: wrong, url: wrong },
      });
    });

    it('gives calls up by their signals and at their deadlines', async () => {
      expect(await run('aborts', { name, transport, held: '/held' })).toEqual({
        before: 'before',
        atOnce: 'at once',
        onTheWay: 'TimeoutError',
        late: { name: 'TimeoutError', code: 'TIMEOUT', isTyped: true },
        // Over HTTP it has gone by then.
        left: transport === 'ws' ? null : expect.toSatisfy(() => true),
      });
    });

    it('goes on when the node is back', async () => {
      await run('put', { name, key: 'kept', value: transport });
      node.kill('SIGKILL');
      await node.ended;
      expect(await run('outcomeOfGet', { name, key: 'kept' })).toMatchObject({ code: 'CONNECTION' });
      await serve();
      await expect
        .poll(() => run('get', { name, key: 'kept' }).catch(() => 'not yet'), { timeout: 60_000 })
        .toBe(transport);
    });
  });

  it('asks the paths of nodes behind one origin, by the ring, without WebAssembly', async () => {
    const nodes = [`${own.origin}/n1`, `${own.origin}/n2`];
    // Both paths lead to one node: the ring gives its vnodes to the one that was named last.
    const path = '/n2/v1/batch';
    const inARow = 6;
    expect(await run('routed', { nodes, transport: 'http', path, inARow })).toEqual({ now: [path], inARow });
  });

  it('is refused as a page of another origin, which writes nothing and reads nothing', async () => {
    const other = await PageServer.start(`${STRICT} ${url} ${url.replace('http', 'ws')}`, null);
    try {
      const stranger = await open(other);
      await run('put', { name: 'http', key: 'secret', value: 'x' });
      for (const transport of ['ws', 'http']) {
        const name = `other ${transport}`;
        const patience = { retries: 0, timeoutMs: PATIENCE_MS };
        await run('connect', { name, nodes: [url], transport, ...patience }, stranger);
        const refused = { name: 'ConnectionError', code: 'CONNECTION', isTyped: true };
        expect(await run('outcomeOfGet', { name, key: 'secret' }, stranger)).toMatchObject(refused);
        expect(await run('put', { name, key: name, value: 'x' }, stranger)).toMatchObject(refused);
        expect(await run('get', { name: 'http', key: name })).toBeNull();
      }
      // Sent they are, but not taken.
      expect(await run('forged', { url, key: 'forged' }, stranger)).toEqual(Array(4).fill('opaque'));
      expect(await run('get', { name: 'http', key: 'forged' })).toBeNull();
    } finally {
      await other.stop();
    }
  });

  it('ends with close()', async () => {
    for (const name of ['ws', 'http']) {
      const closed = { name: 'ClosedError', code: 'CLOSED', isTyped: true };
      expect(await run('close', { name })).toEqual([closed, closed]);
    }
    expect(problems).toEqual([]);
  });
});

/** Requests for two hundred operations. */
const isFew = (count: number): boolean => count >= 2 && count < 30;
