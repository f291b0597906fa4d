import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import wabt from 'wabt';
import { snappyModule } from '../../src/engine/snappy-module.ts';

const source = new URL('../../src/engine/snappy.wat', import.meta.url);

describe('the bytes of the snappy codec', () => {
  it('are what its source assembles to: `npm run build:snappy` after a change', async () => {
    const toolkit = await wabt();
    const parsed = toolkit.parseWat('snappy.wat', readFileSync(source), { bulk_memory: true });
    const assembled = Buffer.from(parsed.toBinary({}).buffer);
    parsed.destroy();
    expect(assembled.length).toBeGreaterThan(1000);
    expect(snappyModule).toBe(assembled.toString('base64'));
  });
});
