/**
 * Anti-entropy of the member table, push and pull: SYNC carries checksums of all buckets; who sees a difference answers with
 * DIGESTS of these buckets; the first sends what it has newer and asks for what it has not (DELTAS), and gets that. Two tables that
 * are equal cost one message of some 300 bytes. Pure: messages in, messages out.
 */
import { limits } from '../base/limits.ts';
import type { NodeNumber } from './contract.ts';
import { DIGEST_BYTES, type Digest, type Gossip, type News, type Want } from './membership-messages.ts';
import { isNewer, type Member, type MemberTable } from './membership-table.ts';

/** Digests that one message holds, with room for its heads. */
const DIGESTS_MAX = Math.floor((limits.gossipMessageBytesMax - 512) / DIGEST_BYTES);

const digestOf = ({ number, generation, incarnation, claim, version }: Member): Digest => ({
  number,
  generation,
  incarnation,
  claim,
  version,
});

/** What to answer to SYNC; null where there is no difference. Buckets that find no room wait for the next round. */
export function digestsOf(table: MemberTable, checksums: Uint32Array): Gossip | null {
  const buckets: number[] = [];
  const digests: Digest[] = [];
  for (const index of table.differing(checksums)) {
    const bucket = table.bucket(index);
    if (digests.length + bucket.size > DIGESTS_MAX) continue;
    buckets.push(index);
    for (const member of bucket) digests.push(digestOf(member));
  }
  return buckets.length === 0 ? null : { kind: 'digests', buckets, digests };
}

/** What to answer to DIGESTS: what is newer here, and what is wanted from there. */
export function deltasFor(
  table: MemberTable,
  buckets: readonly number[],
  digests: readonly Digest[],
): Gossip | null {
  const news: News[] = [];
  const wants: Want[] = [];
  const told = new Set<NodeNumber>();
  for (const digest of digests) {
    told.add(digest.number);
    const held = table.get(digest.number);
    if (held === undefined || digest.generation > held.generation)
      wants.push({ number: digest.number, base: 0 });
    else if (digest.generation < held.generation) news.push(table.newsOf(held, 0));
    else {
      if (isNewer(digest, held) || digest.version > held.version)
        wants.push({ number: digest.number, base: held.version });
      if (isNewer(digestOf(held), digest) || held.version > digest.version)
        news.push(table.newsOf(held, digest.version));
    }
  }
  for (const bucket of buckets)
    for (const member of table.bucket(bucket))
      if (!told.has(member.number)) news.push(table.newsOf(member, 0));
  return news.length === 0 && wants.length === 0 ? null : { kind: 'deltas', news, wants };
}

/** What to answer to the wants of DELTAS. */
export function newsFor(table: MemberTable, wants: readonly Want[]): News[] {
  const news: News[] = [];
  for (const { number, base } of wants) {
    const member = table.get(number);
    if (member !== undefined) news.push(table.newsOf(member, base));
  }
  return news;
}
