/**
 * Conditions of a write, and of a read: the version in a body or query, If-Match and If-None-Match (RFC 9110,
 * section 13). An entity tag is the version in quotes; a tag that is no version matches nothing.
 */
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Condition, type ConditionCode } from '../shard/contract.ts';
import { short } from './outcome.ts';

/** The tags of one header. */
export interface Tags {
  /** `*` */
  readonly any: boolean;
  readonly strong: readonly number[];
  /** Strong and weak: If-None-Match compares weakly, If-Match does not. */
  readonly weak: readonly number[];
}

const TAG = /[ \t]*(?:(W\/)?"([\x21\x23-\x7e\x80-\uffff]*)")?[ \t]*(?:,|$)/y;
const VERSION = /^[1-9][0-9]{0,15}$/;

/** Throws BadRequestError where the header is no `*` and no list of entity tags. */
export function parseTags(header: string, name: string): Tags {
  if (header === '*') return { any: true, strong: [], weak: [] };
  const strong: number[] = [];
  const weak: number[] = [];
  let tags = 0;
  TAG.lastIndex = 0;
  while (TAG.lastIndex < header.length) {
    const match = TAG.exec(header);
    if (match === null)
      throw new BadRequestError(`${name} ${short(header)} is neither * nor entity tags such as "102"`);
    if (match[2] === undefined) continue;
    if (++tags > limits.entityTagsMax)
      throw new BadRequestError(`${name} lists more than ${limits.entityTagsMax} entity tags`);
    const version = VERSION.test(match[2]) ? Number(match[2]) : Number.NaN;
    if (!Number.isSafeInteger(version)) continue;
    weak.push(version);
    if (match[1] === undefined) strong.push(version);
  }
  if (tags === 0) throw new BadRequestError(`${name} ${short(header)} names no entity tag, such as "102"`);
  return { any: false, strong, weak };
}

const NONE: readonly number[] = [];

/** What a write demands. Reused: one object per request in flight. */
export class WriteCondition {
  condition: ConditionCode = Condition.NONE;
  version = 0;
  /** Asked for by a header: a mismatch is 412, not 409. */
  byHeader = false;
  /** If-Match with several tags: any of these will do. */
  accepted: readonly number[] = NONE;
  /** If-None-Match with tags: any version but these, or none. Not a condition of the store: read, then compare and set. */
  refused: readonly number[] = NONE;
  /** No version can ever match, as with If-Match of a weak tag. */
  never = false;

  reset(): void {
    this.condition = Condition.NONE;
    this.version = 0;
    this.byHeader = false;
    this.accepted = NONE;
    this.refused = NONE;
    this.never = false;
  }

  /** `version` is -1 and the headers are '' where they were not given. Throws where they contradict each other. */
  set(version: number, ifMatch: string, ifNoneMatch: string): void {
    this.reset();
    if (ifMatch !== '' && ifNoneMatch !== '')
      throw new BadRequestError('If-Match and If-None-Match together; a write takes one of them');
    if (ifMatch !== '') this.#match(parseTags(ifMatch, 'If-Match'));
    else if (ifNoneMatch !== '') this.#noneMatch(parseTags(ifNoneMatch, 'If-None-Match'));
    if (version < 0) return;
    if (this.byHeader) this.#agree(version, ifMatch === '' ? ifNoneMatch : ifMatch);
    this.condition = Condition.VERSION;
    this.version = version;
  }

  #match(tags: Tags): void {
    this.byHeader = true;
    if (tags.any) this.condition = Condition.EXISTS;
    else {
      this.condition = Condition.VERSION;
      this.accepted = tags.strong;
      this.version = tags.strong[0] ?? 0;
      this.never = tags.strong.length === 0;
    }
  }

  #noneMatch(tags: Tags): void {
    this.byHeader = true;
    if (tags.any) this.condition = Condition.VERSION;
    else this.refused = tags.weak;
  }

  /** A version beside a header must say no less than the header, for one condition alone goes to the store. */
  #agree(version: number, header: string): void {
    const agrees =
      this.refused.length > 0
        ? false
        : this.condition === Condition.EXISTS
          ? version > 0
          : this.accepted.length > 0
            ? this.accepted.includes(version)
            : version === this.version && !this.never;
    if (!agrees)
      throw new BadRequestError(
        `version ${version} contradicts the condition ${short(header)} in the header`,
      );
    this.accepted = NONE;
  }
}

/** Why a write was refused; `found` is the current version, 0 where the key is absent. */
export function mismatchMessage(condition: number, version: number, found: number): string {
  const wanted =
    condition === Condition.EXISTS
      ? 'an existing key'
      : version === 0
        ? 'an absent key'
        : `version ${version}`;
  const current = found === 0 ? 'the key is absent' : `the current version is ${found}`;
  return `the write demands ${wanted} and ${current}; nothing was written`;
}

export const READ_PROCEEDS = 0;
export const READ_NOT_MODIFIED = 1;
export const READ_FAILED = 2;

/** What the conditions of a GET or HEAD come to; `version` is 0 where the key is absent. */
export function evaluateRead(ifMatch: string, ifNoneMatch: string, version: number): number {
  if (ifMatch !== '') {
    const tags = parseTags(ifMatch, 'If-Match');
    if (version === 0 || !(tags.any || tags.strong.includes(version))) return READ_FAILED;
  }
  if (ifNoneMatch !== '' && version !== 0) {
    const tags = parseTags(ifNoneMatch, 'If-None-Match');
    if (tags.any || tags.weak.includes(version)) return READ_NOT_MODIFIED;
  }
  return READ_PROCEEDS;
}
