/** What a run does at the moment: a bar where a person watches, and a line for each phase elsewhere. */
import { Presets, SingleBar } from 'cli-progress';
import type { SeriesPoint } from './latencies.ts';
import type { Watcher } from './run.ts';

const UPDATES_PER_SECOND = 5;
const whole = (value: number): string => Math.round(value).toLocaleString('en-US');

export function watcherOf(stream: NodeJS.WriteStream, quiet: boolean): Watcher & { end(): void } {
  if (quiet) return { phase: () => undefined, interval: () => undefined, end: () => undefined };
  return stream.isTTY ? new Bar(stream) : new Lines(stream);
}

class Lines implements Watcher {
  readonly #stream: NodeJS.WriteStream;
  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }
  phase(name: string, seconds: number): void {
    this.#stream.write(`${name}${seconds > 0 ? ` for ${seconds} s` : ''}\n`);
  }
  interval(): void {
    // A log has no use for it.
  }
  end(): void {
    // Nothing stands open.
  }
}

class Bar implements Watcher {
  readonly #stream: NodeJS.WriteStream;
  #bar: SingleBar | null = null;
  #seconds = 0;
  #begunMs = 0;
  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }
  phase(name: string, seconds: number): void {
    this.end();
    this.#seconds = seconds;
    this.#begunMs = performance.now();
    const format = seconds > 0 ? `${name} [{bar}] {value}/{total} s | {figures}` : `${name} | {figures}`;
    this.#bar = new SingleBar(
      { format, fps: UPDATES_PER_SECOND, stream: this.#stream, hideCursor: true },
      Presets.shades_classic,
    );
    this.#bar.start(Math.max(1, seconds), 0, { figures: '' });
  }
  interval({ okPerSecond, failedPerSecond, p50Ms, p99Ms }: SeriesPoint): void {
    const failed = failedPerSecond > 0 ? `, ${whole(failedPerSecond)}/s failed` : '';
    const figures = `${whole(okPerSecond)}/s, p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms${failed}`;
    const passed = Math.floor((performance.now() - this.#begunMs) / 1000);
    this.#bar?.update(Math.min(passed, this.#seconds), { figures });
  }
  end(): void {
    this.#bar?.stop();
    this.#bar = null;
  }
}
