/** What the load goes to: nodes that this program starts, nodes that run already, or a store in the generator. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.ts';
import { NodeProcess } from './node-process.ts';

const SETTLE_MS_MAX = 120_000;
const POLL_MS = 200;
/** Of a node that runs already, when it is asked whether it serves. */
const ANSWER_MS_MAX = 5000;

/** A process that holds a store, and can be killed and started. */
export interface StoreProcess {
  readonly name: string;
  readonly url: string;
  readonly pid: number | null;
  readonly running: boolean;
  /** Resolves when it serves. */
  start(signal: AbortSignal): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export interface Target {
  readonly urls: readonly string[];
  /** Those that this program has started; none otherwise. */
  readonly nodes: readonly StoreProcess[];
  /** embedded: of the store; otherwise empty. */
  readonly directory: string;
  /** Ends what was started and removes its directories. */
  close(): Promise<void>;
}

export interface TargetOptions {
  /** Nodes that run already; empty: start some. */
  readonly urls: readonly string[];
  readonly embedded: boolean;
  /** Starts another store instead of nodes, in this directory. */
  readonly peer: ((directory: string) => StoreProcess) | null;
  readonly nodes: number;
  /** Parent of the data directories; empty: the system's for temporary files. */
  readonly parent: string;
  /** By name, as in `--memtable-bytes`. */
  readonly settings: Readonly<Record<string, string>>;
}

interface ClusterNode {
  readonly member: boolean;
  readonly state: string;
}
interface ClusterView {
  readonly change: unknown;
  readonly nodes: readonly ClusterNode[];
}

async function viewOf(url: string): Promise<ClusterView> {
  const answer = await fetch(`${url}/v1/cluster`);
  if (!answer.ok) throw new Error(`${url}/v1/cluster: ${answer.status}`);
  return (await answer.json()) as ClusterView;
}

/** Until every node sees all of them as members that are up, and no change goes on. */
export async function untilSettled(nodes: readonly StoreProcess[], signal: AbortSignal): Promise<void> {
  const end = performance.now() + SETTLE_MS_MAX;
  for (;;) {
    signal.throwIfAborted();
    const views = await Promise.all(nodes.map(({ url }) => viewOf(url).catch(() => null)));
    const settled = views.every((view) => {
      const up = view?.nodes.filter(({ member, state }) => member && state === 'up') ?? [];
      return view !== null && view.change === null && up.length === nodes.length;
    });
    if (settled) return;
    if (performance.now() > end)
      throw new Error(`the ${nodes.length} nodes are no cluster after ${SETTLE_MS_MAX} ms`);
    await sleep(POLL_MS);
  }
}

async function startNodes(
  options: TargetOptions,
  directory: string,
  nodes: StoreProcess[],
  signal: AbortSignal,
): Promise<void> {
  const settings = Object.entries(options.settings).flatMap(([name, value]) => [`--${name}`, value]);
  const isCluster = options.nodes > 1;
  let seeds: string[] = [];
  for (let at = 1; at <= options.nodes; at++) {
    const name = `n${at}`;
    const place = ['--data', join(directory, name), ...settings];
    const peerPort = isCluster ? await freePort() : 0;
    const cluster = isCluster ? ['--peer-port', String(peerPort), '--rack', name, ...seeds] : [];
    const node = new NodeProcess(name, isCluster ? await freePort() : 0, [...place, ...cluster]);
    nodes.push(node);
    await node.start(signal);
    if (at === 1) seeds = ['--seeds', `127.0.0.1:${peerPort}`];
  }
  if (isCluster) await untilSettled(nodes, signal);
}

/** Throws where no node serves there: connections would be tried for ever. */
async function checkServes(url: string): Promise<void> {
  let answer: Response;
  try {
    answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  } catch (error) {
    const { message, cause } = error as Error;
    throw new Error(`no node answers at ${url}: ${cause instanceof Error ? cause.message : message}`);
  }
  if (!answer.ok)
    throw new Error(`the node at ${url} does not serve: ${answer.status} ${await answer.text()}`);
}

/** Throws where nodes do not start; nothing is left behind then. */
export async function openTarget(options: TargetOptions, signal: AbortSignal): Promise<Target> {
  if (options.urls.length > 0) {
    await Promise.all(options.urls.map((url) => checkServes(url)));
    return { urls: options.urls, nodes: [], directory: '', close: () => Promise.resolve() };
  }
  const directory = mkdtempSync(join(options.parent === '' ? tmpdir() : options.parent, 'ringkv-load-'));
  const nodes: StoreProcess[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()));
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    if (options.peer !== null) {
      const peer = options.peer(directory);
      nodes.push(peer);
      await peer.start(signal);
    } else if (!options.embedded) await startNodes(options, directory, nodes, signal);
    const urls = nodes.map(({ url }) => url);
    return { urls, nodes, directory: options.embedded ? join(directory, 'store') : '', close };
  } catch (error) {
    await close();
    throw error;
  }
}
