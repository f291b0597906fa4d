/**
 * The ways between one client and one shard: a channel for requests and one for replies. The main thread makes
 * them and posts each end, as plain data, to the thread that it belongs to. A shard that is started again gets new
 * ones: nothing of its predecessor can be mistaken for its own.
 */
import type { MessagePort } from 'node:worker_threads';
import { type ChannelReaderEnd, type ChannelWriterEnd, createChannel, portsOf } from '../ipc/channel.ts';
import type { MemtableSetMemory } from '../ipc/contract.ts';
import type { DoorbellMemory } from '../ipc/doorbell.ts';
import type { RecordCacheMemory } from '../ipc/record-cache-layout.ts';

/** For RingShardClient.attach. */
export interface ShardClientEnds {
  readonly shard: number;
  readonly requests: ChannelWriterEnd;
  readonly replies: ChannelReaderEnd;
  /** null: a coordinator, which has none. */
  readonly memtables: MemtableSetMemory | null;
  /** null: the shard has none. */
  readonly recordCache: RecordCacheMemory | null;
}
/** For ShardServer.attach. `client` is a number that the main thread gives, one for each client. */
export interface ShardServerEnds {
  readonly client: number;
  readonly requests: ChannelReaderEnd;
  readonly replies: ChannelWriterEnd;
}
export interface ShardConnection {
  readonly client: ShardClientEnds;
  readonly server: ShardServerEnds;
}

export interface ConnectionOptions {
  readonly shard: number;
  readonly client: number;
  /** Of the thread that the client runs on; one for all its shards. */
  readonly clientDoorbell: DoorbellMemory;
  /** Of the shard's thread; one for all its clients. */
  readonly shardDoorbell: DoorbellMemory;
  readonly memtables: MemtableSetMemory | null;
  readonly recordCache?: RecordCacheMemory | null;
  readonly ringBytes?: number;
}

export function connectShard(options: ConnectionOptions): ShardConnection {
  const { shard, client, clientDoorbell, shardDoorbell, memtables, recordCache = null, ringBytes } = options;
  const requests = createChannel(shardDoorbell, ringBytes);
  const replies = createChannel(clientDoorbell, ringBytes);
  return {
    client: { shard, requests: requests.writer, replies: replies.reader, memtables, recordCache },
    server: { client, requests: requests.reader, replies: replies.writer },
  };
}

/** The transfer list for posting either end. */
export const portsOfEnds = (ends: ShardClientEnds | ShardServerEnds): MessagePort[] => [
  ...portsOf(ends.requests),
  ...portsOf(ends.replies),
];
