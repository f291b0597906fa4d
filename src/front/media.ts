/** Media types: what a body is by its Content-Type, and what an answer shall be by Accept (RFC 9110, section 12.5.1). */

import { BadRequestError } from '../base/errors.ts';
import { short, unsupportedMediaType } from './outcome.ts';

export const JSON_TYPE = 'application/json';
export const BYTES_TYPE = 'application/octet-stream';
export const CBOR_TYPE = 'application/cbor';

const CHARSETS: readonly string[] = ['utf-8', 'utf8', 'us-ascii'];

/** The media type of a body, one of `supported`. `absent` is what a body without a Content-Type is; '' refuses it. */
export function mediaTypeOf(header: string, supported: readonly string[], absent: string): string {
  if (header === JSON_TYPE || header === BYTES_TYPE) {
    if (supported.includes(header)) return header;
  } else if (header === '' && absent !== '') return absent;
  const [essence = '', ...parameters] = header.split(';').map((part) => part.trim());
  const type = essence.toLowerCase();
  if (!supported.includes(type)) throw unsupportedMediaType(header, supported.join(' or '));
  for (const parameter of parameters) {
    const match = /^charset="?([^"]*)"?$/i.exec(parameter);
    if (match !== null && type === JSON_TYPE && !CHARSETS.includes((match[1] ?? '').toLowerCase()))
      throw unsupportedMediaType(header, 'JSON in UTF-8');
  }
  return type;
}

/** A body in a content coding would be stored as it came: refused, so that no value is silently a gzip of itself. */
export function checkEncoding(contentEncoding: string): void {
  if (contentEncoding !== '' && contentEncoding.toLowerCase() !== 'identity')
    throw unsupportedMediaType(`with Content-Encoding ${contentEncoding}`, 'the body as it is');
}

/**
 * The best of `offered` (first is preferred among equals) for an Accept header. Where none is acceptable, the
 * first: an answer in JSON says more than a bare 406.
 */
export function negotiate(accept: string, offered: readonly string[]): string {
  const first = offered[0] as string;
  if (accept === '' || accept === '*/*') return first;
  if (offered.includes(accept)) return accept;
  let best = first;
  let bestQuality = 0;
  for (const type of offered) {
    const quality = qualityOf(accept.toLowerCase(), type);
    if (quality > bestQuality) {
      best = type;
      bestQuality = quality;
    }
  }
  return best;
}

/** The quality that the most specific matching range gives to a type; 0 where none matches. */
function qualityOf(accept: string, type: string): number {
  const group = `${type.slice(0, type.indexOf('/'))}/*`;
  let found = -1;
  let quality = 0;
  for (const range of accept.split(',')) {
    const [name = '', ...parameters] = range.split(';').map((part) => part.trim());
    const rank = name === type ? 2 : name === group ? 1 : name === '*/*' ? 0 : -1;
    if (rank <= found) continue;
    found = rank;
    const q = parameters.find((parameter) => parameter.startsWith('q='));
    const value = q === undefined ? 1 : Number(q.slice(2));
    quality = value >= 0 && value <= 1 ? value : 0;
  }
  return quality;
}

/** The number of bytes that Content-Length headers announce, -1 for none. Differing ones are an attack on framing. */
export function contentLengthOf(lengths: readonly string[]): number {
  const [first] = lengths;
  if (first === undefined) return -1;
  const other = lengths.find((length) => length !== first);
  if (other !== undefined)
    throw new BadRequestError(`Content-Length ${short(first)} and ${short(other)} in one request`);
  return /^[0-9]{1,15}$/.test(first) ? Number(first) : -1;
}
