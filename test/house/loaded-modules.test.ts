import { readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

/** Files and packages that are loaded with `file`: static imports, but not of types alone. */
function loadedWith(file: string, loaded = new Set<string>()): Set<string> {
  if (loaded.has(file)) return loaded;
  loaded.add(file);
  const text = readFileSync(join(root, file), 'utf8');
  const pattern = /^\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;
  for (const [, typeOnly, specifier = ''] of text.matchAll(pattern)) {
    if (typeOnly !== undefined) continue;
    if (specifier.startsWith('.'))
      loadedWith(relative(root, resolve(root, dirname(file), specifier)), loaded);
    else loaded.add(specifier);
  }
  return loaded;
}

/** Each thread has its own heap: what one does not use must not be in it (docs/performance.md, memory). */
describe('a thread loads only what it uses', () => {
  it.each([
    ['src/cli/main.ts', ['undici', 'snappy', 'uWebSockets.js', 'src/engine/engine.ts', 'src/node/node.ts']],
    [
      'src/node/node.ts',
      ['undici', 'snappy', 'uWebSockets.js', 'src/engine/engine.ts', 'src/client/client.ts'],
    ],
    ['workers/front.ts', ['undici', 'snappy', 'zod', 'pino', 'piscina', 'src/engine/engine.ts']],
    ['workers/shard.ts', ['undici', 'zod', 'pino', 'commander', 'piscina', 'cbor-x', 'src/client/client.ts']],
    ['workers/background.ts', ['undici', 'zod', 'pino', 'commander', 'piscina', 'src/engine/engine.ts']],
  ])('with %s', (file, unused) => {
    const loaded = loadedWith(file);
    expect(loaded.size).toBeGreaterThan(5);
    expect(unused.filter((one) => loaded.has(one))).toEqual([]);
  });
});
