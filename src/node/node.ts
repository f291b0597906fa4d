/** A node that serves HTTP: the shards, and front-end threads as their clients. Owned by the main thread. */
import { UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Log, NodeConfig, RunningNode } from './contract.ts';
import { FrontThreads } from './front-threads.ts';
import { NodeThreads } from './node-threads.ts';
import { PeerThread } from './peer-threads.ts';
import { newSettled } from './settled.ts';

/**
 * Starts a node and resolves when it serves. `stop` ends the wait of a node with seeds for its cluster, which has no end of its
 * own: UnavailableError. Rejects with LockedError, ListenError (both before anything on disk is
 * changed), ConfigurationError, FormatVersionError, CorruptionError, DiskFullError and IoError; nothing is left running
 * then.
 */
export async function startNode(config: NodeConfig, log: Log, stop: AbortSignal): Promise<RunningNode> {
  const threads = new NodeThreads(config, { shards: false, vnodes: false }, log);
  let fronts: FrontThreads | null = null;
  let peer: PeerThread | null = null;
  let clusterReason = '';
  let closing: Promise<void> | null = null;
  const failure = newSettled<Error>();
  const fail = (error: Error): void => failure.resolve(error);
  void threads.failed.then(fail);
  const close = (): Promise<void> => {
    closing ??= (async () => {
      await fronts?.close(limits.closeGraceMs);
      await peer?.close();
      await threads.close();
    })();
    return closing;
  };
  try {
    const { config: effective, nodeId } = threads;
    fronts = await FrontThreads.start({ config: effective, nodeId, onDeath: fail });
    const tellFronts = (): void => {
      const reasons = [threads.notReady, clusterReason].filter((reason) => reason !== '');
      fronts?.setNotReady(reasons.join('; '));
    };
    peer = new PeerThread({
      config: effective,
      nodeId,
      directory: threads.directory,
      log,
      coordinate: async () => fronts?.coordinate(),
      onNotReady: (reason) => {
        clusterReason = reason;
        tellFronts();
      },
      onDeath: fail,
    });
    const peerPort = await peer.listen();
    await threads.start([...fronts.peers, peer]);
    threads.onNotReady = tellFronts;
    for (const front of fronts.peers) peer.connect(front);
    await Promise.race([peer.open(), stopped(stop)]);
    tellFronts();
    // Not before: who reaches the port reaches every shard, and the cluster.
    await fronts.listen();
    const { port, url } = fronts;
    peer.setUrl(url);
    return { url, config: { ...effective, port, peerPort }, nodeId, failed: failure.promise, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function stopped(stop: AbortSignal): Promise<never> {
  return new Promise((_, fail) => {
    const end = (): void => fail(new UnavailableError('stopped before it had found its cluster'));
    if (stop.aborted) end();
    else stop.addEventListener('abort', end, { once: true });
  });
}
