/** What lies in examples/ runs as it is written, against a real node. */

import { resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Process, urlOf, Workplace } from './cli-process.ts';

const root = resolve(import.meta.dirname, '../..');
let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

describe('the example', () => {
  it.each([
    ['session-store.mjs', /^session:7 is user 7, for 1[78]\d\d s more\nafter logout: null\n$/],
    ['counter.mjs', /^four writers, 25 steps each: 100\n$/],
  ])('%s does what it says', async (name, wanted) => {
    const url = await urlOf(place.start('serve', '--port', '0', '--data', place.path('data')));
    const example = new Process(process.execPath, [`examples/${name}`, url], root);
    const { code, out, err } = await example.ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(wanted);
  });
});
