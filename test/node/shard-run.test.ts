import { afterEach, describe, expect, it } from 'vitest';
import { CorruptionError, UnavailableError } from '../../src/base/errors.ts';
import type { Job, JobResult } from '../../src/engine/contract.ts';
import { createDoorbell } from '../../src/ipc/doorbell.ts';
import { createStopFlag, StopFlag } from '../../src/ipc/stop-flag.ts';
import type { ClientPeer } from '../../src/node/client-peer.ts';
import { PortJobRunner, plainError } from '../../src/node/job-port.ts';
import type { ShardSettings } from '../../src/node/shard-options.ts';
import { ShardThread } from '../../src/node/shard-run.ts';
import type { ShardClientEnds } from '../../src/shard/shard-ends.ts';
import type {
  PlainFailure,
  ShardCommand,
  ShardEvent,
  ShardThreadData,
} from '../../src/shard/shard-thread.ts';

const settings = { origin: 1 } as ShardSettings;
const verify: Job = {
  kind: 'verify',
  fileSystem: { kind: 'memory' },
  directory: '/',
  table: { blockBytes: 512, compression: 'none', bloomBitsPerKey: 10 },
  ownership: { vnodes: 8, shards: 1, shard: 0 },
  stop: createStopFlag(),
  tables: [],
};
const until = async (holds: () => boolean): Promise<void> => {
  for (let turns = 0; !holds(); turns++) {
    if (turns > 10_000) throw new Error('it never came');
    await new Promise((done) => setImmediate(done));
  }
};
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** The shard's thread, played by the test. */
class Played {
  data: ShardThreadData | null = null;
  readonly commands: ShardCommand[] = [];
  end: (failure: PlainFailure | null) => void = () => undefined;
  die: (error: Error) => void = () => undefined;
  readonly attached: ShardClientEnds[] = [];
  /** Client 1 takes its time. */
  turn: () => void = () => undefined;
  jobEnd: () => void = () => undefined;
  jobs = 0;
  readonly refusals: string[] = [];
  readonly thread: ShardThread;

  constructor(isRestart = false) {
    const slow = new Promise<void>((done) => {
      this.turn = done;
    });
    const peer = (wait: Promise<void>): ClientPeer => ({
      doorbell: createDoorbell(),
      detach: () => undefined,
      attach: (one) => {
        this.attached.push(one);
        return wait;
      },
    });
    this.thread = new ShardThread({
      directory: '/shard-0',
      ownership: { vnodes: 8, shards: 1, shard: 0 },
      settings,
      isRestart,
      arenaBytes: 65_536,
      recordCacheBytes: 0,
      pool: { run: (data: unknown) => this.#run(data as ShardThreadData) as Promise<never> },
      jobs: { run: () => this.#job() },
      peers: [peer(Promise.resolve()), peer(slow)],
      onWritesRefused: (reason) => this.refusals.push(reason),
      log: () => undefined,
    });
  }
  #run(data: ShardThreadData): Promise<PlainFailure | null> {
    this.data = data;
    data.control.on('message', (command: ShardCommand) => this.commands.push(command));
    ends.push(() => data.control.close());
    return new Promise((resolve, reject) => {
      this.end = resolve;
      this.die = reject;
    });
  }
  #job(): Promise<JobResult> {
    this.jobs++;
    return new Promise((_resolve, reject) => {
      this.jobEnd = () => reject(new UnavailableError('told to stop'));
    });
  }
  say(event: ShardEvent): void {
    this.data?.control.postMessage(event);
  }
}

describe('a life of a shard', () => {
  it('gives the shard the requests of its clients when all of them have turned to it', async () => {
    const played = new Played();
    let ready = false;
    void played.thread.ready.then(() => {
      ready = true;
    });
    await new Promise((done) => setImmediate(done));
    expect(played.attached).toEqual([]);
    played.say({ kind: 'open', versionMax: 7 });
    await until(() => played.attached.length === 2);
    await new Promise((done) => setTimeout(done, 20));
    expect([played.commands, ready]).toEqual([[], false]);
    played.turn();
    await until(() => played.commands.length === 2);
    expect(played.commands.map((command) => command.kind)).toEqual(['attach', 'attach']);
    expect(ready).toBe(true);
    played.thread.close();
    await until(() => played.commands.length === 3);
    expect(played.commands[2]?.kind).toBe('close');
    played.end(null);
    expect(await played.thread.ended).toBeNull();
  });

  it('is told whether it is the first of the shard', async () => {
    for (const isRestart of [false, true]) {
      const played = new Played(isRestart);
      await until(() => played.data !== null);
      expect(played.data?.isRestart).toBe(isRestart);
      played.end(null);
      await expect(played.thread.ready).rejects.toThrow('ended before it served');
    }
  });

  it('ends when its thread is gone, its stop flag raised, and its jobs have ended', async () => {
    const played = new Played();
    await until(() => played.data !== null);
    const { data } = played;
    if (data?.jobs === null || data === null) throw new Error('no way for jobs');
    const runner = new PortJobRunner(data.jobs);
    ends.push(() => runner.close());
    runner.run(verify).catch(() => undefined);
    await until(() => played.jobs === 1);
    let ended = false;
    void played.thread.ended.then(() => {
      ended = true;
    });
    played.die(new Error('worker exited with code: 1'));
    await expect(played.thread.ready).rejects.toThrow('worker exited with code: 1');
    await new Promise((done) => setTimeout(done, 20));
    expect(new StopFlag(data.engine.stop).raised).toBe(true);
    expect(ended).toBe(false);
    played.jobEnd();
    expect(await played.thread.ended).toMatchObject({ message: 'worker exited with code: 1' });
  });

  it('passes on why it cannot be opened, with the class of the error', async () => {
    const played = new Played();
    const failure = plainError(new CorruptionError('/shard-0/MANIFEST-0000000001', 48, 'checksum'));
    played.say({ kind: 'failed', error: failure });
    await expect(played.thread.ready).rejects.toMatchObject({
      code: 'CORRUPTION',
      file: '/shard-0/MANIFEST-0000000001',
    });
    played.end(failure);
    expect(await played.thread.ended).toBeInstanceOf(CorruptionError);
  });

  it('rejects `ready` where it ends before, and says when writes are refused', async () => {
    const played = new Played();
    played.say({ kind: 'writes-refused', reason: 'the disk is full' });
    await until(() => played.refusals.length === 1);
    expect(played.refusals).toEqual(['the disk is full']);
    played.end(null);
    await expect(played.thread.ready).rejects.toThrow('shard 0 ended before it served');
  });
});
