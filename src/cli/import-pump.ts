/**
 * Writes the records of an import, many at a time. Owned by the command's thread. Invariants:
 * 1. Writes in flight, and the bytes they hold, stay below the two limits below.
 * 2. Of two lines with one key the later wins: it is not sent before the earlier one has ended.
 * 3. A record counts as acknowledged only after its write has resolved.
 * 4. When it ends, whatever the reason, nothing is in flight.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { BadRequestError, OverloadedError, TimeoutError, UnavailableError } from '../base/errors.ts';
import { MiB } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { ConnectionError, RateLimitedError } from '../client/errors.ts';
import { BadLineError, type ImportRecord, isBlank, parseImportLine } from './import-record.ts';
import type { Line } from './ndjson-lines.ts';

export const IN_FLIGHT_BYTES_MAX = 64 * MiB;
const BACKOFF_MS_FIRST = 10;
const BACKOFF_MS_MAX = 1000;

export interface ImportOptions {
  readonly put: (record: ImportRecord) => Promise<unknown>;
  readonly inFlightMax: number;
  /** Longest line that was kept: for messages. */
  readonly lineBytesMax: number;
  readonly skipBad: boolean;
  /** How long, without a single acknowledgement, writes are repeated. */
  readonly retryForMs: number;
  /** Ends reading; what is in flight may end, but is not repeated. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly random: Random;
  readonly onAcknowledged: (record: ImportRecord) => void;
  /** What holds the import back before the next write; null: nothing. */
  readonly behind: () => Promise<void> | null;
  readonly onBad: (line: number, what: string) => void;
}

export interface ImportCounts {
  records: number;
  acknowledged: number;
  /** Lines that are no records, and records that the store refuses for what they are. */
  bad: number;
  /** Records whose write failed, or whose outcome is unknown. */
  failed: number;
}

/** The first thing that ended an import before its end. */
export class ImportStop extends Error {
  override readonly name = 'ImportStop';
  /** 0 where no line is to blame. */
  readonly line: number;
  constructor(line: number, what: string, options?: ErrorOptions) {
    super(what, options);
    this.line = line;
  }
}

export class ImportPump {
  readonly counts: ImportCounts = { records: 0, acknowledged: 0, bad: 0, failed: 0 };
  readonly #options: ImportOptions;
  readonly #keys = new Set<string>();
  #inFlight = 0;
  #bytes = 0;
  #stop: ImportStop | null = null;
  #wake: (() => void) | null = null;
  #progressMs: number;

  constructor(options: ImportOptions) {
    this.#options = options;
    this.#progressMs = options.clock.monotonicMs();
  }

  /** Reads to the end, to the first failure or to the signal. Returns what stopped it, or null. Throws what `lines` throws. */
  async run(lines: AsyncIterable<Line>): Promise<ImportStop | null> {
    try {
      for await (const line of lines) {
        if (this.#ended()) break;
        const record = this.#parse(line);
        if (record === null) continue;
        const name = Buffer.from(record.key).toString('latin1');
        while (!this.#ended() && this.#mustWait(name, record)) await this.#change();
        if (this.#ended()) break;
        this.#start(line.number, name, record);
        const behind = this.#options.behind();
        if (behind !== null) await behind;
      }
    } finally {
      while (this.#inFlight > 0) await this.#change();
    }
    return this.#stop;
  }

  #ended(): boolean {
    return this.#stop !== null || this.#options.signal.aborted;
  }

  #parse(line: Line): ImportRecord | null {
    if (line.bytes !== null && isBlank(line.bytes)) return null;
    this.counts.records += 1;
    try {
      if (line.bytes === null)
        throw new BadLineError(`longer than the ${this.#options.lineBytesMax} bytes that a line may have`);
      return parseImportLine(withoutMark(line));
    } catch (error) {
      if (!(error instanceof BadLineError)) throw error;
      this.#bad(line.number, error.message, error);
      return null;
    }
  }

  #bad(line: number, what: string, cause: unknown): void {
    this.counts.bad += 1;
    if (this.#options.skipBad) this.#options.onBad(line, what);
    else this.#stop ??= new ImportStop(line, what, { cause });
  }

  #mustWait(name: string, record: ImportRecord): boolean {
    if (this.#inFlight === 0) return false;
    return (
      this.#inFlight >= this.#options.inFlightMax ||
      this.#bytes + bytesOf(record) > IN_FLIGHT_BYTES_MAX ||
      this.#keys.has(name)
    );
  }

  /** Resolves when the next write has ended. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #start(line: number, name: string, record: ImportRecord): void {
    this.#inFlight += 1;
    this.#bytes += bytesOf(record);
    this.#keys.add(name);
    void this.#write(line, record).finally(() => {
      this.#inFlight -= 1;
      this.#bytes -= bytesOf(record);
      this.#keys.delete(name);
      this.#wake?.();
      this.#wake = null;
    });
  }

  async #write(line: number, record: ImportRecord): Promise<void> {
    const { clock, onAcknowledged, put, random, retryForMs } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        await put(record);
        this.counts.acknowledged += 1;
        this.#progressMs = clock.monotonicMs();
        onAcknowledged(record);
        return;
      } catch (error) {
        if (error instanceof BadRequestError) {
          this.#bad(line, error.message, error);
          return;
        }
        const waitedMs = clock.monotonicMs() - this.#progressMs;
        if (this.#ended() || !isTransient(error) || waitedMs >= retryForMs) {
          this.counts.failed += 1;
          this.#stop ??= new ImportStop(line, (error as Error).message, { cause: error });
          return;
        }
        await sleep(
          random.between(1, Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** Math.min(attempt, 16))),
        );
      }
    }
  }
}

const bytesOf = (record: ImportRecord): number => record.key.length + record.value.length;

/** Writing a record again gives what writing it once gives, so an unknown outcome is repeated too. */
function isTransient(error: unknown): boolean {
  return (
    error instanceof OverloadedError ||
    error instanceof RateLimitedError ||
    error instanceof UnavailableError ||
    error instanceof TimeoutError ||
    error instanceof ConnectionError
  );
}

/** A byte order mark at the start of the file is none of the first line's. */
function withoutMark(line: Line): Uint8Array {
  const bytes = line.bytes ?? new Uint8Array(0);
  const marked = line.number === 1 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return marked ? bytes.subarray(3) : bytes;
}
