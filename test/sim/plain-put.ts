/** A plain put of a key to itself at QUORUM, as a client asks a simulated node for it. */
import type { MonotonicMs } from '../../src/base/clock.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { type ClientWrite, Consistency } from '../../src/cluster/contract.ts';
import { Condition } from '../../src/shard/contract.ts';

const EMPTY = new Uint8Array(0);

export function plainPut(key: string, sloppy: boolean, deadlineMs: MonotonicMs): ClientWrite {
  hashToken(Buffer.from(key));
  return {
    ...{ tokenHi: token.hi, tokenLo: token.lo, key: Buffer.from(key), value: Buffer.from(key) },
    ...{ expiresMs: 0, consistency: Consistency.QUORUM, sloppy, condition: Condition.NONE },
    ...{ version: 0, idempotencyKey: EMPTY, fingerprintHi: 0, fingerprintLo: 0 },
    deadlineMs,
  };
}
