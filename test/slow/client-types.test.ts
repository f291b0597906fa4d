/** The types of the package as a project for browsers sees them: without those of Node, and checked themselves. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const directory = mkdtempSync(join(tmpdir(), 'ringkv-types-'));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const SOURCE = `
import { type Client, connect, type Entry, PartialFailureError, VersionMismatchError } from 'ringkv/client';
import { connect as inPage } from 'ringkv/client/browser';

const client: Client = await connect({ nodes: [location.origin], transport: 'ws', hedge: {}, discover: false });
const value: Uint8Array | null = await client.get('a', { consistency: 'ALL', signal: AbortSignal.timeout(5) });
const entry: Entry | null = await client.getEntry(value ?? 'a');
const version: number = await client.put('a', 'b', { ttl: 5, version: entry?.version ?? 0 });
const versions: number[] = await client.putMany([{ key: 'a', value: new Uint8Array(1), version }], { ttl: 5 });
await client.deleteMany(['a', new Uint8Array(1), { key: 'b', version: versions[0] ?? 0 }]);
for await (const { key } of client.scan({ prefix: 'a' })) key satisfies Uint8Array;
const same: typeof connect = inPage;
try {
  await (await same({ nodes: ['/'] })).put('a', 'b');
} catch (error) {
  if (error instanceof VersionMismatchError) error.version satisfies number;
  if (error instanceof PartialFailureError) error.results satisfies readonly unknown[];
}
// @ts-expect-error: no such transport
await connect({ nodes: [''], transport: 'tcp' });
// @ts-expect-error: nodes are missing
await connect({ transport: 'ws' });
// @ts-expect-error: no such level
await client.get('a', { consistency: 'SOME' });
// @ts-expect-error: a value is missing
await client.put('a');
// @ts-expect-error: a number is no value
await client.put('a', 5);
// @ts-expect-error: reads have no time to live
await client.get('a', { ttl: 5 });
// @ts-expect-error: one idempotency key for many writes
await client.putMany([], { idempotencyKey: 'once' });
// @ts-expect-error: a value may be null
(await client.get('a')).length;
`;

it('guide a program for browsers, and need nothing of Node', () => {
  mkdirSync(join(directory, 'node_modules'));
  symlinkSync(root, join(directory, 'node_modules/ringkv'));
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  writeFileSync(join(directory, 'program.ts'), SOURCE);
  const compilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: false, exactOptionalPropertyTypes: true, types: [] },
    ...{ target: 'es2024', lib: ['es2024', 'dom', 'dom.asynciterable', 'esnext.disposable'] },
    ...{ module: 'preserve', moduleResolution: 'bundler', customConditions: ['browser'] },
  };
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', directory], { encoding: 'utf8' });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});
