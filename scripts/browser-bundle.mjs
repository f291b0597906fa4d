// The client for browsers as one file without imports: `npm run build` writes it to dist/browser/ringkv-client.js.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transformWithEsbuild } from 'vite';

const root = resolve(import.meta.dirname, '..');
/** What is not in browsers; it stays an import of the bundle, and the test of the bundle finds it. */
const NODE = /^(node:|undici|uWebSockets|piscina|snappy|xxhash)/;

/** The code of the bundle of an entry, and what it still imports. */
export async function bundleOf(entry, minify = true) {
  const external = [];
  const [output] = await build({
    root,
    configFile: false,
    logLevel: 'warn',
    build: {
      write: false,
      target: 'es2023',
      minify: false,
      lib: { entry: resolve(root, entry), formats: ['es'], fileName: 'client' },
      rollupOptions: {
        external: (id) => {
          if (!NODE.test(id)) return false;
          external.push(id);
          return true;
        },
      },
    },
  });
  const code = output.output.map((chunk) => (chunk.type === 'chunk' ? chunk.code : '')).join('\n');
  if (!minify) return { code, external };
  // Of modules Vite keeps the white space. Names of classes stay: errors show them.
  const options = { minify: true, keepNames: true, target: 'es2023', sourcemap: false, charset: 'utf8' };
  return { code: (await transformWithEsbuild(code, 'client.js', options)).code, external };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { mkdirSync, writeFileSync } = await import('node:fs');
  const { code, external } = await bundleOf('src/client/browser.ts');
  if (external.length > 0) throw new Error(`the client for browsers imports ${external.join(', ')}`);
  mkdirSync(resolve(root, 'dist/browser'), { recursive: true });
  writeFileSync(resolve(root, 'dist/browser/ringkv-client.js'), code);
}
