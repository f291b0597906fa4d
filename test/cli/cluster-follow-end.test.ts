/** When a change that is waited for is over, and what becomes of a server that does not answer: by a clock that the answers turn. */
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { BadRequestError, OverloadedError, TimeoutError, UnavailableError } from '../../src/base/errors.ts';
import { follow } from '../../src/cli/cluster-follow.ts';
import type { Context } from '../../src/cli/context.ts';
import { ExitCode } from '../../src/cli/exit-codes.ts';
import { InterruptedError } from '../../src/cli/failure.ts';
import { Output } from '../../src/cli/output.ts';
import { ConnectionError } from '../../src/client/errors.ts';
import type { ClusterChange, ClusterStatus } from '../../src/cluster/administration.ts';
import { GONE, idOf, leaving, nodeOf, QUIET, statusOf } from './cluster-statuses.ts';
import { Collected } from './harness.ts';

/** Beyond what any test has to do. */
const ASKED_MAX = 20;
type Answer = ClusterStatus | Error | (() => Error);
interface World {
  /** Of the last answer; it is given again where more are asked for. */
  readonly answers: readonly Answer[];
  /** Time that each answer takes. */
  readonly stepMs?: number;
  readonly terminal?: boolean;
}
const lostOf = (message: string): ConnectionError => new ConnectionError(message, false);
const LEAVE: ClusterChange = { do: 'decommission', node: idOf(3) };
const BEFORE = statusOf(4);

/** How it ended, how many answers it took, and what standard error holds. */
async function followed(
  what: ClusterChange,
  before: ClusterStatus | null,
  { answers, stepMs = 0, terminal = false }: World,
): Promise<{ readonly error: unknown; readonly asked: number; readonly text: string }> {
  const clock = new ManualClock(1_700_000_000_000);
  const collected = new Collected();
  collected.isTTY = terminal;
  const interrupt = new AbortController();
  const context = { clock, stderr: new Output(collected, terminal), interrupted: interrupt.signal };
  let asked = 0;
  const client = {
    clusterStatus: (): Promise<ClusterStatus> => {
      const answer = answers[Math.min(asked++, answers.length - 1)] as Answer;
      if (asked > ASKED_MAX) return Promise.reject(new Error('it is asked without end'));
      clock.advanceMs(stepMs);
      if (answer instanceof Error) return Promise.reject(answer);
      if (typeof answer !== 'function') return Promise.resolve(answer);
      interrupt.abort();
      return Promise.reject(answer());
    },
  };
  const error: unknown = await follow(what, before, client, context as unknown as Context).then(
    () => null,
    (failure: unknown) => failure,
  );
  return { error, asked, text: collected.text };
}

