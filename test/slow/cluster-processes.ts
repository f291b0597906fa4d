/** Nodes of one cluster as real processes on free ports, and a writer that remembers every acknowledged write. */
import type { ClusterStatus, KeyStatus } from '../../src/cluster/administration.ts';
import { type Process, urlOf, type Workplace } from './cli-process.ts';

const SETTLE_MS_MAX = 90_000;
const POLL_MS = 100;
/** Between two writes of one line. */
const PACE_MS = 10;
const NO_CONTENT = 204;

export interface ClusterMember {
  readonly name: string;
  process: Process;
  url: string;
  peer: string;
  nodeId: string;
}

export async function getJson<T>(url: string, path: string): Promise<T> {
  const answer = await fetch(`${url}${path}`);
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as T;
}
export const statusOf = (url: string): Promise<ClusterStatus> => getJson(url, '/v1/cluster');

/** Polls, because what is waited for happens in other processes. */
export async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  let last: unknown = null;
  for (let waitedMs = 0; waitedMs < SETTLE_MS_MAX; waitedMs += POLL_MS) {
    try {
      if (await holds()) return;
      last = null;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
  throw new Error(`not within ${SETTLE_MS_MAX} ms: ${what}`, { cause: last });
}

export class ProcessCluster {
  readonly members: ClusterMember[] = [];
  readonly #place: Workplace;
  constructor(place: Workplace) {
    this.#place = place;
  }

  /** Starts a node that joins the first one, and waits until it serves; its place in the ring comes later. */
  async start(name: string, ...flags: string[]): Promise<ClusterMember> {
    const [first] = this.members;
    const seeds = first === undefined ? [] : ['--seeds', first.peer];
    const process = this.#serve(name, '0', '0', [...seeds, ...flags]);
    const url = await urlOf(process);
    const { self, nodes } = await statusOf(url);
    const peer = nodes.find(({ nodeId }) => nodeId === self)?.address ?? '';
    const member = { name, process, url, peer, nodeId: self };
    this.members.push(member);
    return member;
  }
  /** The same node again, at other addresses: the old ports may have gone to somebody else. */
  async restart(member: ClusterMember, ...flags: string[]): Promise<void> {
    member.process = this.#serve(member.name, '0', '0', flags);
    member.url = await urlOf(member.process);
    const { self, nodes } = await statusOf(member.url);
    member.peer = nodes.find(({ nodeId }) => nodeId === self)?.address ?? '';
  }
  /** The same node again, at the address where other nodes know it; clients find it at another. */
  async restartInPlace(member: ClusterMember): Promise<void> {
    const port = member.peer.slice(member.peer.lastIndexOf(':') + 1);
    member.process = this.#serve(member.name, '0', port, []);
    member.url = await urlOf(member.process);
  }
  async kill(...members: readonly ClusterMember[]): Promise<void> {
    for (const { process } of members) process.kill('SIGKILL');
    await Promise.all(members.map(({ process }) => process.ended));
  }

  /** Until every node that runs sees this many members, all up, and no change of the ring. */
  async settled(count: number): Promise<void> {
    await eventually(`${count} members, up, and no change under way`, async () => {
      const running = this.members.filter(({ process }) => process.running);
      const all = await Promise.all(running.map(({ url }) => statusOf(url)));
      return all.every(({ nodes, change }) => {
        const members = nodes.filter(({ member }) => member);
        return change === null && members.length === count && members.every(({ state }) => state === 'up');
      });
    });
  }

  /** Until all replicas of each key hold the same. */
  async identical(keys: readonly string[]): Promise<void> {
    const url = this.members.find(({ process }) => process.running)?.url ?? '';
    await inParallel(keys, (key) =>
      eventually(`replicas of ${key} are the same`, async () => {
        const { replicas } = await getJson<KeyStatus>(url, `/v1/cluster/key/${key}`);
        const told = replicas.map(({ state, version, checksum }) => `${state} ${version} ${checksum}`);
        return new Set(told).size === 1 && replicas[0]?.state === 'live';
      }),
    );
  }

  #serve(name: string, port: string, peerPort: string, flags: readonly string[]): Process {
    const own = ['--port', port, '--peer-port', peerPort, '--data', this.#place.path(name), '--rack', name];
    return this.#place.start('serve', ...own, '--vnodes', '64', '--memtable-bytes', '4MiB', ...flags);
  }
}

/** Writes at QUORUM without stand-ins, one after another on several lines, until it is stopped. */
export class Writer {
  readonly acknowledged = new Map<string, string>();
  readonly failures: string[] = [];
  readonly #urls: () => readonly string[];
  readonly #lines: Promise<void>[] = [];
  #stopped = false;

  constructor(urls: () => readonly string[], lines: number) {
    this.#urls = urls;
    for (let line = 0; line < lines; line++) this.#lines.push(this.#run(line));
  }
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lines);
  }
  /** Until so many writes more are acknowledged. */
  async more(count: number): Promise<void> {
    const wanted = this.acknowledged.size + count;
    await eventually(`${count} more acknowledged writes`, () =>
      Promise.resolve(this.acknowledged.size >= wanted),
    );
  }

  async #run(line: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const urls = this.#urls();
      const url = urls[(line + i) % urls.length] ?? '';
      const key = `line-${line}-${i}`;
      const value = `value ${line} ${i}`;
      const failed = this.failures.length;
      try {
        const answer = await fetch(`${url}/v1/kv/${key}?consistency=QUORUM&sloppy=false`, {
          method: 'PUT',
          body: value,
          headers: { 'content-type': 'application/octet-stream' },
        });
        if (answer.status === NO_CONTENT) this.acknowledged.set(key, value);
        else this.failures.push(`${answer.status} ${await answer.text()}`);
      } catch (error) {
        this.failures.push(`${String(error)}: ${String((error as Error).cause)}`);
      }
      // A gentle load: the machine's few cores belong to the nodes.
      const pauseMs = this.failures.length === failed ? PACE_MS : POLL_MS;
      await new Promise((done) => setTimeout(done, pauseMs));
    }
  }
}

/** Keys whose value at QUORUM is not what was acknowledged. */
export async function missing(url: string, acknowledged: ReadonlyMap<string, string>): Promise<string[]> {
  const lost: string[] = [];
  await inParallel([...acknowledged], async ([key, value]) => {
    const answer = await fetch(`${url}/v1/kv/${key}?consistency=QUORUM`, {
      headers: { accept: 'application/octet-stream' },
    });
    const got =
      answer.status === 200 ? await answer.text() : `status ${answer.status}: ${await answer.text()}`;
    if (got !== value) lost.push(`${key}: ${got}`);
  });
  return lost;
}

async function inParallel<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const line = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await run(item);
  };
  await Promise.all(Array.from({ length: 16 }, line));
}
