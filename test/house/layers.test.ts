import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

/** The table in docs/architecture.md: a file imports only from its own layer or those below. */
const layers: readonly (readonly [folder: string, layer: number])[] = [
  ['src/base', 1],
  ['src/ipc', 2],
  ['src/vfs', 2],
  ['src/crypto', 2],
  ['src/engine', 3],
  ['src/shard', 4],
  ['src/cluster', 4],
  ['src/replica', 4],
  ['src/front', 5],
  ['src/client', 5],
  ['src/peer', 5],
  ['src/node', 6],
  ['src/cli', 7],
  ['src/index.ts', 7],
  ['workers', 8],
];

function sources(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}
const files = [...sources('src'), ...sources('workers')];

function layerOf(file: string): number {
  const row = layers.find(([folder]) => file === folder || file.startsWith(`${folder}/`));
  if (row === undefined) throw new Error(`${file} lies in no layer`);
  return row[1];
}

interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
}
function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found: Import[] = [];
  const pattern = /^\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;
  for (const match of text.matchAll(pattern))
    found.push({ specifier: match[2] ?? '', typeOnly: match[1] !== undefined });
  for (const match of text.matchAll(/\bimport\('([^']+)'\)/g))
    found.push({ specifier: match[1] ?? '', typeOnly: false });
  return found;
}
const graph = new Map(
  files.map((file) => [
    file,
    importsOf(file).map((one) => ({
      ...one,
      target: one.specifier.startsWith('.')
        ? relative(root, resolve(root, dirname(file), one.specifier))
        : '',
    })),
  ]),
);

/** Modules of Node that one layer alone may touch, by the folders that may import them. */
const reserved: readonly (readonly [specifier: RegExp, folders: RegExp])[] = [
  [
    /^node:fs/,
    /^src\/vfs\/|^src\/cli\/(import|export|config-file|bench)[^/]*\.ts$|^src\/node\/config-file\.ts$/,
  ],
  [/^node:worker_threads$/, /^src\/(ipc|node|shard)\/|^workers\//],
  [/^piscina$/, /^src\/node\/|^workers\//],
  [/^(node:(net|http|https|tls|dgram)|undici|ws|uWebSockets\.js)$/, /^src\/(front|peer|client)\//],
];

describe('the layers', () => {
  it('are only imported downwards', () => {
    const upward = [...graph].flatMap(([file, imports]) =>
      imports
        .filter(({ target }) => target !== '' && layerOf(target) > layerOf(file))
        .map(({ target }) => `${file} imports ${target}`),
    );
    expect(upward).toEqual([]);
  });

  it('have no circles', () => {
    const circles: string[] = [];
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' > '));
      if (done.has(file) || path.includes(file)) return;
      for (const { target, typeOnly } of graph.get(file) ?? [])
        if (target !== '' && !typeOnly) visit(target, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(circles).toEqual([]);
  });

  it('keep files, threads and sockets to the folders that own them', () => {
    const wrong = [...graph].flatMap(([file, imports]) =>
      imports.flatMap(({ specifier, typeOnly }) =>
        reserved
          .filter(([what, where]) => !typeOnly && what.test(specifier) && !where.test(file))
          .map(() => `${file} imports ${specifier}`),
      ),
    );
    expect(wrong).toEqual([]);
  });

  it('keep shared memory, time and randomness to the files that own them', () => {
    const owners: readonly (readonly [what: RegExp, where: RegExp])[] = [
      [/\bAtomics\.|new SharedArrayBuffer\b/, /^src\/ipc\//],
      [/\bDate\.now\(|\bperformance\.now\(|new Date\(\)/, /^src\/base\/clock\.ts$/],
      [/\bMath\.random\(|\brandom(Bytes|UUID)\(|\bgetRandomValues\(/, /^src\/base\/random\.ts$/],
    ];
    const wrong = files.flatMap((file) => {
      const code = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
      return owners
        .filter(([what, where]) => what.test(code) && !where.test(file))
        .map(([what]) => `${file} uses ${what.source}`);
    });
    expect(wrong).toEqual([]);
  });
});
