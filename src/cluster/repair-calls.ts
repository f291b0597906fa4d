/**
 * The calls of a Replica as promises, for flows that are rare enough: repair, streaming. Statuses but OK become errors; a
 * replica that is overloaded is asked again, after a pause that doubles each time.
 */
import { OverloadedError, type RingKvError, TimeoutError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type {
  PageAnswer,
  ReadAnswer,
  Replica,
  ReplicaPage,
  ReplicaRead,
  ReplicaTree,
  ReplicaTreeNodes,
  ReplicaWrite,
  TreeAnswer,
  TreeNodesAnswer,
  WriteAnswer,
} from './contract.ts';

export interface CallTools {
  /** Resolves after about so long; rejects where the work is to end. */
  readonly pause: (ms: number) => Promise<void>;
}

export function errorOf(status: number, message: string, what: string): RingKvError {
  const text = `${what}: ${message === '' ? `status ${status}` : message}`;
  if (status === Status.TIMEOUT) return new TimeoutError(text);
  if (status === Status.OVERLOADED) return new OverloadedError(text);
  return new UnavailableError(text);
}

async function answered<T extends { readonly status: number }>(
  tools: CallTools,
  call: (done: (answer: T) => void) => void,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    const answer = await new Promise<T>(call);
    if (answer.status !== Status.OVERLOADED || attempt >= limits.repairRetriesMax) return answer;
    await tools.pause(limits.repairRetryMsMin * 2 ** attempt);
  }
}
async function called<T extends { readonly status: number; readonly message: string }>(
  tools: CallTools,
  what: string,
  call: (done: (answer: T) => void) => void,
): Promise<T> {
  const answer = await answered(tools, call);
  if (answer.status !== Status.OK) throw errorOf(answer.status, answer.message, what);
  return answer;
}

export const treeOf = (tools: CallTools, replica: Replica, request: ReplicaTree): Promise<TreeAnswer> =>
  called(tools, 'building a tree', (done) => replica.tree(request, done));
export const treeNodesOf = (
  tools: CallTools,
  replica: Replica,
  request: ReplicaTreeNodes,
): Promise<TreeNodesAnswer> => called(tools, 'reading a tree', (done) => replica.treeNodes(request, done));
export const pageOf = (tools: CallTools, replica: Replica, request: ReplicaPage): Promise<PageAnswer> =>
  called(tools, 'reading a page', (done) => replica.page(request, done));
export const readOf = (tools: CallTools, replica: Replica, request: ReplicaRead): Promise<ReadAnswer> =>
  called(tools, 'reading a record', (done) => replica.read(request, done));
/** Whatever the status. */
export const writeTo = (tools: CallTools, replica: Replica, request: ReplicaWrite): Promise<WriteAnswer> =>
  answered(tools, (done) =>
    // Bytes passed in belong to the callee, and an overloaded one is asked again.
    replica.write({ ...request, record: request.record.slice(), also: request.also?.slice() ?? null }, done),
  );
