/**
 * SIGINT and SIGTERM: the first asks for a clean end, a later one ends the process at once. Ctrl-C under `npm start`
 * reaches a process twice, from the terminal and from npm, so that a repeat within REPEAT_MS counts as the same one.
 * SIGHUP keeps its default, which `nohup` relies on.
 */
import type { EventEmitter } from 'node:events';
import type { Clock } from '../base/clock.ts';

export const REPEAT_MS = 1000;
const numbers = { SIGINT: 2, SIGTERM: 15 } as const;
const SIGNALLED = 128;

export interface WatchedSignals {
  readonly interrupted: AbortSignal;
  readonly stop: () => void;
}

/** `force` gets the exit code that shells give a process that the signal ended. */
export function watchSignals(
  source: EventEmitter,
  clock: Clock,
  force: (exitCode: number) => void,
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
  const stop = (): void => {
    for (const [name, handler] of Object.entries(handlers)) source.off(name, handler);
  };
  return { interrupted: controller.signal, stop };
}
