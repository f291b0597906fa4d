/** Batches in JSON and CBOR: the same members in both, values in base64 or as byte strings. */
import { Encoder } from 'cbor-x';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { SloppyCode } from '../shard/contract.ts';
import { checkValueLength } from './bodies.ts';
import { decodeBase64, parseJsonObject } from './json.ts';
import { keyOfField } from './key-text.ts';
import { CBOR_TYPE } from './media.ts';
import { short } from './outcome.ts';
import {
  DELETE_OPTIONS,
  type Fields,
  PUT_OPTIONS,
  READ_OPTIONS,
  RequestOptions,
  readFields,
} from './request-options.ts';

/** Integers of 64 bits are how other libraries write versions; cbor-x would read them as BigInt. Its types lack the name. */
const CBOR_OPTIONS = { useRecords: false, mapsAsObjects: true, tagUint8Array: false, int64AsNumber: true };
const cbor = new Encoder(CBOR_OPTIONS);
const EMPTY = new Uint8Array(0);

export interface BatchOp {
  readonly op: 'put' | 'get' | 'delete';
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly ttlMs: number;
  /** -1: not conditional. */
  readonly version: number;
  readonly consistency: number;
  readonly sloppy: SloppyCode;
  /** A batch takes none. */
  readonly idempotencyKey: '';
}

/** One result; `value` is in base64 for JSON and bytes for CBOR. */
export interface BatchResult {
  readonly status: number;
  readonly version?: number;
  readonly value?: string | Uint8Array;
  readonly ttl?: number;
  /** Acknowledged with the help of stand-ins. */
  readonly sloppy?: true;
  readonly error?: { readonly code: string; readonly message: string; readonly version?: number };
}

/** The ops of a batch, unchecked one by one. Throws where the batch as a whole is malformed. */
export function parseBatch(bytes: Uint8Array, mediaType: string): readonly unknown[] {
  const fields = mediaType === CBOR_TYPE ? decodeCbor(bytes) : parseJsonObject(bytes);
  const unknown = Object.keys(fields).find((name) => name !== 'ops');
  if (unknown !== undefined) throw new BadRequestError(`unknown field ${short(unknown)}; there is ops`);
  const { ops } = fields;
  if (!Array.isArray(ops)) throw new BadRequestError('field ops is missing or no array');
  if (ops.length > limits.batchOpsMax)
    throw new BadRequestError(`a batch of ${ops.length} ops; the limit is ${limits.batchOpsMax}`);
  return ops;
}

/** The bytes are copied: what is decoded points into them. */
function decodeCbor(bytes: Uint8Array): Fields {
  let decoded: unknown;
  try {
    decoded = cbor.decode(Buffer.from(bytes));
  } catch (cause) {
    const reason = (cause as Error).message.slice(0, 200);
    throw new BadRequestError(`the body is not one CBOR item: ${reason}`, { cause });
  }
  if (
    typeof decoded !== 'object' ||
    decoded === null ||
    Array.isArray(decoded) ||
    decoded instanceof Uint8Array
  )
    throw new BadRequestError('the body is CBOR but no map');
  return decoded as Fields;
}

const options = new RequestOptions();

/** Checks one op. Throws what is wrong with it. */
export function parseOp(item: unknown, inCbor: boolean, keyBytesMax: number, valueBytesMax: number): BatchOp {
  if (typeof item !== 'object' || item === null || Array.isArray(item))
    throw new BadRequestError('an op is no object');
  const fields = item as Fields;
  const { op, key: keyField } = fields;
  if (op !== 'put' && op !== 'get' && op !== 'delete')
    throw new BadRequestError(
      `op ${typeof op === 'string' ? short(op) : typeof op} is none of put, get, delete`,
    );
  options.reset();
  const own = op === 'put' ? ['op', 'key', 'value'] : ['op', 'key'];
  const allowed = op === 'put' ? PUT_OPTIONS : op === 'delete' ? DELETE_OPTIONS : READ_OPTIONS;
  readFields(fields, allowed, own, options);
  if (inCbor && typeof keyField === 'string' && keyField.includes('\ufffd'))
    throw new BadRequestError('a key that is no valid UTF-8, or has U+FFFD, is a byte string in CBOR');
  const key = keyOfField(keyField, keyBytesMax);
  const value = op === 'put' ? valueOfField(fields.value, inCbor, valueBytesMax) : EMPTY;
  const { ttlMs, version, consistency, sloppy } = options;
  return { op, key, value, ttlMs, version, consistency, sloppy, idempotencyKey: '' };
}

function valueOfField(field: unknown, inCbor: boolean, valueBytesMax: number): Uint8Array {
  let value: Uint8Array;
  if (inCbor) {
    if (!(field instanceof Uint8Array)) throw new BadRequestError('field value is missing or no byte string');
    value = field;
  } else {
    if (typeof field !== 'string')
      throw new BadRequestError('field value is missing or no string; it is the value in base64');
    value = decodeBase64(field, 'value');
  }
  checkValueLength(value.length, valueBytesMax);
  return value;
}

export function encodeResults(results: readonly BatchResult[], mediaType: string): Uint8Array {
  return mediaType === CBOR_TYPE
    ? cbor.encode({ results: results.map(withIntegers) })
    : Buffer.from(JSON.stringify({ results }));
}

/** cbor-x writes a number above 32 bits as a floating-point one, which readers with types refuse for an integer. */
function withIntegers({ version, error, ...rest }: BatchResult): unknown {
  return {
    ...rest,
    ...(version === undefined ? {} : { version: BigInt(version) }),
    ...(error === undefined ? {} : { error: errorWithInteger(error) }),
  };
}

function errorWithInteger({ version, ...rest }: NonNullable<BatchResult['error']>): unknown {
  return version === undefined ? rest : { ...rest, version: BigInt(version) };
}
