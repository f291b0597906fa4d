import { EventEmitter } from 'node:events';
import { resolve } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import {
  CorruptionError,
  FormatVersionError,
  IoError,
  ListenError,
  LockedError,
} from '../../src/base/errors.ts';
import { createLog } from '../../src/cli/log.ts';
import { Output } from '../../src/cli/output.ts';
import { npmParent, REPEAT_MS, watchSignals } from '../../src/cli/signals.ts';
import type { Log, NodeConfig, RunningNode } from '../../src/node/contract.ts';
import { packageVersion } from '../../src/node/package-version.ts';
import { Collected, World } from './harness.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.remove());

class FakeNode implements RunningNode {
  readonly url = 'http://127.0.0.1:4711';
  readonly nodeId = '0'.repeat(32);
  readonly config: NodeConfig;
  readonly failed: Promise<Error>;
  fail: (error: Error) => void = () => undefined;
  closes = 0;
  renewals = 0;
  onClose: () => Promise<void> = () => Promise.resolve();
  constructor(config: NodeConfig) {
    this.config = config;
    this.failed = new Promise((fail) => {
      this.fail = fail;
    });
  }
  renewCertificates(): void {
    this.renewals += 1;
  }
  close(): Promise<void> {
    this.closes += 1;
    return this.onClose();
  }
}

/** Runs `serve` over a fake node until `then` has done its part. */
async function serve(
  flags: readonly string[],
  then: (node: FakeNode, stop: () => void, log: Log) => void | Promise<void>,
  options: { stdout?: Writable; stderr?: Collected; onHangup?: (run: () => void) => void } = {},
) {
  const interrupt = new AbortController();
  let node: FakeNode | null = null;
  const outcome = await world.run(['serve', ...flags], {
    interrupted: interrupt.signal,
    ...options,
    startNode: async (config, log) => {
      node = new FakeNode(config);
      const made = node;
      log('info', 'starting', { shards: config.shards });
      await Promise.resolve();
      setImmediate(() => void then(made, () => interrupt.abort(), log));
      return made;
    },
  });
  return { ...outcome, node: node as unknown as FakeNode };
}

describe('serve', () => {
  it('looks at its certificates at SIGHUP, and leaves that signal alone where it has none', async () => {
    const tls = ['cert', 'key', 'ca'].flatMap((what) => [`--peer-tls-${what}`, `${what}.pem`]);
    for (const [flags, renewals] of [
      [tls, [0, 1]],
      [[], []],
    ] as const) {
      const hangups: (() => void)[] = [];
      const seen: number[] = [];
      await serve(
        flags,
        (node, stop) => {
          for (const hangup of hangups) {
            seen.push(node.renewals);
            hangup();
            seen.push(node.renewals);
          }
          stop();
        },
        { onHangup: (run) => void hangups.push(run) },
      );
      expect(seen).toEqual(renewals);
    }
  });

  it('says `ready URL` on standard output and nothing else, and ends with 0 when it is asked to', async () => {
    const { code, out, err, node } = await serve([], (_, stop) => stop());
    expect({ code, out, closes: node.closes }).toEqual({
      code: 0,
      out: 'ready http://127.0.0.1:4711\n',
      closes: 1,
    });
    for (const line of err.split('\n').filter((one) => one.startsWith('{'))) JSON.parse(line);
    expect(err).toContain('"msg":"stopped"');
  });

  it('tells a person where it listens, where its data is, how many shards, which durability, how to stop it', async () => {
    const { err, node } = await serve(
      ['--data', 'some/where', '--shards', '3', '--durability', 'interval'],
      (_, stop) => stop(),
    );
    expect(node.config).toMatchObject({ data: 'some/where', shards: 3, durability: 'interval' });
    expect(err).toContain(`RingKV ${packageVersion}\n`);
    expect(err).toMatch(/^ {2}address +http:\/\/127\.0\.0\.1:4711$/m);
    expect(err).toContain(resolve('some/where'));
    expect(err).toMatch(/^ {2}shards +3$/m);
    expect(err).toMatch(/^ {2}durability +interval: .*1000 ms$/m);
    expect(err).toMatch(/^ {2}stop +Ctrl-C, or kill [0-9]+$/m);
    expect((await serve(['--in-memory'], (_, stop) => stop())).err).toContain(
      'nothing is left after the end',
    );
  });

  it('ends without a word of readiness where it is stopped before it serves', async () => {
    const interrupt = new AbortController();
    const node = new FakeNode({} as NodeConfig);
    const startNode = (): Promise<RunningNode> => {
      interrupt.abort();
      return Promise.resolve(node);
    };
    const outcome = await world.run(['serve'], { interrupted: interrupt.signal, startNode });
    expect(outcome).toMatchObject({ code: 0, out: '' });
    expect(node.closes).toBe(1);
  });

  it('waits until the node has ended', async () => {
    let ended = false;
    await serve([], (node, stop) => {
      node.onClose = async () => {
        await new Promise((done) => setTimeout(done, 30));
        ended = true;
      };
      stop();
    });
    expect(ended).toBe(true);
  });

  it('ends with 6 and the reason where the node gives up, and says what keeps it from closing', async () => {
    const given = await serve([], (node) => node.fail(new Error('shard 1 dies again and again')));
    expect(given.code).toBe(6);
    expect(given.node.closes).toBe(1);
    expect(given.err).toContain('ringkv: the node gave up: shard 1 dies again and again\n');
    const stuck = await serve([], (node, stop) => {
      node.onClose = () => Promise.reject(new IoError('sync failed', 'EIO'));
      stop();
    });
    expect(stuck.code).toBe(5);
  });

  it('serves on where nobody reads its output', async () => {
    const stdout = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
    });
    const { code, node } = await serve([], (_, stop) => void setTimeout(stop, 20), { stdout });
    expect({ code, closes: node.closes }).toEqual({ code: 0, closes: 1 });
  });

  const failures: readonly (readonly [what: string, error: Error, code: number])[] = [
    ['a port that is taken', new ListenError('cannot listen on 127.0.0.1:8080'), 4],
    ['a locked directory', new LockedError('./data: process 7 holds it'), 5],
    ['an unreadable directory', new IoError('readdir ./data: EACCES', 'EACCES'), 5],
    ['a newer format', new FormatVersionError('./data/node.json has format version 2'), 5],
    ['damage', new CorruptionError('./data/CURRENT', 0, 'not JSON'), 5],
    ['a defect', new TypeError('x is not a function'), 70],
  ];
  it.each(failures)('says in one line why it cannot start: %s', async (_, error, code) => {
    const outcome = await world.run(['serve'], { startNode: () => Promise.reject(error) });
    expect(outcome).toEqual({
      code,
      out: '',
      bytes: Buffer.alloc(0),
      err: `ringkv: cannot start: ${error.message}\n`,
    });
  });

  it('shows the stack of an error only where it is asked for', async () => {
    const startNode = (): Promise<never> => Promise.reject(new LockedError('held'));
    expect((await world.run(['serve'], { startNode })).err).not.toContain('    at ');
    const environment = { NODE_DEBUG: 'ringkv' };
    expect((await world.run(['serve'], { startNode, environment })).err).toContain('    at ');
  });
});

