/**
 * Messages of gossip and failure detection, byte by byte. Pure. One byte of kind, then:
 *
 *   kind       fields
 *   1 PING     seq u32, target u32, news
 *   2 ACK      seq u32, news
 *   3 PROBE    seq u32, target u32, news: asks the receiver to ping `target` and to answer with ACK or NACK
 *   4 NACK     seq u32: the target of a PROBE did not answer the receiver either
 *   5 SYNC     BUCKETS x u32 checksums of the sender's table, news (of the sender itself)
 *   6 DIGESTS  count u16, count x bucket u8; count u16, count x digest: all that the sender holds in these buckets
 *   7 DELTAS   news; count u16, count x (number u32, base u32): wants news of these members, facts above `base`
 *   8 NEWS     news
 *
 *   news       count u16, count x member
 *   member     number u32, generation 8 bytes, incarnation u32, liveness u8, accuser u32, address text, version u32, base u32,
 *              count u8, count x (name text, version u32, kind u8, value: 1 a float of 8 bytes, 2 text)
 *   digest     number u32, generation 8 bytes, incarnation u32, liveness u8, version u32
 *
 * A message is at most limits.gossipMessageBytesMax long: what does not fit waits for the next round.
 */
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { NodeNumber } from './contract.ts';
import { GossipReader, GossipWriter } from './membership-bytes.ts';

export const BUCKETS = 64;
export const DIGEST_BYTES = 21;
const WANT_BYTES = 8;
const NEWS_BYTES_MIN = 32;
const FACT_BYTES_MIN = 11;
const GENERATION_MAX = 2 ** 48;
const NEWS_MAX = limits.membersMax;

/** In the order of precedence among claims of one incarnation. */
export const Claim = { UP: 0, SUSPECT: 1, DOWN: 2, LEFT: 3 } as const;
export type ClaimCode = (typeof Claim)[keyof typeof Claim];

export interface Fact {
  readonly version: number;
  readonly value: string | number;
}
/** What one node tells of a member: where it stands, and the facts that are newer than `base`. */
export interface News {
  readonly number: NodeNumber;
  readonly generation: number;
  readonly incarnation: number;
  readonly claim: ClaimCode;
  /** SUSPECT: who says so; otherwise 0. */
  readonly accuser: NodeNumber;
  readonly address: string;
  /** Of the newest fact. */
  readonly version: number;
  readonly base: number;
  readonly facts: readonly (readonly [name: string, fact: Fact])[];
}
export interface Digest {
  readonly number: NodeNumber;
  readonly generation: number;
  readonly incarnation: number;
  readonly claim: ClaimCode;
  readonly version: number;
}
export interface Want {
  readonly number: NodeNumber;
  readonly base: number;
}

export type Gossip =
  | {
      readonly kind: 'ping' | 'probe';
      readonly seq: number;
      readonly target: NodeNumber;
      readonly news: readonly News[];
    }
  | { readonly kind: 'ack'; readonly seq: number; readonly news: readonly News[] }
  | { readonly kind: 'nack'; readonly seq: number }
  | { readonly kind: 'sync'; readonly checksums: Uint32Array; readonly news: readonly News[] }
  | { readonly kind: 'digests'; readonly buckets: readonly number[]; readonly digests: readonly Digest[] }
  | { readonly kind: 'deltas'; readonly news: readonly News[]; readonly wants: readonly Want[] }
  | { readonly kind: 'news'; readonly news: readonly News[] };

const KINDS = ['', 'ping', 'ack', 'probe', 'nack', 'sync', 'digests', 'deltas', 'news'] as const;
const writer = new GossipWriter();

/** Encodes what fits: the others find the rest by the next exchange of checksums. */
export function encodeGossip(gossip: Gossip): Uint8Array {
  writer.reset();
  writer.u8(KINDS.indexOf(gossip.kind));
  switch (gossip.kind) {
    case 'ping':
    case 'probe':
      writer.u32(gossip.seq);
      writer.u32(gossip.target);
      writeNewsList(gossip.news, 0);
      break;
    case 'ack':
      writer.u32(gossip.seq);
      writeNewsList(gossip.news, 0);
      break;
    case 'nack':
      writer.u32(gossip.seq);
      break;
    case 'sync':
      for (const checksum of gossip.checksums) writer.u32(checksum);
      writeNewsList(gossip.news, 0);
      break;
    case 'digests':
      writer.u16(gossip.buckets.length);
      for (const bucket of gossip.buckets) writer.u8(bucket);
      writer.u16(gossip.digests.length);
      for (const digest of gossip.digests) writeDigest(digest);
      break;
    case 'deltas': {
      const wants = Math.min(gossip.wants.length, limits.gossipWantsMax);
      writeNewsList(gossip.news, 2 + wants * WANT_BYTES);
      writer.u16(wants);
      for (const { number, base } of gossip.wants.slice(0, wants)) {
        writer.u32(number);
        writer.u32(base);
      }
      break;
    }
    case 'news':
      writeNewsList(gossip.news, 0);
      break;
  }
  return writer.take();
}

/** Leaves room for `reserve` bytes behind the news. */
function writeNewsList(list: readonly News[], reserve: number): void {
  const countAt = writer.length;
  writer.u16(0);
  let count = 0;
  for (const news of list) {
    if (!writer.hasRoom(newsBytesBound(news) + reserve)) continue;
    writeNews(news);
    count++;
  }
  writer.patchU16(countAt, count);
}

