/**
 * Assembles src/engine/snappy.wat with the WebAssembly Binary Toolkit and writes src/engine/snappy-module.ts: npm run build:snappy.
 * test/engine/snappy-module.test.ts compares the two.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import wabt from 'wabt';

const SOURCE = new URL('../src/engine/snappy.wat', import.meta.url);
const MODULE = new URL('../src/engine/snappy-module.ts', import.meta.url);
const LINE_CHARACTERS = 112;

const toolkit = await wabt();
const parsed = toolkit.parseWat('snappy.wat', readFileSync(SOURCE), { bulk_memory: true });
const base64 = Buffer.from(parsed.toBinary({}).buffer).toString('base64');
const lines = base64.match(new RegExp(`.{1,${LINE_CHARACTERS}}`, 'g')) ?? [];
const head = readFileSync(MODULE, 'utf8').split('export const')[0];
writeFileSync(
  MODULE,
  `${head}export const snappyModule =\n${lines.map((line) => `  '${line}'`).join(' +\n')};\n`,
);
