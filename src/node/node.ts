/** A node that serves HTTP: the shards, and front-end threads as their clients. Owned by the main thread. */
import { ClosedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { openFiles } from '../vfs/open-files.ts';
import { connectionLimitsOf } from './connection-limits.ts';
import type { Log, NodeConfig, RunningNode } from './contract.ts';
import { FrontThreads } from './front-threads.ts';
import { NodeThreads } from './node-threads.ts';
import { PeerThread } from './peer-threads.ts';
import { newSettled } from './settled.ts';

/**
 * Starts a node and resolves when it serves. Rejects with LockedError, ListenError (both before anything on disk is
 * changed), ConfigurationError, FormatVersionError, CorruptionError, DiskFullError and IoError, and with
 * ClosedError where `interrupted` aborts before it serves; nothing is left running then.
 *
 * A node that waits for its seeds answers over HTTP meanwhile: /healthz that it runs, /readyz and all requests 503.
 */
export async function startNode(
  config: NodeConfig,
  log: Log,
  interrupted: AbortSignal | null = null,
): Promise<RunningNode> {
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
      hold: async (reason) => fronts?.hold(reason),
      release: () => fronts?.release(),
      onNotReady: (reason) => {
        clusterReason = reason;
        tellFronts();
      },
      onDeath: fail,
    });
    const { port: peerPort, waits } = await peer.listen();
    await threads.start([...fronts.peers, peer], true);
    threads.onNotReady = tellFronts;
    const opened = peer.open();
    for (const front of fronts.peers) peer.connect(front);
    const ends = [endOf(interrupted), failure.promise.then((error) => Promise.reject(error))];
    // Not before shards and coordinator: who reaches the port reaches them.
    const listen = async (front: FrontThreads, coordinator: PeerThread): Promise<void> => {
      // What is open now is what the node needs itself.
      const { each, warning } = connectionLimitsOf(openFiles(), effective.frontends);
      if (warning !== '') log('warn', warning);
      await front.listen(each);
      coordinator.setUrl(front.url);
    };
    const isWaiting = waits && (await Promise.race([opened, ...ends, pause(limits.openSoonMs)])) === WAITS;
    if (isWaiting) {
      // The shards are not to be asked by a node that has no place in the ring; the coordinator refuses until then.
      await fronts.coordinate();
      tellFronts();
      await listen(fronts, peer);
      log('info', `${fronts.url} answers, and serves once this node has found its cluster`);
    }
    await Promise.race([opened, ...ends]);
    tellFronts();
    if (!isWaiting) await listen(fronts, peer);
    const { port, url } = fronts;
    const renewCertificates = (): void => peer?.renewTls();
    const running = { url, config: { ...effective, port, peerPort }, nodeId, failed: failure.promise };
    return { ...running, renewCertificates, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const WAITS = 'waits';
function pause(ms: number): Promise<typeof WAITS> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(WAITS), ms);
  });
}

/** Rejects when the start is interrupted. */
function endOf(interrupted: AbortSignal | null): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => reject(new ClosedError('the start was interrupted before the node served'));
    if (interrupted?.aborted === true) end();
    else interrupted?.addEventListener('abort', end, { once: true });
  });
}
