/** The headers that the front end knows, read in one pass into one reused object. Front-end thread. */
import type { HttpRequest } from 'uWebSockets.js';
import { BadRequestError } from '../base/errors.ts';
import { contentLengthOf } from './media.ts';
import { HttpError, short } from './outcome.ts';

export class Heads {
  accept = '';
  contentType = '';
  contentEncoding = '';
  ifMatch = '';
  ifNoneMatch = '';
  timeout = '';
  idempotencyKey = '';
  hasIdempotencyKey = false;
  /** Announced bytes of the body; -1 where it comes in chunks or not at all. */
  contentLength = -1;
  chunked = false;
  readonly #lengths: string[] = [];
  #transferEncoding = '';
  readonly #take = (name: string, value: string): void => this.#set(name, value);

  /** Throws where the framing of the body is ambiguous or unknown: uWebSockets.js would take the first length. */
  read(request: HttpRequest): void {
    this.accept = '';
    this.contentType = '';
    this.contentEncoding = '';
    this.ifMatch = '';
    this.ifNoneMatch = '';
    this.timeout = '';
    this.idempotencyKey = '';
    this.hasIdempotencyKey = false;
    this.#lengths.length = 0;
    this.#transferEncoding = '';
    this.contentLength = -1;
    this.chunked = false;
    request.forEach(this.#take);
    this.chunked = this.#transferEncoding !== '';
    if (this.chunked && this.#transferEncoding.toLowerCase() !== 'chunked')
      throw new HttpError(
        501,
        'BAD_REQUEST',
        `Transfer-Encoding ${short(this.#transferEncoding)}; only chunked is known`,
      );
    this.contentLength = contentLengthOf(this.#lengths);
  }

  #set(name: string, value: string): void {
    switch (name) {
      case 'accept':
        this.accept = joined(this.accept, value);
        break;
      case 'content-type':
        this.contentType = once(name, this.contentType, value);
        break;
      case 'content-encoding':
        this.contentEncoding = joined(this.contentEncoding, value);
        break;
      case 'content-length':
        this.#lengths.push(value);
        break;
      case 'transfer-encoding':
        this.#transferEncoding = joined(this.#transferEncoding, value);
        break;
      case 'if-match':
        this.ifMatch = joined(this.ifMatch, value === '' ? ',' : value);
        break;
      case 'if-none-match':
        this.ifNoneMatch = joined(this.ifNoneMatch, value === '' ? ',' : value);
        break;
      case 'x-ringkv-timeout':
        this.timeout = once(name, this.timeout, value === '' ? ' ' : value);
        break;
      case 'idempotency-key':
        this.idempotencyKey = once(name, this.idempotencyKey, value);
        this.hasIdempotencyKey = true;
        break;
    }
  }
}

/** A list header given in parts is one list. */
const joined = (before: string, value: string): string => (before === '' ? value : `${before}, ${value}`);

function once(name: string, before: string, value: string): string {
  if (before !== '' && before !== value)
    throw new BadRequestError(`header ${name} is given twice: ${short(before)} and ${short(value)}`);
  return value;
}
