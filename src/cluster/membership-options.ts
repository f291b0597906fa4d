/** What a node tells of itself, checked against the limits: its address, its seeds, its facts. Pure. */
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';

export interface MembershipOptions {
  /** host:port of this node's peer listener, as others reach it. */
  readonly address: string;
  /** host:port of peer listeners that are asked at the start and while nodes are missing. */
  readonly seeds: readonly string[];
  readonly facts?: ReadonlyMap<string, string | number>;
}

/** Throws BadRequestError. */
export function checkOptions({ address, seeds, facts }: MembershipOptions): void {
  checkText('address', address, limits.memberAddressBytesMax);
  if (seeds.length > limits.seedsMax)
    throw new BadRequestError(`${seeds.length} seeds; the limit is ${limits.seedsMax}`);
  if (facts !== undefined) checkFacts(facts);
}

function checkText(what: string, text: string, bytesMax: number): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > bytesMax) throw new BadRequestError(`${what} of ${bytes} bytes; the limit is ${bytesMax}`);
}
/** Throws BadRequestError. */
export function checkFacts(facts: ReadonlyMap<string, string | number>): void {
  if (facts.size > limits.memberFactsMax)
    throw new BadRequestError(`${facts.size} facts of this node; the limit is ${limits.memberFactsMax}`);
  let bytes = 0;
  for (const [name, value] of facts) {
    checkText('fact name', name, limits.memberFactNameBytesMax);
    if (typeof value === 'string') checkText(`fact ${name}`, value, limits.memberFactBytesMax);
    bytes += Buffer.byteLength(name) + (typeof value === 'string' ? Buffer.byteLength(value) : 8);
  }
  if (bytes > limits.memberFactsBytesMax)
    throw new BadRequestError(`facts of ${bytes} bytes; the limit is ${limits.memberFactsBytesMax}`);
}
