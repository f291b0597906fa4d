import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { openApiDocument } from './openapi-document.ts';

const root = resolve(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as { version: string };
const document = openApiDocument(version);

describe('the OpenAPI document', () => {
  it('is the one in docs/', async () => {
    await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot(
      resolve(root, 'docs/openapi.json'),
    );
  });
  it('is valid OpenAPI 3.1', async () => {
    const outcome = await new Validator().validate(document as Record<string, unknown>);
    expect(outcome).toMatchObject({ valid: true });
  });
});
