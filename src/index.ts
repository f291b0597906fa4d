/** The embedded store: `import { open } from 'ringkv'`. What stands here is the package's promise; the rest is not. */
export {
  BadRequestError,
  ClosedError,
  ConfigurationError,
  CorruptionError,
  DiskFullError,
  FormatVersionError,
  IoError,
  KeyTooLargeError,
  LockedError,
  OverloadedError,
  ReadOnlyError,
  ResourceError,
  RingKvError,
  ShardDownError,
  TimeoutError,
  UnavailableError,
  ValueTooLargeError,
  VersionMismatchError,
} from './base/errors.ts';
export type { Compression, Durability } from './engine/contract.ts';
export type { Log, LogLevel } from './node/contract.ts';
export type { OpenOptions } from './node/open-options.ts';
export { openStore as open } from './node/open-store.ts';
export { Snapshot, Store } from './node/store.ts';
export type {
  BatchOp,
  BatchResult,
  Bytes,
  Entry,
  PutOptions,
  ScanEntry,
  ScanOptions,
  WriteOptions,
} from './node/store-types.ts';
