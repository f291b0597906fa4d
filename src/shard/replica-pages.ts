/** Pages of a replica's records over one shard's engine (contract of ReplicaPage). Owned by the shard's thread; synchronous. */
import { limits } from '../base/limits.ts';
import { headAt, KEYSPACE_USER, keyLengthAt, keyStartAt, placeAt, recordBytesAt } from '../base/record.ts';
import { Status } from '../base/status.ts';
import type { PageAnswer, PagePlace, ReplicaPage } from '../cluster/contract.ts';
import type { ShardEngine } from '../engine/contract.ts';
import type { SeekTarget } from '../ipc/contract.ts';
import { statusOfError } from './error-status.ts';

const NO_BYTES = new Uint8Array(0);

export function readPage(engine: ShardEngine, page: ReplicaPage): PageAnswer {
  const { firstHi, firstLo, lastHi, lastLo, after, userOnly, prefix, headOnly, recordsMax, bytesMax } = page;
  const from: SeekTarget = after ?? { tokenHi: firstHi, tokenLo: firstLo, keyspace: 0, key: NO_BYTES };
  const parts: Uint8Array[] = [];
  let total = 0;
  let last: PagePlace | null = null;
  try {
    const isDone = engine.rawPage(
      {
        from,
        exclusive: after !== null,
        lastHi,
        lastLo,
        // What is left out has been looked at all the same.
        recordsMax: limits.scanExaminedMax,
        bytesMax: limits.replicaPageReadBytesMax,
      },
      (view, bytes, offset) => {
        const keyAt = keyStartAt(offset);
        const keyLength = keyLengthAt(view, offset);
        last = placeAt(view, bytes, offset);
        if (userOnly && last.keyspace !== KEYSPACE_USER) return true;
        if (!startsWith(bytes, keyAt, keyLength, prefix)) return true;
        const part = headOnly
          ? headAt(view, bytes, offset)
          : bytes.slice(offset, offset + recordBytesAt(view, offset));
        parts.push(part);
        total += part.length;
        return parts.length < recordsMax && total < bytesMax;
      },
    );
    const records = new Uint8Array(total);
    let at = 0;
    for (const part of parts) {
      records.set(part, at);
      at += part.length;
    }
    return { status: Status.OK, records, next: isDone ? null : last, message: '' };
  } catch (error) {
    return { status: statusOfError(error), records: NO_BYTES, next: null, message: (error as Error).message };
  }
}

function startsWith(bytes: Uint8Array, start: number, length: number, prefix: Uint8Array): boolean {
  if (length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}
