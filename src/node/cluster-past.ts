/**
 * Whether the node of a data directory is, or ever was, one of several. Its tombstones may then still be missing on other nodes, and
 * only the peer worker knows which (src/cluster/repairs.ts). For a store that is opened without one.
 */
import { RingKvError } from '../base/errors.ts';
import { decodeRing } from '../cluster/ring-codec.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { FileDocuments } from './cluster-documents.ts';
import type { Log } from './contract.ts';

/** `directory` has been served: there are documents of a cluster. What cannot be read counts as a cluster. */
export function wasInCluster(fs: FileSystem, directory: string, log: Log): boolean {
  try {
    const bytes = new FileDocuments(fs, directory).load('ring');
    if (bytes === null) return false;
    // The first ring has its maker alone, and every change makes another.
    const { number, members, change } = decodeRing(bytes);
    return number > 1 || members.length > 1 || change !== null;
  } catch (error) {
    if (!(error instanceof RingKvError)) throw error;
    log('warn', `the ring cannot be read, and no tombstones are purged: ${error.message}`);
    return true;
  }
}
