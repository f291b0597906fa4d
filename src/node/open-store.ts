/**
 * Opens a store in the caller's process: the same shards as a server's, with the calling thread as their one client.
 * An open store keeps its process alive; `close` ends all threads, so that the process can end by itself.
 */
import { systemClock } from '../base/clock.ts';
import { createDoorbell } from '../ipc/doorbell.ts';
import { RingShardClient } from '../shard/shard-client.ts';
import { LocalPeer } from './client-peer.ts';
import type { Log } from './contract.ts';
import { NodeThreads } from './node-threads.ts';
import { configOfOpen, type OpenOptions } from './open-options.ts';
import { Store } from './store.ts';

const silent: Log = () => undefined;

/**
 * Opens the store at `path`, or makes a new one. Rejects with ConfigurationError, LockedError (another process or another
 * `open` has it), CorruptionError, FormatVersionError, DiskFullError and IoError; nothing is left running then.
 */
export async function openStore(options: OpenOptions): Promise<Store> {
  const config = configOfOpen(options);
  const keep = { shards: options.shards === undefined, vnodes: options.vnodes === undefined };
  const threads = new NodeThreads(config, keep, options.log ?? silent);
  const { shards, vnodes, maxKeyBytes, maxValueBytes } = threads.config;
  const doorbell = createDoorbell();
  const client = new RingShardClient({ shards, vnodes, doorbell, clock: systemClock });
  const peer = new LocalPeer(client, doorbell);
  try {
    await threads.start([peer], false);
  } catch (error) {
    peer.close();
    client.close();
    await threads.close();
    throw error;
  }
  return new Store({
    client,
    clock: systemClock,
    maxKeyBytes,
    maxValueBytes,
    onClose: () => {
      peer.close();
      return threads.close();
    },
  });
}
