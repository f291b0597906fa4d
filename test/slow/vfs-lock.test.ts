import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { testSeed } from '../seed.ts';

type Mode = 'record' | 'kernel';
interface Message {
  readonly event: 'ready' | 'held' | 'locked' | 'released' | 'ended';
  readonly message?: string;
}

const modes: Mode[] = spawnSync('flock', ['--help']).status === 0 ? ['record', 'kernel'] : ['record'];
let root: string;
const takers = new Set<Taker>();

/** A process that takes the lock. */
class Taker {
  readonly process: ChildProcess;
  readonly #seen: Message[] = [];
  #wake: () => void = () => undefined;
  onMessage: (message: Message) => void = () => undefined;

  constructor(mode: Mode, patience: 'try' | 'insist') {
    this.process = fork(resolve(import.meta.dirname, 'vfs-lock-taker.mjs'), [root, mode, patience], {
      execArgv: [],
    });
    this.process.on('exit', () => {
      this.#seen.push({ event: 'ended' });
      this.#wake();
    });
    this.process.on('message', (message: Message) => {
      this.#seen.push(message);
      this.onMessage(message);
      this.#wake();
    });
    takers.add(this);
  }
  get pid(): number {
    return this.process.pid ?? 0;
  }
  send(what: 'take' | 'release' | 'storm'): void {
    this.process.send(what);
  }
  /** The next message, which must be one of these. */
  async next(...events: Message['event'][]): Promise<Message> {
    while (this.#seen.length === 0)
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    const message = this.#seen.shift();
    expect(events).toContain(message?.event);
    return message ?? { event: 'ready' };
  }
  async kill(): Promise<void> {
    takers.delete(this);
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exit = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exit;
  }
}
async function ready(mode: Mode, patience: 'try' | 'insist' = 'try'): Promise<Taker> {
  const taker = new Taker(mode, patience);
  await taker.next('ready');
  return taker;
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-lock-'));
});
afterEach(async () => {
  await Promise.all([...takers].map((taker) => taker.kill()));
  rmSync(root, { recursive: true, force: true });
});

describe('the lock of a data directory', () => {
  it('excludes another process and names the holder; it is free at once when the holder is killed', async () => {
    for (const mode of modes) {
      const holder = await ready(mode);
      holder.send('take');
      await holder.next('held');
      // Whichever way this process looks at it, and however often.
      for (let round = 0; round < 3; round++)
        expect(() => realFileSystem.lock(root)).toThrow(`${root} is locked by process ${holder.pid}`);
      await holder.kill();
      realFileSystem.lock(root).release();
      expect(readdirSync(root)).toEqual(['LOCK']);
    }
  });

  it('is excluded by a process that cannot ask the kernel, and excludes one', async () => {
    const holders = modes.flatMap((holder) => modes.map((taker) => [holder, taker] as const));
    for (const [holderMode, takerMode] of holders) {
      const holder = await ready(holderMode);
      const taker = await ready(takerMode);
      holder.send('take');
      await holder.next('held');
      taker.send('take');
      expect((await taker.next('locked')).message).toContain(`process ${holder.pid}`);
      holder.send('release');
      await holder.next('released');
      taker.send('take');
      await taker.next('held');
      await Promise.all([holder.kill(), taker.kill()]);
    }
  });

  it('goes to exactly one of many takers that find a dead holder at the same time', async () => {
    const rounds = 12;
    for (let round = 0; round < rounds; round++) {
      const mode = modes[round % modes.length] ?? 'record';
      const holder = await ready(mode);
      holder.send('take');
      await holder.next('held');
      const many = await Promise.all(Array.from({ length: 6 }, () => ready(mode)));
      await holder.kill();
      for (const taker of many) taker.send('take');
      const outcomes = await Promise.all(many.map((taker) => taker.next('held', 'locked')));
      expect(outcomes.filter(({ event }) => event === 'held')).toHaveLength(1);
      await Promise.all(many.map((taker) => taker.kill()));
    }
  });

  it('never has two holders in thousands of turns of processes that take it at the same time', async () => {
    const storm = await Promise.all(Array.from({ length: 3 }, () => ready('record')));
    for (const taker of storm) taker.send('storm');
    await Promise.all(storm.map((taker) => taker.next('released')));
  });

  it('never has two holders while takers insist and holders are killed or release', async () => {
    const seed = testSeed();
    const random = new Random(seed);
    for (const mode of modes) {
      let holder: Taker | null = null;
      let holders = 0;
      let isOver = false;
      const problems: string[] = [];
      const crowd = 5;
      const turnsMax = 60;
      let over: () => void = () => undefined;
      const done = new Promise<void>((resolve) => {
        over = resolve;
      });
      const start = (): void => {
        const taker = new Taker(mode, 'insist');
        taker.onMessage = ({ event }) => {
          if (event === 'ready' || event === 'released') taker.send('take');
          if (event !== 'held' || isOver) return;
          if (holder !== null) problems.push(`${taker.pid} took it from ${holder.pid}`);
          holder = taker;
          if (++holders >= turnsMax || problems.length > 0) {
            isOver = true;
            over();
          } else setTimeout(end, random.below(8), taker);
        };
      };
      // From here on the lock may pass on: its end is ordered before any other process can have it.
      const end = (taker: Taker): void => {
        if (isOver) return;
        holder = null;
        if (random.chance(0.5)) taker.send('release');
        else {
          taker.onMessage = () => undefined;
          void taker.kill();
          start();
        }
      };
      for (let taker = 0; taker < crowd; taker++) start();
      await done;
      expect(problems, `seed ${seed}, by ${mode}`).toEqual([]);
      expect(holders).toBe(turnsMax);
      await Promise.all([...takers].map((taker) => taker.kill()));
    }
  });
});
