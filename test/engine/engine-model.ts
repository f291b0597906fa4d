import { ManualClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { isDeadAt, keyAt, valueAt, versionAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import type { ShardEngine } from '../../src/engine/contract.ts';
import { newDisk } from './disk.ts';
import {
  type Answer,
  EngineHarness,
  fieldsOf,
  ownKeys,
  type Put,
  randomShape,
  type Shape,
  visitAll,
} from './engine-harness.ts';
import { type Entry, entryOf, inScanOrder, isLive, type Key, type State } from './engine-model-state.ts';

interface Written {
  readonly key: Key;
  readonly entry: Entry;
}
interface Snapshot {
  readonly number: number;
  readonly state: State;
}

const SNAPSHOTS_MAX = 3;
/** Pages of a scan, about: each seeks in every table. */
const PAGES = 12;
/** Versions of different keys are not in the order of writing: replicas take them from many clocks. */
const SKEW_US = 5_000_000;

/**
 * Compares an engine with a Map, over random operations, shapes, restarts and power cuts. Everything follows
 * from the seed. What an engine may show: `durable` to a plain read, `latest` to one that asks for it, and after a
 * power cut any state between what was durable and what was appended, but never half of a pair.
 */
export class ModelRun {
  readonly #random: Random;
  readonly #clock = new ManualClock(1_700_000_000_000);
  #harness: EngineHarness;
  /** In the order of a scan. */
  readonly #keys: readonly Key[];
  #durable: State = new Map();
  #latest: State = new Map();
  /** Appended and not known to be durable, with pairs in one entry. */
  #pending: Written[][] = [];
  readonly #valueBytes: number;
  #snapshots: Snapshot[] = [];
  #label: string;
  #lives = 0;
  operations = 0;
  readonly counts: Record<string, number> = {};

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#label = `seed ${seed}`;
    const shape = randomShape(this.#random);
    // From all in one memtable to many times as much.
    this.#keys = inScanOrder(ownKeys(this.#random.pick([20, 400, 1500]), shape));
    this.#valueBytes = this.#random.pick([20, 200, 1000]);
    this.#harness = this.#newHarness(newDisk({ seed: this.#random.uint32() }), shape);
  }

  #newHarness(disk: EngineHarness['disk'], shape: Shape): EngineHarness {
    const harness = new EngineHarness(disk, shape, this.#random, this.#clock);
    harness.onDurableHook = (seq) => this.#onDurable(seq);
    harness.onFailureHook = (status) => this.#fail(`a write failed with status ${status}`);
    return harness;
  }
  get #engine(): ShardEngine {
    return this.#harness.engine;
  }
  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }
  #fail(what: string): never {
    const events = this.#harness.events.slice(-5).join('\n  ');
    throw new Error(
      `${this.#label}, operation ${this.operations}, life ${this.#lives}: ${what}\n  ${JSON.stringify(this.#harness.shape)}\n  ${events}`,
    );
  }

  /** Runs `operations` operations in lives of random length. */
  async run(operations: number): Promise<void> {
    while (this.operations < operations) {
      await this.#open();
      const until = Math.min(operations, this.operations + this.#random.between(20, 4000));
      while (this.operations < until) {
        this.operations++;
        await this.#operation();
      }
      await this.#end();
    }
  }

  async #open(): Promise<void> {
    this.#lives++;
    await this.#harness.open();
    const unexpected = this.#harness.events.filter((event) => event.startsWith('error'));
    if (unexpected.length > 0) this.#fail(`after opening: ${unexpected.join('; ')}`);
  }

  async #end(): Promise<void> {
    const { disk } = this.#harness;
    const shape = { ...this.#harness.shape, ...this.#changes() };
    if (this.#random.chance(0.5)) {
      this.#count('clean restart');
      while (this.#harness.lookupsPending > 0) this.#harness.stepDisk();
      await this.#harness.close();
      if (this.#pending.length > 0) this.#fail('writes were not durable after a clean close');
      if (disk.openPaths.length > 0) this.#fail(`left open: ${disk.openPaths.join(', ')}`);
      this.#snapshots = [];
      this.#harness = this.#newHarness(disk, shape);
      disk.resetCounts();
    } else {
      this.#count('power cut');
      const after = disk.powerCut(this.#random);
      this.#harness.abandon(after);
      this.#snapshots = [];
      this.#harness = this.#newHarness(after, shape);
      await this.#open();
      await this.#settleAfterCut();
      if (this.#random.chance(0.2)) return this.#end();
      await this.#harness.close();
      this.#harness = this.#newHarness(after, shape);
    }
    await this.#checkAll();
  }

  /** What may change from one start to the next. */
  #changes(): Partial<Shape> {
    if (this.#random.chance(0.5)) return {};
    const { vnodes: _v, shards: _n, shard: _s, ...rest } = randomShape(this.#random);
    return rest;
  }

  async #checkAll(): Promise<void> {
    await this.#open();
    for (const { bytes, name } of this.#keys)
      this.#harness.lookup(bytes, false, (answer) =>
        this.#compare(name, answer, this.#durable, 'after a start'),
      );
    await this.#drain();
    this.#scan();
    await this.#harness.close();
  }

  /** Finds out which of the writes in doubt survived: a prefix, by pairs. */
  async #settleAfterCut(): Promise<void> {
    const found = new Map<Key, number>();
    for (const { key } of this.#pending.flat()) {
      if (found.has(key)) continue;
      found.set(key, 0);
      this.#harness.lookup(key.bytes, false, ({ outcome, error }) => {
        if (error !== null) this.#fail(`lookup after a cut: ${error.message}`);
        if (outcome === 1) found.set(key, versionAt(this.#engine.found.view, this.#engine.found.offset));
      });
    }
    await this.#drain();
    let survived = 0;
    this.#pending.forEach((group, index) => {
      if (group.some(({ key, entry }) => found.get(key) === entry.version)) survived = index + 1;
    });
    for (const { key, entry } of this.#pending.slice(0, survived).flat()) this.#durable.set(key.name, entry);
    this.#count(survived === this.#pending.length ? 'kept all in doubt' : 'lost some in doubt');
    this.#pending = [];
    this.#latest = new Map(this.#durable);
    // The versions tell apart what survived; that all the rest is as in the model is checked key by key.
    for (const { bytes, name } of found.keys())
      this.#harness.lookup(bytes, true, (answer) =>
        this.#compare(name, answer, this.#durable, `after a power cut that kept ${survived} groups`),
      );
    await this.#drain();
    this.#scan();
  }

  #onDurable(seq: number): void {
    let done = 0;
    for (const group of this.#pending) {
      if ((group.at(-1)?.entry.seq ?? 0) > seq) break;
      for (const { key, entry } of group) this.#durable.set(key.name, entry);
      done++;
    }
    this.#pending.splice(0, done);
  }

  async #operation(): Promise<void> {
    const roll = this.#random.below(1000);
    if (roll < 560) await this.#write();
    else if (roll < 760) this.#read();
    else if (roll < 763) this.#scan();
    else if (roll < 900) await this.#steps();
    else if (roll < 960) this.#engine.commit();
    else if (roll < 990) this.#harness.advance(this.#random.pick([1, 50, 500, 5000]));
    else if (roll < 992) await this.#snapshot();
    else if (roll < 994) this.#checkSnapshot();
    else if (roll < 996) await this.#flush();
    else if (roll < 997) await this.#compact();
    else await this.#drain();
  }

  async #steps(): Promise<void> {
    const { disk } = this.#harness;
    for (let i = this.#random.below(6); i > 0 && disk.waiting > 0; i--) this.#harness.stepDisk();
    if (this.#random.chance(0.2)) await Promise.resolve();
    if (this.#random.chance(0.1)) await new Promise((done) => setImmediate(done));
  }
  async #drain(): Promise<void> {
    this.#engine.commit();
    await this.#harness.settle();
    if (this.#harness.lookupsPending > 0) this.#fail('lookups did not come back');
  }

  /** Some keys are hot: written and read again while they are in the record cache. */
  #pick(): Key {
    const { length } = this.#keys;
    const among = this.#random.chance(0.5) ? length : Math.ceil(length / 16);
    return this.#keys[this.#random.below(among)] as Key;
  }

  #newPut(of: Key): Put {
    const key = of.bytes;
    const before = this.#latest.get(of.name)?.version ?? 0;
    const version = Math.max(before + 1, this.#clock.nowUs() - this.#random.below(SKEW_US));
    if (this.#random.chance(0.15)) return { key, version, deleted: true };
    const length = this.#random.chance(0.02)
      ? this.#random.below(8000)
      : this.#random.below(this.#valueBytes);
    const value = Buffer.alloc(length, `${version} `);
    if (this.#random.chance(0.15))
      return { key, value, version, expiresMs: this.#clock.nowMs() + this.#random.between(0, 20_000) };
    return { key, value, version };
  }

  async #write(): Promise<void> {
    const key = this.#pick();
    const put = this.#newPut(key);
    const alsoKey = this.#random.chance(0.1) ? this.#random.pick(this.#keys) : null;
    let also = alsoKey === null ? null : this.#newPut(alsoKey);
    if (also !== null && also.key === put.key)
      also = { ...also, version: Math.max(also.version, put.version + 1) };
    // A conditional write: what the engine shows as latest must be what the model has.
    if (this.#random.chance(0.1))
      this.#harness.lookup(key.bytes, true, (answer) =>
        this.#compare(key.name, answer, this.#latest, 'latest'),
      );
    for (let attempt = 0; ; attempt++) {
      const seq = this.#engine.append(fieldsOf(put), also === null ? null : fieldsOf(also));
      if (seq > 0) {
        const group: Written[] = [{ key, entry: entryOf(put, also === null ? seq : seq - 1) }];
        if (alsoKey !== null && also !== null) group.push({ key: alsoKey, entry: entryOf(also, seq) });
        this.#note(group);
        break;
      }
      if (seq !== -Status.OVERLOADED) this.#fail(`append gave ${seq}`);
      this.#count('overloaded');
      if (attempt > 3) this.#fail('still overloaded after all work was done');
      await this.#drain();
    }
    if (this.#random.chance(0.1)) this.#engine.commit();
  }

  #note(group: Written[]): void {
    for (const { key, entry } of group) this.#latest.set(key.name, entry);
    this.#pending.push(group);
  }

  #read(): void {
    const key = this.#pick();
    const { bytes, name } = key;
    // Again and again: a record is cached when a table answers for the second time.
    for (let times = this.#random.pick([1, 1, 3]); times > 0; times--) this.#readShared(key);
    const latest = this.#random.chance(0.3);
    this.#count('lookup');
    this.#harness.lookup(bytes, latest, (answer) =>
      this.#compare(name, answer, latest ? this.#latest : this.#durable, latest ? 'latest' : 'durable'),
    );
  }

  /** As another thread reads, which asks the shard where neither memtables nor the record cache have the key. */
  #readShared(key: Key): void {
    const { shared } = this.#harness;
    const fault = shared.faultOf(key, this.#durable, this.#latest, this.#clock.nowMs());
    if (fault !== '') this.#fail(fault);
    this.#count(`found in ${shared.from}`);
    if (shared.from !== 'nowhere') return;
    this.#harness.lookup(key.bytes, false, (answer) =>
      this.#compare(key.name, answer, this.#durable, 'missed'),
    );
  }

  /** An answer must be what the model has at this moment; the dead may be absent or there. */
  #compare(name: string, answer: Answer, state: State, what: string): void {
    if (answer.error !== null) this.#fail(`${what} lookup of ${name}: ${answer.error.message}`);
    const expected = state.get(name);
    const nowMs = this.#clock.nowMs();
    const live = isLive(expected, nowMs) ? expected : undefined;
    if (answer.outcome !== 1) {
      if (live !== undefined)
        this.#fail(`${what} lookup of ${name}: absent, and the model has ${live.version}`);
      return;
    }
    const { view, bytes, offset, seq } = this.#engine.found;
    const version = versionAt(view, offset);
    if (version !== expected?.version)
      this.#fail(`${what} lookup of ${name}: version ${version}, and the model has ${expected?.version}`);
    if (isDeadAt(view, offset, nowMs) !== (live === undefined))
      this.#fail(`${what} lookup of ${name}: dead in one, live in the other`);
    if (live !== undefined && Buffer.compare(valueAt(view, bytes, offset), live.value) !== 0)
      this.#fail(`${what} lookup of ${name}: another value`);
    const durable = this.#durable.get(name)?.version === version;
    if ((seq === 0) !== durable || (seq > 0 && seq !== expected.seq))
      this.#fail(`${what} lookup of ${name}: seq ${seq}, and the model has ${expected.seq}`);
  }

  #scan(): void {
    this.#count('scan');
    this.#compareScan(0, this.#durable);
  }
  #compareScan(snapshot: number, state: State): void {
    const few = Math.ceil(state.size / PAGES);
    const pages = {
      limit: this.#random.pick([1 + few, 1000]),
      bytesMax: this.#random.pick([500 + few * this.#valueBytes, 1_000_000]),
      examinedMax: this.#random.pick([3 + few, 10_000]),
    };
    const prefix = this.#random.chance(0.2) ? 'key-1' : '';
    const nowMs = this.#clock.nowMs();
    const isExpected = ({ name }: Key): boolean => name.startsWith(prefix) && isLive(state.get(name), nowMs);
    let at = 0;
    const next = (): Key | undefined => {
      for (; at < this.#keys.length; at++) {
        const key = this.#keys[at];
        if (key !== undefined && isExpected(key)) return this.#keys[at++];
      }
      return undefined;
    };
    const differs = (seen: string, key: Key | undefined): never =>
      this.#fail(
        `scan of snapshot ${snapshot}: ${seen}, and the model has ${key?.name} ${key && state.get(key.name)?.version}`,
      );
    visitAll(this.#engine, snapshot, pages, prefix, (view, bytes, offset) => {
      const key = next();
      const entry = key && state.get(key.name);
      if (
        key === undefined ||
        versionAt(view, offset) !== entry?.version ||
        Buffer.compare(keyAt(view, bytes, offset), key.bytes) !== 0 ||
        Buffer.compare(valueAt(view, bytes, offset), entry.value) !== 0
      )
        differs(`${Buffer.from(keyAt(view, bytes, offset))} ${versionAt(view, offset)}`, key);
    });
    const missing = next();
    if (missing !== undefined) differs('it ended', missing);
  }

  async #snapshot(): Promise<void> {
    if (this.#snapshots.length >= SNAPSHOTS_MAX) {
      const [oldest] = this.#snapshots.splice(this.#random.below(SNAPSHOTS_MAX), 1);
      if (oldest !== undefined) this.#engine.releaseSnapshot(oldest.number);
    }
    this.#count('snapshot');
    const number = await this.#harness.wait(this.#engine.snapshot());
    this.#snapshots.push({ number, state: new Map(this.#latest) });
    this.#checkSnapshot();
  }
  #checkSnapshot(): void {
    if (this.#snapshots.length === 0) return;
    const { number, state } = this.#random.pick(this.#snapshots);
    this.#compareScan(number, state);
    for (const file of this.#engine.snapshotFiles(number))
      if (!this.#harness.disk.exists(file)) this.#fail(`${file} of snapshot ${number} is gone`);
  }

  async #flush(): Promise<void> {
    this.#count('flush');
    await this.#harness.wait(this.#engine.flush());
    if (this.#pending.length > 0) this.#fail('flushed, and not durable');
  }
  async #compact(): Promise<void> {
    this.#count('compact all');
    await this.#harness.wait(this.#engine.compactAll());
  }
}
