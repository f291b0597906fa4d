import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const folders = ['src', 'workers', 'test', 'native-bench', 'load'].filter((folder) =>
  existsSync(join(root, folder)),
);
const files = folders.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|mjs)$/.test(name) && !name.includes('golden'))
    .map((name) => join(folder, name)),
);
const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');
const LINES_MAX = 400;
/** Longer files, each with its reason. */
const longer: Readonly<Record<string, string>> = {
  'test/cluster/memory-replica.ts':
    'the reference for the rule of a replica, to be read beside replica-store.ts in one go',
  'src/base/limits.ts': 'every limit of the product in one table, with what must hold between them',
};

describe('the source is tidy:', () => {
  it('file names are kebab-case', () => {
    expect(files.filter((file) => !/^[a-z0-9/.-]+$/.test(file))).toEqual([]);
  });
  it(`no file is over ${LINES_MAX} lines without a reason`, () => {
    const long = files.filter((file) => textOf(file).split('\n').length - 1 > LINES_MAX);
    expect(long.filter((file) => longer[file] === undefined)).toEqual([]);
  });
  it('every source file opens with what it is for', () => {
    const bare = files.filter(
      (file) => /^(src|workers)\//.test(file) && !/^(#!.*\n)?\/\*\*|^\/\//.test(textOf(file)),
    );
    expect(bare).toEqual([]);
  });
  it('deadlines are compared and reckoned with in one file, where both sides must be of the monotonic clock', () => {
    const reckoning =
      /\b#?deadlineMs\)?(\[\w+\])? *([<>]=?|[-+](?!\w)) |((?<!=)[<>]=?| [-+]) [\w.#]*\bdeadlineMs\b/;
    const isCode = (line: string): boolean => !/^\s*(\*|\/\/|\/\*\*)/.test(line);
    const found = files
      .filter((file) => /^(src|workers)\//.test(file) && file !== 'src/base/clock.ts')
      .flatMap((file) =>
        textOf(file)
          .split('\n')
          .filter((line) => isCode(line) && reckoning.test(line))
          .map((line) => `${file}: ${line.trim()}`),
      );
    expect(found).toEqual([]);
    for (const line of ['if (deadlineMs <= nowMs)', 'a = b - deadlineMs;', 'request.deadlineMs - 5'])
      expect(reckoning.test(line), line).toBe(true);
  });
  it('no work is marked as missing, no test is narrowed', () => {
    const words = /\b(TODO|FIXME|XXX|HACK)\b|\.only\(|\.todo\(|expect\(true\)/;
    expect(files.filter((file) => !file.endsWith('tidy.test.ts') && words.test(textOf(file)))).toEqual([]);
  });
  it('no error is swallowed by an empty catch', () => {
    expect(files.filter((file) => /catch\s*(\([^)]*\))?\s*\{\s*\}/.test(textOf(file)))).toEqual([]);
  });
});
