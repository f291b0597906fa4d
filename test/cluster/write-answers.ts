/** Answers of a replica to a write, as tests compare them. */
import { PeerStatus, Status } from '../../src/base/status.ts';
import type { WriteAnswer } from '../../src/cluster/contract.ts';

const plain: WriteAnswer = { status: Status.OK, beat: 0, barred: false, newer: null, message: '' };
export const ok = (newer: Uint8Array | null): WriteAnswer => ({ ...plain, newer });
export const stale = (beat: number, barred: boolean): WriteAnswer => ({
  ...plain,
  status: PeerStatus.STALE_VERSION,
  beat,
  barred,
});
export const refused = (status: number, message: string): WriteAnswer => ({ ...plain, status, message });