describe('a change that is waited for', () => {
  it('is not over before it shows in the ring', async () => {
    const { error, asked } = await followed(LEAVE, BEFORE, {
      answers: [BEFORE, leaving([]), statusOf(6, { nodes: GONE })],
    });
    expect([error, asked]).toEqual([null, 3]);
  });

  it('is over where there is nothing to do for it: the ring stays as it is', async () => {
    const { error, asked } = await followed({ do: 'reweigh', node: idOf(2), weight: 1 }, BEFORE, {
      answers: [BEFORE],
      stepMs: 6_000,
    });
    expect([error, asked]).toEqual([null, 2]);
  });

  it('of which a repair is over only when none runs any more, though one ended meanwhile', async () => {
    const running = { ...QUIET, running: true, lastEndMs: 5 };
    const { error, asked } = await followed({ do: 'repair' }, BEFORE, {
      answers: [statusOf(4, { repair: running }), statusOf(4, { repair: { ...QUIET, lastEndMs: 6 } })],
    });
    expect([error, asked]).toEqual([null, 2]);
  });

  it('is over though repairs run that nobody asked for here', async () => {
    const repair = { ...QUIET, running: true, waitsFor: ['3 vnodes wait for replicas'] };
    const { error, asked, text } = await followed(LEAVE, BEFORE, {
      answers: [leaving([], { repair }), statusOf(6, { nodes: GONE, repair })],
    });
    expect([error, asked, text]).toEqual([null, 2, '']);
  });

  it('of which a join is over when the node has its data, as well as a place in the ring', async () => {
    const joining = { kind: 'join', node: idOf(1), by: '', phase: 'copying', waitsFor: [] } as const;
    const { error, asked } = await followed({ do: 'join', seeds: [] }, null, {
      answers: [statusOf(4, { change: joining }), statusOf(6)],
    });
    expect([error, asked]).toEqual([null, 2]);
  });

  it('says what it waits for again when it waits for that again', async () => {
    const { text } = await followed(LEAVE, BEFORE, {
      answers: [
        leaving(['node a is down']),
        leaving([]),
        leaving(['node a is down']),
        statusOf(6, { nodes: GONE }),
      ],
    });
    expect(text).toBe('ringkv: waits: node a is down\n'.repeat(2));
  });

  it('is judged by the node that was meant: in capital letters, or the one that was asked', async () => {
    const nodes = [nodeOf(1), nodeOf(0xab)];
    const still = await followed({ do: 'decommission', node: '000000AB' }, BEFORE, {
      answers: [statusOf(6, { nodes })],
    });
    expect(String(still.error)).toContain('decommission was undone');
    const before = statusOf(4, { self: idOf(2) });
    const left = [nodeOf(1), nodeOf(2, { member: false })];
    const gone = await followed({ do: 'decommission' }, before, {
      answers: [statusOf(6, { nodes: left, self: idOf(2) })],
    });
    expect(gone.error).toBe(null);
  });

  it('shows which part of it is done, to a person', async () => {
    const nodes = [
      nodeOf(1, { gains: 10, gained: 4 }),
      nodeOf(2),
      nodeOf(3, { leaveMarks: 5, leaveMarksMost: 6 }),
    ];
    const repair = { ...QUIET, vnodesDone: 1, vnodesWaiting: 3 };
    const end = statusOf(6, { nodes: GONE });
    const busy = await followed(LEAVE, BEFORE, {
      answers: [leaving([]), leaving([], { nodes, repair }), end],
      terminal: true,
    });
    // Vnodes 4 of 10, marks 1 of 6, repairs 1 of 4.
    expect(busy.text).toContain(' 30% ');
    // Of nothing, nothing is done.
    expect(busy.text).toContain(' 0% ');
    expect(busy.text).not.toContain('100%');
    // The cursor is shown again.
    expect(busy.text.lastIndexOf('\x1B[?25h')).toBeGreaterThan(busy.text.lastIndexOf('\x1B[?25l'));
  });
});

describe('a server that does not answer a change that is waited for', () => {
  const passing = [
    lostOf('refused'),
    new UnavailableError('a shard restarts'),
    new TimeoutError('too slow'),
    new OverloadedError('too much'),
  ];

  it.each(passing.map((error) => [error.name, error] as const))(
    'is asked again for so long, and no longer, where it ends with a %s',
    async (_, passes) => {
      const passed = await followed(LEAVE, BEFORE, {
        answers: [passes, statusOf(6, { nodes: GONE })],
        stepMs: 20_000,
      });
      expect([passed.error, passed.asked]).toEqual([null, 2]);
      const stays = await followed(LEAVE, BEFORE, { answers: [passes], stepMs: 20_000 });
      expect(stays.error).toMatchObject({
        exitCode: ExitCode.UNAVAILABLE,
        message: `decommission goes on by itself, but the server has not answered for 30000 ms: ${passes.message}`,
      });
      expect(stays.asked).toBe(2);
    },
  );

  it('has so long again after each answer', async () => {
    const lost = lostOf('refused');
    const { error, asked } = await followed(LEAVE, BEFORE, {
      answers: [lost, leaving([]), lost, statusOf(6, { nodes: GONE })],
      stepMs: 20_000,
    });
    expect([error, asked]).toEqual([null, 4]);
  });

  it('is waited for as long as it takes where it looks for the cluster that it is to join', async () => {
    const looking = new UnavailableError('this node has not found its cluster yet');
    const { error, asked } = await followed({ do: 'join', seeds: [] }, null, {
      answers: [looking, looking, looking, statusOf(6)],
      stepMs: 20_000,
    });
    expect([error, asked]).toEqual([null, 4]);
  });

  it('is not asked again where it refuses', async () => {
    const refused = new BadRequestError('no such path');
    const { error, asked } = await followed(LEAVE, BEFORE, { answers: [refused] });
    expect([error, asked]).toEqual([refused, 1]);
  });

  it('is asked no more when the command is interrupted', async () => {
    const ended = await followed(LEAVE, BEFORE, { answers: [() => new DOMException('ended', 'AbortError')] });
    expect(ended.error).toBeInstanceOf(InterruptedError);
    const lost = await followed(LEAVE, BEFORE, { answers: [() => lostOf('ended')] });
    expect(lost.error).toBeInstanceOf(InterruptedError);
    expect([ended.asked, lost.asked]).toEqual([1, 1]);
  });
});
