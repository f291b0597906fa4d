/**
 * The fingerprint of a write: 64 bits over everything it asks for, so that a repeat under one Idempotency-Key is
 * told from a different write. The ttl counts as given: the expiry it leads to moves with the clock.
 */
import { hashToken, token } from '../base/token.ts';
import type { ShardRequest } from '../shard/contract.ts';

const bytes = new Uint8Array(40);
const view = new DataView(bytes.buffer);

/** Sets the fingerprint of a request whose other fields are set. Changes `token`. */
export function setFingerprint(request: ShardRequest, ttlMs: number): void {
  hashToken(request.value);
  view.setUint32(0, token.hi);
  view.setUint32(4, token.lo);
  view.setUint32(8, request.tokenHi);
  view.setUint32(12, request.tokenLo);
  view.setUint32(16, request.op);
  view.setUint32(20, request.condition);
  view.setFloat64(24, request.version);
  view.setFloat64(32, ttlMs);
  hashToken(bytes);
  request.fingerprintHi = token.hi;
  request.fingerprintLo = token.lo;
}
