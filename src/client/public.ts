/** What both entries, index.ts for Node and browser.ts, offer besides connect(). */
export {
  BadRequestError,
  ClosedError,
  DiskFullError,
  KeyTooLargeError,
  OverloadedError,
  ReadOnlyError,
  ResourceError,
  RingKvError,
  ShardDownError,
  TimeoutError,
  UnavailableError,
  ValueTooLargeError,
  VersionMismatchError,
} from '../base/errors.ts';
export type { Client } from './client.ts';
export {
  ConnectionError,
  PartialFailureError,
  ProtocolError,
  RateLimitedError,
  ServerError,
  UnsupportedError,
} from './errors.ts';
export type {
  Bytes,
  CallOptions,
  ConnectOptions,
  Consistency,
  DeleteEntry,
  DeleteManyOptions,
  Entry,
  HedgeOptions,
  PutEntry,
  PutManyOptions,
  PutOptions,
  ReadOptions,
  ScanEntry,
  ScanOptions,
  TlsOptions,
  WriteOptions,
} from './types.ts';
