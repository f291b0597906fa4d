/**
 * SIGINT and SIGTERM: the first asks for a clean end, a later one ends the process at once. Ctrl-C under `npm start`
 * reaches a process twice, from the terminal and from npm, so that a repeat within REPEAT_MS counts as the same one.
 * SIGTERM to npm does not reach it at all: npm passes it to the shell between them, which dies of it. So the end of the
 * parent counts as a signal where npm says that it has started the process.
 * SIGHUP keeps its default, which `nohup` relies on, except in a node with certificates (serve.ts).
 */
import type { EventEmitter } from 'node:events';
import type { Clock } from '../base/clock.ts';

export const REPEAT_MS = 1000;
const PARENT_MS = 250;
const numbers = { SIGINT: 2, SIGTERM: 15 } as const;
const SIGNALLED = 128;

export interface WatchedSignals {
  readonly interrupted: AbortSignal;
  readonly stop: () => void;
}

/** The parent of this process, for watchSignals, where npm has started it for a package's `start` or `cluster`, or as npx; else null. */
export function npmParent(environment: Readonly<Record<string, string | undefined>>): (() => number) | null {
  const { npm_lifecycle_event: event } = environment;
  return event === 'start' || event === 'cluster' || event === 'npx' ? () => process.ppid : null;
}

/** `force` gets the exit code that shells give a process that the signal ended. */
export function watchSignals(
  source: EventEmitter,
  clock: Clock,
  force: (exitCode: number) => void,
  parent: (() => number) | null = null,
): WatchedSignals {
  const controller = new AbortController();
  let firstMs = 0;
  const on = (name: keyof typeof numbers) => (): void => {
    const nowMs = clock.monotonicMs();
    if (!controller.signal.aborted) {
      firstMs = nowMs;
      controller.abort();
    } else if (nowMs - firstMs >= REPEAT_MS) force(SIGNALLED + numbers[name]);
  };
  const handlers = { SIGINT: on('SIGINT'), SIGTERM: on('SIGTERM') };
  for (const [name, handler] of Object.entries(handlers)) source.on(name, handler);
  const firstParent = parent?.();
  const watch = setInterval(() => {
    if (parent?.() !== firstParent) controller.abort();
  }, PARENT_MS);
  // Watching is no work that keeps a process alive.
  watch.unref();
  const stop = (): void => {
    clearInterval(watch);
    for (const [name, handler] of Object.entries(handlers)) source.off(name, handler);
  };
  return { interrupted: controller.signal, stop };
}
