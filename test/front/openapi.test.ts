import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { CLUSTER_CHANGES } from '../../src/front/cluster-routes.ts';
import { WS_PATH } from '../../src/front/ws-wire.ts';
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
  it('has every path that the server has, and no other', () => {
    const source = readFileSync(resolve(root, 'src/front/routes.ts'), 'utf8');
    const routes = [
      ...source.matchAll(/\b(?:app\.(?:get|post|put|del|any)|read)\(\s*('[^']+'|`[^`]+`|WS_PATH)/g),
    ]
      .map(([, path = '']) => path.slice(1, -1).replace('S_PAT', WS_PATH))
      // The document does not describe the welcome at / and what is nowhere.
      .filter((path) => path !== '/' && path !== '/*')
      .map((path) => path.replace(/\*$/, '{key}'))
      .flatMap((path) =>
        // biome-ignore lint/suspicious/noTemplateCurlyInString: so it stands in the source.
        path.includes('${') ? CLUSTER_CHANGES.map((change) => path.replace('${change}', change)) : [path],
      );
    expect(new Set(routes).size).toBeGreaterThan(10);
    const { paths } = document as { readonly paths: object };
    expect(Object.keys(paths).sort()).toEqual([...new Set(routes)].sort());
  });
  it('is valid OpenAPI 3.1', async () => {
    const outcome = await new Validator().validate(document as Record<string, unknown>);
    expect(outcome).toMatchObject({ valid: true });
  });
});
