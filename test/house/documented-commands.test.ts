import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { World } from '../cli/harness.ts';

const root = resolve(import.meta.dirname, '../..');
const pages = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

interface Use {
  readonly page: string;
  readonly text: string;
  readonly command: string;
  readonly flags: readonly string[];
}

/** Code of a page: fenced and indented blocks line by line, and spans between backticks. */
function codeOf(page: string): string[] {
  const code: string[] = [];
  let fenced = false;
  for (const line of readFileSync(join(root, page), 'utf8').split('\n')) {
    if (/^\s*```/.test(line)) fenced = !fenced;
    else if (fenced || /^ {4}\S/.test(line)) code.push(line);
    else for (const [, span = ''] of line.matchAll(/`([^`]+)`/g)) code.push(span);
  }
  return code;
}

/** `ringkv COMMAND`, not the name of a package, a file or a label. */
const USE = /(?:^|[\s(|;&])ringkv ([a-z][a-z-]*)((?:(?!\bringkv ).)*)/g;
function usesOf(page: string): Use[] {
  return codeOf(page).flatMap((text) => {
    // Further commands of a pipe, and remarks, have flags of their own.
    const uses = [...text.matchAll(USE)];
    return uses.map(([, command = '', rest = '']) => {
      const own = rest.split(/\\?[|;&#]/)[0] ?? '';
      return { page, text: text.trim(), command, flags: own.match(/--[a-z][a-z0-9-]*/g) ?? [] };
    });
  });
}
const uses = pages.flatMap(usesOf);

/** What a page names although it does not exist, each with its reason. */
const notThere: Readonly<Record<string, string>> = {
  'docs/decisions/0011-lost-majority.md recover': 'a command that was considered there and not made',
};

describe('what the documentation says to type', () => {
  const helps = new Map<string, string>();
  beforeAll(async () => {
    const world = new World();
    try {
      const { out } = await world.run(['--help']);
      const listed = out.slice(out.indexOf('Commands:'));
      for (const [, name = ''] of listed.matchAll(/^ {2}([a-z][a-z-]*)/gm))
        if (name !== 'ringkv') helps.set(name, (await world.run([name, '--help'])).out);
    } finally {
      world.remove();
    }
  });

  it('is found in the pages', () => {
    expect(helps.size).toBeGreaterThan(15);
    expect(uses.length).toBeGreaterThan(40);
    expect(new Set(uses.map(({ page }) => page)).size).toBeGreaterThan(4);
    expect(uses.some(({ flags }) => flags.length > 0)).toBe(true);
  });

  it('are commands that exist', () => {
    const wrong = uses.filter(({ command, page }) => {
      return !helps.has(command) && notThere[`${page} ${command}`] === undefined;
    });
    expect(wrong.map(({ page, text }) => `${page}: ${text}`)).toEqual([]);
  });

  it('with flags that they have', () => {
    const wrong = uses.flatMap(({ command, flags, page, text }) =>
      flags
        .filter(
          (flag) => flag !== '--help' && !new RegExp(`${flag}\\b(?!-)`).test(helps.get(command) ?? flag),
        )
        .map((flag) => `${page}: ${flag} in ${text}`),
    );
    expect(wrong).toEqual([]);
  });

  it('names every command that exists in docs/cli.md', () => {
    const text = readFileSync(join(root, 'docs/cli.md'), 'utf8');
    const unnamed = [...helps.keys()].filter(
      (name) => !new RegExp(`(ringkv |[,#\`] ?)${name}\\b`).test(text),
    );
    expect(unnamed.filter((name) => name !== 'help')).toEqual([]);
  });

  it('knows no exception that is gone', () => {
    const named = new Set(uses.map(({ command, page }) => `${page} ${command}`));
    expect(Object.keys(notThere).filter((one) => !named.has(one))).toEqual([]);
  });
});
