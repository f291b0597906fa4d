/**
 * The formulas of `ringkv plan`: what is printed is what is calculated. Pure.
 *
 *   expression: term (('+' | '-') term)*        term: factor (('*' | '/') factor)*
 *   factor: number | name | name '(' expression (',' expression)* ')' | '(' expression ')'
 *
 * Functions: ceil, min, max, log (of any base, in quotients), and pow2: the least power of two that is not below its argument.
 */
import { AssertionError, assert } from '../base/assert.ts';

const TOKEN = /\s*([A-Za-z][A-Za-z0-9]*|[0-9]+(?:\.[0-9]+)?|[-+*/(),])/y;

const CLOSE = 1e-12;
/** A quotient that is a whole number must not become the next one for the sake of its last bit. */
function ceil(value: number): number {
  const nearest = Math.round(value);
  return Math.abs(value - nearest) <= Math.abs(nearest) * CLOSE ? nearest : Math.ceil(value);
}
const functions: Readonly<Record<string, (...values: number[]) => number>> = {
  ceil,
  min: Math.min,
  max: Math.max,
  log: Math.log,
  pow2: (value = 1) => 2 ** ceil(Math.log2(Math.max(1, value))),
};

export function tokensOf(formula: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  for (let end = 0; end < formula.trimEnd().length; end = TOKEN.lastIndex) {
    const found = TOKEN.exec(formula)?.[1];
    assert(found !== undefined, () => `plan: ${formula} cannot be read from character ${end} on`);
    tokens.push(found);
  }
  return tokens;
}

/** Names of values in a formula, each once, in order. */
export function namesOf(formula: string): string[] {
  const tokens = tokensOf(formula);
  return [...new Set(tokens.filter((token, at) => /^[A-Za-z]/.test(token) && tokens[at + 1] !== '('))];
}

/** Throws AssertionError for what is no formula, for a name without a value, and for a result that is no number. */
export function evaluate(formula: string, read: (name: string) => number): number {
  const tokens = tokensOf(formula);
  let at = 0;
  const take = (): string => tokens[at++] ?? '';
  const expect = (token: string): void => {
    const found = take();
    assert(found === token, () => `plan: ${formula}: ${JSON.stringify(found)} where ${token} must stand`);
  };
  const factor = (): number => {
    const token = take();
    if (/^[0-9]/.test(token)) return Number(token);
    if (token === '(') {
      const value = sum();
      expect(')');
      return value;
    }
    assert(/^[A-Za-z]/.test(token), () => `plan: ${formula}: ${JSON.stringify(token)} is no value`);
    if (tokens[at] !== '(') return read(token);
    const call = functions[token];
    if (call === undefined) throw new AssertionError(`plan: ${formula}: there is no function ${token}`);
    take();
    const values = [sum()];
    for (; tokens[at] === ','; ) {
      take();
      values.push(sum());
    }
    expect(')');
    return call(...values);
  };
  const product = (): number => {
    let value = factor();
    for (; tokens[at] === '*' || tokens[at] === '/'; )
      value = take() === '*' ? value * factor() : value / factor();
    return value;
  };
  const sum = (): number => {
    let value = product();
    for (; tokens[at] === '+' || tokens[at] === '-'; )
      value = take() === '+' ? value + product() : value - product();
    return value;
  };
  const result = sum();
  assert(at === tokens.length, () => `plan: ${formula}: ${tokens.slice(at).join(' ')} follows its end`);
  assert(Number.isFinite(result), () => `plan: ${formula} gives ${result}`);
  return result;
}
