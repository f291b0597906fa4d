/**
 * Reads a message of answers of ringkv.v1 (docs/websocket.md). Whatever the bytes are, it throws ProtocolError and
 * nothing else, and allocates no more than they could hold. Unknown columns are passed over.
 */
import { CborReader } from './cbor-reader.ts';
import { ProtocolError } from './errors.ts';

export interface WsAnswers {
  readonly ids: readonly number[];
  readonly statuses: readonly number[];
  readonly versions: readonly (number | null)[] | null;
  readonly ttls: readonly (number | null)[] | null;
  readonly messages: readonly (string | null)[] | null;
  readonly values: readonly (Uint8Array | null)[] | null;
  readonly limits: Readonly<Record<string, number>> | null;
}

export function decodeAnswers(bytes: Uint8Array): WsAnswers {
  const reader = new CborReader(bytes, 'a message of ringkv.v1');
  let ids: readonly number[] | null = null;
  let statuses: readonly number[] = [];
  let versions: WsAnswers['versions'] = null;
  let ttls: WsAnswers['ttls'] = null;
  let messages: WsAnswers['messages'] = null;
  let values: WsAnswers['values'] = null;
  let told: WsAnswers['limits'] = null;
  const lengths: number[] = [];
  for (let left = reader.members('the message'); left > 0; left--) {
    const name = reader.text('a column name');
    if (name === 'limits') {
      told = reader.limits();
      continue;
    }
    switch (name) {
      case 'ids':
        ids = reader.column(name, () => reader.unsigned(name));
        break;
      case 'statuses':
        statuses = reader.column(name, () => reader.unsigned(name));
        lengths.push(statuses.length);
        break;
      case 'versions':
        versions = reader.column(name, () => reader.optional(() => reader.unsigned(name)));
        lengths.push(versions.length);
        break;
      case 'ttls':
        ttls = reader.column(name, () => reader.optional(() => reader.unsigned(name)));
        lengths.push(ttls.length);
        break;
      case 'messages':
        messages = reader.column(name, () => reader.optional(() => reader.text(name)));
        lengths.push(messages.length);
        break;
      case 'values':
        values = reader.column(name, () => reader.optional(() => reader.byteString(name)));
        lengths.push(values.length);
        break;
      default:
        reader.pass();
    }
  }
  reader.finish();
  if (ids === null) {
    if (told === null) throw new ProtocolError('a message of answers without ids');
    ids = [];
  }
  const count = ids.length;
  if ((count > 0 && statuses.length !== count) || lengths.some((length) => length !== count))
    throw new ProtocolError(`columns of ${lengths.join(', ')} elements for ${count} ids`);
  return { ids, statuses, versions, ttls, messages, values, limits: told };
}
