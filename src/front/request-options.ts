/**
 * What a request may ask for besides key and value: read from a query, from JSON or CBOR fields, and from
 * headers, by one set of rules. Every refusal names the value, where it stood and what would have been right.
 */
import { Consistency, type ConsistencyCode } from '../base/consistency.ts';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Sloppy, type SloppyCode } from '../shard/contract.ts';
import { short } from './outcome.ts';
import { percentDecode } from './percent.ts';

const LEVELS = ['ONE', 'QUORUM', 'ALL', 'SERIAL'] as const;

/** What a write may ask for, wherever it was said. */
export interface WriteOptions {
  readonly ttlMs: number;
  readonly consistency: number;
  readonly sloppy: SloppyCode;
  /** '': none. */
  readonly idempotencyKey: string;
}

/** Reused: one object per request in flight. */
export class RequestOptions implements WriteOptions {
  /** 0: the record does not expire. */
  ttlMs = 0;
  /** -1: not conditional by the body or the query. */
  version = -1;
  timeoutMs: number = limits.requestTimeoutMsDefault;
  /** '': none. */
  idempotencyKey = '';
  /** Consistency.*; 0: the default. */
  consistency = 0;
  sloppy: SloppyCode = Sloppy.UNSAID;

  reset(): void {
    this.ttlMs = 0;
    this.version = -1;
    this.timeoutMs = limits.requestTimeoutMsDefault;
    this.idempotencyKey = '';
    this.consistency = 0;
    this.sloppy = Sloppy.UNSAID;
  }
}

/** Fields of a body, parsed and not yet checked. */
export type Fields = Readonly<Record<string, unknown>>;
/** Which options a kind of request takes. */
export type OptionName = 'consistency' | 'ttl' | 'version' | 'sloppy';
export const NO_OPTIONS: readonly OptionName[] = [];
export const READ_OPTIONS: readonly OptionName[] = ['consistency'];
export const DELETE_OPTIONS: readonly OptionName[] = ['consistency', 'version', 'sloppy'];
export const PUT_OPTIONS: readonly OptionName[] = ['consistency', 'ttl', 'version', 'sloppy'];

function consistencyOf(value: unknown): ConsistencyCode {
  const level = LEVELS.find((name) => name === value);
  if (level === undefined)
    throw new BadRequestError(`consistency ${shown(value)} is none of ${LEVELS.join(', ')}`);
  return Consistency[level];
}

/** The same by its number. */
export function consistencyOfCode(value: number): ConsistencyCode {
  const level = LEVELS.find((name) => Consistency[name] === value);
  if (level === undefined)
    throw new BadRequestError(
      `consistency ${value} is none of ${LEVELS.map((name) => `${Consistency[name]} (${name})`).join(', ')}`,
    );
  return Consistency[level];
}

export function ttlMsOf(value: unknown): number {
  if (typeof value !== 'number' || !(value > 0 && value <= limits.ttlSecondsMax))
    throw new BadRequestError(
      `ttl ${shown(value)} is not a number of seconds above 0 and at most ${limits.ttlSecondsMax}`,
    );
  return Math.max(1, Math.round(value * 1000));
}

export function versionOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new BadRequestError(
      `version ${shown(value)} is not an integer from 0 (absent) to ${limits.versionMax}`,
    );
  return value;
}

function set(options: RequestOptions, name: OptionName, value: unknown): void {
  if (name === 'consistency') options.consistency = consistencyOf(value);
  else if (name === 'ttl') options.ttlMs = ttlMsOf(value);
  else if (name === 'version') options.version = versionOf(value);
  else if (typeof value === 'boolean') options.sloppy = value ? Sloppy.YES : Sloppy.NO;
  else throw new BadRequestError(`sloppy ${shown(value)} is neither true nor false`);
}

/** Takes the options out of the fields of a body; `others` are the names that something else reads. */
export function readFields(
  fields: Fields,
  allowed: readonly OptionName[],
  others: readonly string[],
  options: RequestOptions,
): void {
  for (const name in fields) {
    if (others.includes(name)) continue;
    if (!(allowed as readonly string[]).includes(name))
      throw new BadRequestError(
        `unknown field ${short(name)}; there are ${[...others, ...allowed].join(', ')}`,
      );
    set(options, name as OptionName, fields[name]);
  }
}

const NUMBER = /^(0|[1-9][0-9]*)(\.[0-9]+)?$/;

