/** POST /v1/batch in CBOR (docs/http-api.md, Batches): values travel as they are, not as base64. */
import { ARRAY, BYTES, FLOAT_64, MAP, TEXT, UNSIGNED, writeHead } from '../base/cbor-head.ts';
import { CborReader } from './cbor-reader.ts';
import { bytesOf } from './encoding.ts';
import { errorOfCode, ProtocolError } from './errors.ts';
import { bytesOfRequest, type KvAnswer, KvOp, type KvOpCode, type KvRequest } from './kv.ts';

export const CBOR = 'application/cbor';
/** Of an op besides its key and value: names, the longest op and level, two numbers, heads. */
export const OP_OVERHEAD_BYTES = 128;
const MESSAGE_OVERHEAD_BYTES = 16;
const FAILED = 400;
const MISSING = 404;

const names: Readonly<Record<KvOpCode, string>> = {
  [KvOp.PUT]: 'put',
  [KvOp.GET]: 'get',
  [KvOp.DELETE]: 'delete',
  // Not of HTTP: the server would refuse it.
  [KvOp.PING]: 'ping',
};

export function encodeBatch(requests: readonly KvRequest[]): Uint8Array {
  let size = MESSAGE_OVERHEAD_BYTES;
  for (const request of requests) size += OP_OVERHEAD_BYTES + bytesOfRequest(request);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const head = (kind: number, argument: number): void => {
    at = writeHead(bytes, at, kind, argument);
  };
  const string = (kind: number, content: Uint8Array): void => {
    head(kind, content.length);
    bytes.set(content, at);
    at += content.length;
  };
  const text = (name: string): void => string(TEXT, bytesOf(name));
  const number = (name: string, value: number): void => {
    text(name);
    if (Number.isSafeInteger(value) && value >= 0) head(UNSIGNED, value);
    else {
      // Whatever it is, the server says what is wrong with it.
      bytes[at] = FLOAT_64;
      view.setFloat64(at + 1, value);
      at += 9;
    }
  };
  head(MAP, 1);
  text('ops');
  head(ARRAY, requests.length);
  for (const { op, key, value, consistency, version, ttl } of requests) {
    const options = [value ?? undefined, consistency, version, ttl].filter((one) => one !== undefined);
    head(MAP, 2 + options.length);
    text('op');
    text(names[op]);
    text('key');
    string(BYTES, key);
    if (value !== null) {
      text('value');
      string(BYTES, value);
    }
    if (consistency !== undefined) {
      text('consistency');
      text(consistency);
    }
    if (version !== undefined) number('version', version);
    if (ttl !== undefined) number('ttl', ttl);
  }
  return bytes.subarray(0, at);
}

interface Row {
  readonly status: number;
  readonly version: number;
  readonly ttl: number | null;
  readonly value: Uint8Array | null;
  readonly code: string;
  readonly message: string;
}

/** The outcome of each op, in order. Throws ProtocolError where the bytes are no answer to `ops`. */
export function decodeResults(bytes: Uint8Array, ops: readonly KvOpCode[]): (KvAnswer | Error)[] {
  const reader = new CborReader(bytes, 'the results of a batch');
  let rows: Row[] | null = null;
  for (let left = reader.members('the results'); left > 0; left--)
    if (reader.text('a name') === 'results') rows = reader.column('results', () => row(reader));
    else reader.pass();
  reader.finish();
  if (rows === null || rows.length !== ops.length)
    throw new ProtocolError(`${rows === null ? 'no' : rows.length} results for a batch of ${ops.length}`);
  return rows.map((one, index) => outcome(one, ops[index] as KvOpCode));
}

function row(reader: CborReader): Row {
  let [status, version, code, message] = [0, 0, '', ''];
  let ttl: number | null = null;
  let value: Uint8Array | null = null;
  for (let left = reader.members('a result'); left > 0; left--) {
    const name = reader.text('a name');
    if (name === 'status') status = reader.unsigned(name);
    else if (name === 'version') version = reader.unsigned(name);
    else if (name === 'ttl') ttl = reader.unsigned(name);
    else if (name === 'value') value = reader.byteString(name);
    else if (name !== 'error') reader.pass();
    else
      for (let fields = reader.members(name); fields > 0; fields--) {
        const field = reader.text('a name');
        if (field === 'code') code = reader.text(field);
        else if (field === 'message') message = reader.text(field);
        else reader.pass();
      }
  }
  return { status, version, ttl, value, code, message };
}

function outcome({ status, version, ttl, value, code, message }: Row, op: KvOpCode): KvAnswer | Error {
  const isGet = op === KvOp.GET;
  if (status === MISSING && code === 'NOT_FOUND' && isGet)
    return { found: false, version: 0, ttl: null, value: null };
  if (code !== '' && status >= FAILED) return errorOfCode(code, message === '' ? code : message, version);
  if (code !== '' || status < 200 || status >= 300)
    return new ProtocolError(`a result of a batch with status ${status} and code ${JSON.stringify(code)}`);
  if (isGet !== (value !== null))
    return new ProtocolError(`a success ${isGet ? 'without a' : 'with a'} value in a batch`);
  return { found: true, version, ttl, value };
}