describe('signals', () => {
  it('ask for the end once, and force it only after a while', () => {
    const source = new EventEmitter();
    const clock = new ManualClock(0);
    const forced: number[] = [];
    const { interrupted, stop } = watchSignals(source, clock, (code) => forced.push(code));
    expect(interrupted.aborted).toBe(false);
    source.emit('SIGINT');
    expect(interrupted.aborted).toBe(true);
    clock.advanceMs(REPEAT_MS - 1);
    source.emit('SIGINT');
    source.emit('SIGTERM');
    expect(forced).toEqual([]);
    clock.advanceMs(1);
    source.emit('SIGINT');
    source.emit('SIGTERM');
    expect(forced).toEqual([130, 143]);
    stop();
    expect(source.eventNames()).toEqual([]);
  });
});

describe('a process that npm has started', () => {
  it('ends with its parent, and no other does', async () => {
    expect(npmParent({})).toBeNull();
    expect(npmParent({ npm_lifecycle_event: 'test' })).toBeNull();
    expect(npmParent({ npm_lifecycle_event: 'start' })?.()).toBe(process.ppid);
    let parent = 7;
    const watched = watchSignals(
      new EventEmitter(),
      new ManualClock(0),
      () => undefined,
      () => parent,
    );
    const other = watchSignals(new EventEmitter(), new ManualClock(0), () => undefined);
    parent = 1;
    await expect.poll(() => watched.interrupted.aborted, { timeout: 10_000 }).toBe(true);
    expect(other.interrupted.aborted).toBe(false);
    watched.stop();
    other.stop();
  });
});

describe('the log', () => {
  const logged = (terminal: boolean, level: NodeConfig['logLevel'], write: (log: Log) => void): string => {
    const stream = new Collected();
    write(createLog(level, new Output(stream, terminal)));
    return stream.text;
  };

  it('is a JSON object a line, with what an error says', () => {
    const text = logged(false, 'info', (log) => {
      log('warn', 'hello\nthere', { shard: 3, error: new IoError('sync: EIO', 'EIO') });
      log('debug', 'unseen');
    });
    expect(text.split('\n')).toHaveLength(2);
    expect(JSON.parse(text)).toMatchObject({
      level: 'warn',
      msg: 'hello\nthere',
      shard: 3,
      error: { message: 'sync: EIO', code: 'IO' },
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    });
  });

  it('is plain lines on a terminal', () => {
    const text = logged(true, 'debug', (log) => log('debug', 'hello', { shard: 3, name: 'a b' }));
    expect(text).toMatch(/^\d\d:\d\d:\d\d\.\d{3} debug hello shard=3 name="a b"\n$/);
  });

  it('says nothing at silent', () => {
    expect(logged(false, 'silent', (log) => log('error', 'lost'))).toBe('');
  });
});