/** The query that was read last, and what it said: clients send the same again and again. One for each list of options. */
interface LastQuery {
  query: string;
  readonly said: RequestOptions;
}
const lastQueries = new Map<readonly OptionName[], LastQuery>();
function lastQueryOf(allowed: readonly OptionName[]): LastQuery {
  let last = lastQueries.get(allowed);
  if (last === undefined) {
    last = { query: '', said: new RequestOptions() };
    lastQueries.set(allowed, last);
  }
  return last;
}

/** Takes the options out of a query. `allowed` is one of the lists above: what was read last is kept for each. */
export function readQuery(query: string, allowed: readonly OptionName[], options: RequestOptions): void {
  if (query === '') return;
  const last = lastQueryOf(allowed);
  const { said } = last;
  if (last.query !== query) {
    last.query = '';
    said.reset();
    for (const [name, text] of queryPairs(query, allowed)) {
      let value: unknown = text;
      if (name === 'ttl' || name === 'version') value = NUMBER.test(text) ? Number(text) : text;
      else if (name === 'sloppy') value = text === 'true' ? true : text === 'false' ? false : text;
      set(said, name as OptionName, value);
    }
    last.query = query;
  }
  options.consistency = said.consistency;
  options.ttlMs = said.ttlMs;
  options.version = said.version;
  options.sloppy = said.sloppy;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const queryBytes = new Uint8Array(limits.keyBytesCeiling + 1);

/** The bytes of one query component. */
export function queryComponent(query: string, start: number, end: number): Uint8Array {
  const length = percentDecode(query, start, end, queryBytes, true);
  if (length > queryBytes.length)
    throw new BadRequestError(`a query parameter of more than ${queryBytes.length} bytes`);
  return queryBytes.slice(0, length);
}

/** Names and texts of a query, each name known and given once. */
export function queryPairs(query: string, allowed: readonly string[]): [name: string, text: string][] {
  return rawQueryPairs(query, allowed).map(([name, bytes]) => {
    try {
      return [name, decoder.decode(bytes)];
    } catch (cause) {
      throw new BadRequestError(`parameter ${name} is not valid UTF-8`, { cause });
    }
  });
}

/** The same with bytes. */
export function rawQueryPairs(
  query: string,
  allowed: readonly string[],
): [name: string, bytes: Uint8Array][] {
  const pairs: [string, Uint8Array][] = [];
  for (let start = 0; start < query.length; ) {
    const ampersand = query.indexOf('&', start);
    const end = ampersand < 0 ? query.length : ampersand;
    const equals = query.indexOf('=', start);
    const nameEnd = equals < 0 || equals > end ? end : equals;
    if (end > start) {
      const name = Buffer.from(queryComponent(query, start, nameEnd)).toString('latin1');
      if (!allowed.includes(name))
        throw new BadRequestError(
          `unknown parameter ${short(name)}; ${allowed.length === 0 ? 'there are none' : `there are ${allowed.join(', ')}`}`,
        );
      if (pairs.some(([other]) => other === name))
        throw new BadRequestError(`parameter ${name} is given more than once`);
      pairs.push([name, queryComponent(query, Math.min(nameEnd + 1, end), end)]);
    }
    start = end + 1;
  }
  return pairs;
}

/** X-RingKV-Timeout, '' where it is not given. */
export function readTimeout(header: string, options: RequestOptions): void {
  if (header === '') return;
  const ms = /^[0-9]{1,9}$/.test(header) ? Number(header) : 0;
  options.timeoutMs = timeoutMsOf(ms, 'X-RingKV-Timeout', short(header));
}

/** `shown` is what was given. */
export function timeoutMsOf(ms: number, name: string, shown: string): number {
  if (!Number.isInteger(ms) || ms < 1 || ms > limits.requestTimeoutMsMax)
    throw new BadRequestError(
      `${name} ${shown} is not a whole number of milliseconds from 1 to ${limits.requestTimeoutMsMax}`,
    );
  return ms;
}

/** Idempotency-Key: printable ASCII, so that its characters are its bytes. `name` is how it is called where it stands. */
export function readIdempotencyKey(header: string, options: RequestOptions, name = 'Idempotency-Key'): void {
  const { idempotencyKeyCharactersMax: max } = limits;
  if (!/^[\x20-\x7e]+$/.test(header) || header.length > max)
    throw new BadRequestError(
      `${name} ${short(header)} (${header.length} characters) is not 1 to ${max} printable ASCII characters`,
    );
  options.idempotencyKey = header;
}

function shown(value: unknown): string {
  return typeof value === 'string' ? short(value) : typeof value === 'object' ? kindOf(value) : String(value);
}
function kindOf(value: object | null): string {
  return value === null ? 'null' : Array.isArray(value) ? '(an array)' : '(an object)';
}