/** Upper bound: UTF-8 takes up to three bytes a UTF-16 unit. */
function newsBytesBound({ address, facts }: News): number {
  let bytes = NEWS_BYTES_MIN + address.length * 3;
  for (const [name, { value }] of facts)
    bytes += FACT_BYTES_MIN + 8 + name.length * 3 + (typeof value === 'string' ? value.length * 3 : 0);
  return bytes;
}

function writeNews(news: News): void {
  writer.u32(news.number);
  writer.integer(news.generation);
  writer.u32(news.incarnation);
  writer.u8(news.claim);
  writer.u32(news.accuser);
  writer.text(news.address);
  writer.u32(news.version);
  writer.u32(news.base);
  writer.u8(news.facts.length);
  for (const [name, { version, value }] of news.facts) {
    writer.text(name);
    writer.u32(version);
    if (typeof value === 'number') {
      writer.u8(1);
      writer.float(value);
    } else {
      writer.u8(2);
      writer.text(value);
    }
  }
}

function writeDigest(digest: Digest): void {
  writer.u32(digest.number);
  writer.integer(digest.generation);
  writer.u32(digest.incarnation);
  writer.u8(digest.claim);
  writer.u32(digest.version);
}

/** Throws BadRequestError where the bytes are not one message. */
export function decodeGossip(bytes: Uint8Array): Gossip {
  const reader = new GossipReader(bytes);
  const gossip = readGossip(reader);
  reader.end();
  return gossip;
}

function readGossip(reader: GossipReader): Gossip {
  const code = reader.u8();
  const kind = KINDS[code];
  switch (kind) {
    case 'ping':
    case 'probe':
      return { kind, seq: reader.u32(), target: reader.u32(), news: readNewsList(reader) };
    case 'ack':
      return { kind, seq: reader.u32(), news: readNewsList(reader) };
    case 'nack':
      return { kind, seq: reader.u32() };
    case 'sync': {
      const checksums = new Uint32Array(BUCKETS);
      for (let i = 0; i < BUCKETS; i++) checksums[i] = reader.u32();
      return { kind, checksums, news: readNewsList(reader) };
    }
    case 'digests': {
      const buckets = readList(reader, BUCKETS, 1, () => reader.u8());
      const wrong = buckets.find((bucket) => bucket >= BUCKETS);
      if (wrong !== undefined) throw new BadRequestError(`bucket ${wrong} of gossip; there are ${BUCKETS}`);
      return { kind, buckets, digests: readList(reader, limits.membersMax, DIGEST_BYTES, readDigest) };
    }
    case 'deltas': {
      const news = readNewsList(reader);
      const readWant = (): Want => ({ number: readNumber(reader), base: reader.u32() });
      return { kind, news, wants: readList(reader, limits.gossipWantsMax, WANT_BYTES, readWant) };
    }
    case 'news':
      return { kind, news: readNewsList(reader) };
    default:
      throw new BadRequestError(`gossip message of kind ${code}`);
  }
}

function readList<T>(
  reader: GossipReader,
  max: number,
  bytesEach: number,
  read: (of: GossipReader) => T,
): T[] {
  const list: T[] = [];
  for (let count = reader.count(max, bytesEach); count > 0; count--) list.push(read(reader));
  return list;
}
const readNewsList = (reader: GossipReader): News[] => readList(reader, NEWS_MAX, NEWS_BYTES_MIN, readNews);

function readNumber(reader: GossipReader): NodeNumber {
  const number = reader.u32();
  if (number === 0) throw new BadRequestError('node number 0 in a gossip message');
  return number;
}
function readClaim(reader: GossipReader): ClaimCode {
  const claim = reader.u8();
  if (claim > Claim.LEFT) throw new BadRequestError(`liveness ${claim} in a gossip message`);
  return claim as ClaimCode;
}

function readNews(reader: GossipReader): News {
  const number = readNumber(reader);
  const generation = reader.integer(GENERATION_MAX);
  const incarnation = reader.u32();
  const claim = readClaim(reader);
  const accuser = reader.u32();
  const address = reader.text(limits.memberAddressBytesMax);
  const version = reader.u32();
  const base = reader.u32();
  const count = reader.u8();
  if (count > limits.memberFactsMax)
    throw new BadRequestError(`${count} facts of node ${number}; the limit is ${limits.memberFactsMax}`);
  const facts: [string, Fact][] = [];
  for (let i = 0; i < count; i++) facts.push(readFact(reader, number, version));
  return { number, generation, incarnation, claim, accuser, address, version, base, facts };
}

function readFact(reader: GossipReader, number: NodeNumber, newest: number): [string, Fact] {
  const name = reader.text(limits.memberFactNameBytesMax);
  const version = reader.u32();
  const kind = reader.u8();
  if (version > newest)
    throw new BadRequestError(`fact of version ${version} of node ${number}, whose version is ${newest}`);
  if (kind !== 1 && kind !== 2) throw new BadRequestError(`fact of kind ${kind} of node ${number}`);
  return [name, { version, value: kind === 1 ? reader.float() : reader.text(limits.memberFactBytesMax) }];
}

function readDigest(reader: GossipReader): Digest {
  return {
    number: readNumber(reader),
    generation: reader.integer(GENERATION_MAX),
    incarnation: reader.u32(),
    claim: readClaim(reader),
    version: reader.u32(),
  };
}
