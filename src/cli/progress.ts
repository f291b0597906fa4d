/** A progress bar on standard error, where a person watches; otherwise nothing. */
import { Presets, SingleBar } from 'cli-progress';
import type { Context } from './context.ts';

export interface Progress {
  /** `done` of the total that `startProgress` was told, and how many records that was. */
  update(done: number, records: number): void;
  stop(): void;
}

const UPDATES_PER_SECOND = 10;
const silent: Progress = { update: () => undefined, stop: () => undefined };

/** `total` 0: nobody knows how much there is, and records are counted only. */
export function startProgress(what: string, total: number, context: Context): Progress {
  const { stderr } = context;
  if (!stderr.isTerminal) return silent;
  const format =
    total > 0
      ? `${what} [{bar}] {percentage}% | {records} records | ETA {eta}s`
      : `${what} | {records} records`;
  const bar = new SingleBar(
    { format, fps: UPDATES_PER_SECOND, stream: stderr.stream as NodeJS.WriteStream, hideCursor: true },
    Presets.shades_classic,
  );
  bar.start(Math.max(1, total), 0, { records: 0 });
  return {
    update: (done, records) => bar.update(total > 0 ? Math.min(done, total) : 0, { records }),
    stop: () => bar.stop(),
  };
}
