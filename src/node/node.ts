/** A node that serves HTTP: the shards, and front-end threads as their clients. Owned by the main thread. */
import { limits } from '../base/limits.ts';
import type { Log, NodeConfig, RunningNode } from './contract.ts';
import { FrontThreads } from './front-threads.ts';
import { NodeThreads } from './node-threads.ts';

/**
 * Starts a node and resolves when it serves. Rejects with LockedError, ListenError (both before anything on disk is
 * changed), ConfigurationError, FormatVersionError, CorruptionError, DiskFullError and IoError; nothing is left running
 * then.
 */
export async function startNode(config: NodeConfig, log: Log): Promise<RunningNode> {
  const threads = new NodeThreads(config, { shards: false, vnodes: false }, log);
  let fronts: FrontThreads | null = null;
  let closing: Promise<void> | null = null;
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<Error>((resolve) => {
    fail = resolve;
  });
  void threads.failed.then((error) => fail(error));
  const close = (): Promise<void> => {
    closing ??= (async () => {
      await fronts?.close(limits.closeGraceMs);
      await threads.close();
    })();
    return closing;
  };
  try {
    const { config: effective, nodeId } = threads;
    fronts = await FrontThreads.start({ config: effective, nodeId, onDeath: (error) => fail(error) });
    const tellFronts = (reason: string): void => fronts?.setNotReady(reason);
    await threads.start(fronts.peers);
    threads.onNotReady = tellFronts;
    tellFronts(threads.notReady);
    // Not before: who reaches the port reaches every shard.
    await fronts.listen();
    const { port, url } = fronts;
    return { url, config: { ...effective, port }, nodeId, failed, close };
  } catch (error) {
    await close();
    throw error;
  }
}
