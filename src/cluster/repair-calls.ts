/** The calls of a Replica as promises, for flows that are rare enough: repair, streaming. Statuses but OK become errors. */
import { OverloadedError, type RingKvError, TimeoutError, UnavailableError } from '../base/errors.ts';
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

function errorOf(status: number, message: string, what: string): RingKvError {
  const text = `${what}: ${message === '' ? `status ${status}` : message}`;
  if (status === Status.TIMEOUT) return new TimeoutError(text);
  if (status === Status.OVERLOADED) return new OverloadedError(text);
  return new UnavailableError(text);
}

function called<T extends { readonly status: number; readonly message: string }>(
  what: string,
  call: (done: (answer: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    call((answer) => {
      if (answer.status === Status.OK) resolve(answer);
      else reject(errorOf(answer.status, answer.message, what));
    });
  });
}

export const treeOf = (replica: Replica, request: ReplicaTree): Promise<TreeAnswer> =>
  called('building a tree', (done) => replica.tree(request, done));
export const treeNodesOf = (replica: Replica, request: ReplicaTreeNodes): Promise<TreeNodesAnswer> =>
  called('reading a tree', (done) => replica.treeNodes(request, done));
export const pageOf = (replica: Replica, request: ReplicaPage): Promise<PageAnswer> =>
  called('reading a page', (done) => replica.page(request, done));
export const readOf = (replica: Replica, request: ReplicaRead): Promise<ReadAnswer> =>
  called('reading a record', (done) => replica.read(request, done));
/** Whatever the status. */
export const writeTo = (replica: Replica, request: ReplicaWrite): Promise<WriteAnswer> =>
  new Promise((resolve) => replica.write(request, resolve));
export { errorOf };
