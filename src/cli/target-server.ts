/** A running server as a target of commands, over the HTTP client. */
import type { Client } from '../client/index.ts';
import type { ReadOptions, Target, TargetEntry, TargetScanOptions, WriteOptions } from './target.ts';

const EMPTY = new Uint8Array(0);

export class ServerTarget implements Target {
  readonly name: string;
  readonly #client: Client;
  constructor(client: Client, url: string) {
    this.name = `server ${url}`;
    this.#client = client;
  }

  async get(key: Uint8Array, options: ReadOptions): Promise<TargetEntry | null> {
    const entry = await this.#client.getEntry(key, given(options));
    return entry === null ? null : { key, ...entry };
  }
  put(key: Uint8Array, value: Uint8Array, options: WriteOptions): Promise<number> {
    return this.#client.put(key, value, given(options));
  }
  delete(key: Uint8Array, options: WriteOptions): Promise<void> {
    return this.#client.delete(key, given(options));
  }
  async *scan({
    limit,
    prefix,
    ...options
  }: TargetScanOptions): AsyncGenerator<TargetEntry, void, undefined> {
    const range = { ...(prefix.length > 0 ? { prefix } : {}), ...(Number.isFinite(limit) ? { limit } : {}) };
    for await (const entry of this.#client.scan({ ...given(options), ...range }))
      yield { ...entry, value: entry.value ?? EMPTY };
  }
  close(): Promise<void> {
    return this.#client.close();
  }
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
/** Without the fields that are undefined. */
function given<T extends object>(options: T): Given<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Given<T>;
}
