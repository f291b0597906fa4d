/** The store in the generator's own process, without a network: `open` of the package. */
import { hashToken, token } from '../../src/base/token.ts';
import { type OpenOptions, open, type Store } from '../../src/index.ts';
import { scanShards } from '../../src/node/store-scan.ts';
import type { ScanPage } from '../../src/node/store-types.ts';
import type { Values } from '../values.ts';
import { Answer, type AnswerSink, keyText, type Slot, type Transport } from './transport.ts';

const EMPTY = new Uint8Array(0);
const MS_PER_S = 1000;
/** Codes of errors after which it is sure that nothing was done. */
const SURELY_NOTHING: ReadonlySet<string> = new Set([
  'OVERLOADED',
  'BAD_REQUEST',
  'VALUE_TOO_LARGE',
  'KEY_TOO_LARGE',
  'DISK_FULL',
  'VERSION_MISMATCH',
]);

export class EmbeddedTransport implements Transport {
  readonly #values: Values;
  readonly #writer: number;
  readonly #options: OpenOptions;
  #store: Store | null = null;
  #sink: AnswerSink | null = null;
  /** Slots that are free again, told once a turn: reads of the memtable would otherwise never let a timer run. */
  #free: Slot[] = [];
  #willTell = false;

  constructor(values: Values, writer: number, directory: string, settings: Readonly<Record<string, string>>) {
    this.#values = values;
    this.#writer = writer;
    this.#options = { ...optionsOf(settings), path: directory };
  }

  async open(slots: readonly Slot[], sink: AnswerSink): Promise<void> {
    this.#store = await open(this.#options);
    this.#sink = sink;
    for (const slot of slots) sink.idle(slot);
  }
  read(slot: Slot): void {
    this.#open.get(keyText(slot.key)).then(
      (value) => this.#answer(slot, value === null ? Answer.ABSENT : Answer.OK, asBuffer(value)),
      (error: unknown) => this.#failed(slot, error),
    );
  }
  write(slot: Slot): void {
    const value = Buffer.allocUnsafe(slot.valueBytes);
    this.#values.write(value, 0, slot.valueBytes, slot.key, this.#writer, slot.serial);
    const written =
      slot.ttlMs > 0
        ? this.#open.put(keyText(slot.key), value, { ttl: slot.ttlMs / MS_PER_S })
        : this.#open.put(keyText(slot.key), value);
    written.then(
      () => this.#answer(slot, Answer.OK, null),
      (error: unknown) => this.#failed(slot, error),
    );
  }
  delete(slot: Slot): void {
    this.#open.delete(keyText(slot.key)).then(
      () => this.#answer(slot, Answer.OK, null),
      (error: unknown) => this.#failed(slot, error),
    );
  }
  scan(slot: Slot): void {
    this.#scan(slot).then(
      () => this.#answer(slot, Answer.OK, null),
      (error: unknown) => this.#failed(slot, error),
    );
  }
  flush(): void {
    // The store batches by itself.
  }
  async close(): Promise<void> {
    await this.#store?.close();
  }
  async counters(): Promise<Record<string, number>> {
    const sums: Record<string, number> = {};
    for (const shard of (await this.#open.stats()) as Readonly<Record<string, unknown>>[])
      for (const [name, value] of Object.entries(shard))
        if (typeof value === 'number') sums[name] = (sums[name] ?? 0) + value;
    return sums;
  }

  async #scan(slot: Slot): Promise<void> {
    const store = this.#open;
    hashToken(Buffer.from(keyText(slot.key)));
    // From the key itself on: the place of an empty key with its token lies just before it.
    const start: ScanPage = { records: EMPTY, done: false, tokenHi: token.hi, tokenLo: token.lo, key: EMPTY };
    const source = {
      shards: store.shards,
      scanPage: (
        shard: number,
        after: ScanPage | null,
        prefix: Uint8Array,
        limit: number,
        withValues: boolean,
        snapshot: number,
      ) => store.scanPage(shard, after ?? start, prefix, limit, withValues, snapshot),
    };
    for await (const { key, value } of scanShards(source, { limit: slot.scanLength }, null))
      this.#sink?.scanned(slot, bufferOf(key), bufferOf(value));
  }
  #answer(slot: Slot, answer: number, value: Buffer | null): void {
    this.#sink?.answered(slot, answer, value, '');
    this.#idle(slot);
  }
  #idle(slot: Slot): void {
    this.#free.push(slot);
    if (this.#willTell) return;
    this.#willTell = true;
    setImmediate(() => {
      this.#willTell = false;
      const free = this.#free;
      this.#free = [];
      for (const one of free) this.#sink?.idle(one);
    });
  }
  #failed(slot: Slot, error: unknown): void {
    const { code } = error as { readonly code?: unknown };
    // Anything else is a defect of this program or of the store.
    if (typeof code !== 'string') {
      this.#sink?.broken(error as Error);
      return;
    }
    this.#sink?.answered(slot, SURELY_NOTHING.has(code) ? Answer.REFUSED : Answer.UNKNOWN, null, code);
    this.#idle(slot);
  }
  get #open(): Store {
    if (this.#store === null) throw new Error('the embedded store is not open');
    return this.#store;
  }
}

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
const asBuffer = (bytes: Uint8Array | null): Buffer | null => (bytes === null ? null : bufferOf(bytes));

/** `memtable-bytes` is `memtableBytes` of `open`; numbers are numbers there. */
function optionsOf(settings: Readonly<Record<string, string>>): Record<string, string | number> {
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [
      name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      /^-?\d+$/.test(value) ? Number(value) : value,
    ]),
  );
}
