import { describe, expect, it } from 'vitest';
import { IoError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { Condition, Op } from '../../src/shard/contract.ts';
import { testSeed } from '../seed.ts';
import { type Answer, Harness, type TestClient, until } from './harness.ts';
import { type Event, faultOf } from './history.ts';

const KEYS = ['a', 'b', 'c', 'd'];
const seed = Number(process.env.SHARD_SEED ?? testSeed());

/** Clients that write, read and repeat, a disk that answers when it likes and now and then loses what it has. */
class Run {
  readonly random: Random;
  readonly harness: Harness;
  readonly histories = new Map<string, Event[]>(KEYS.map((key) => [key, []]));
  readonly outcomes = new Map<string, Set<string>>();
  readonly waiting = new Set<Event>();
  counts = { mismatches: 0, lost: 0, repeats: 0, chained: 0 };
  #step = 0;
  #once: { key: string; fields: object; value: string; op: number; name: string }[] = [];

  constructor(runSeed: number) {
    this.random = new Random(runSeed);
    this.harness = new Harness({ clients: 3, ringBytes: 1 << 13 });
    const { engine } = this.harness;
    engine.automatic = false;
    engine.eager = this.random.chance(0.3);
    const pendProbability = this.random.pick([0, 0.2, 0.9]);
    engine.pends = () => this.random.chance(pendProbability);
    for (const client of this.harness.clients) this.#watch(client);
  }

  readonly #bySlot = new Map<TestClient, Map<number, { event: Event; name: string }>>();
  #watch(client: TestClient): void {
    this.#bySlot.set(client, new Map());
    client.onAnswer = (answer) => this.#onAnswer(client, answer);
  }
  #onAnswer(client: TestClient, answer: Answer): void {
    const calls = this.#bySlot.get(client);
    const call = calls?.get(answer.slot);
    if (call === undefined) throw new Error('an answer to nothing');
    calls?.delete(answer.slot);
    const { event, name } = call;
    event.ended = ++this.#step;
    event.status = answer.status;
    event.version = answer.version;
    if (event.kind === 'get') event.value = answer.text;
    this.waiting.delete(event);
    if (answer.status === Status.VERSION_MISMATCH) this.counts.mismatches++;
    if (answer.status === Status.DISK_FULL || answer.status === Status.UNAVAILABLE) this.counts.lost++;
    if (name === '' || (answer.status !== Status.OK && answer.status !== Status.VERSION_MISMATCH)) return;
    const outcomes = this.outcomes.get(name) ?? new Set();
    this.outcomes.set(name, outcomes.add(`${answer.status} ${answer.version}`));
  }

  async steps(count: number): Promise<void> {
    const { random, harness } = this;
    const { engine } = harness;
    for (let i = 0; i < count; i++) {
      const dice = random.below(100);
      if (dice < 55) this.#call();
      else if (dice < 70 && engine.waiting.length > 0) engine.endLookup(random.below(engine.waiting.length));
      else if (dice < 80) engine.sync(random.between(engine.durableSeq, engine.committedSeq));
      else if (dice === 80 && random.chance(0.3)) {
        const full = random.chance(0.5);
        engine.failSync(full ? Status.DISK_FULL : Status.READ_ONLY, new IoError('the disk', 'EIO'));
      } else await new Promise((resolve) => setImmediate(resolve));
      this.counts.chained = Math.max(
        this.counts.chained,
        harness.server.requestsHeld - engine.waiting.length,
      );
    }
    engine.pends = () => false;
    await until(() => {
      while (engine.waiting.length > 0) engine.endLookup();
      engine.sync();
      return this.waiting.size === 0;
    });
  }

  #call(): void {
    const { random } = this;
    const client = random.pick(this.harness.clients);
    const key = random.pick(KEYS);
    if (random.chance(0.3)) {
      this.#send(client, Op.GET, key, '', {}, '');
      return;
    }
    if (this.#once.length > 0 && random.chance(0.2)) {
      const again = random.pick(this.#once);
      this.counts.repeats++;
      this.#send(client, again.op, again.key, again.value, again.fields, again.name);
      return;
    }
    const op = random.chance(0.75) ? Op.PUT : Op.DELETE;
    const value = op === Op.PUT ? `value ${this.#step} ${'x'.repeat(random.below(40))}` : '';
    const condition = random.pick([Condition.NONE, Condition.NONE, Condition.VERSION, Condition.EXISTS]);
    const versions =
      this.histories
        .get(key)
        ?.slice(-6)
        .map((event) => event.version) ?? [];
    const expected = condition === Condition.VERSION ? random.pick([0, 0, ...versions]) : 0;
    const name = random.chance(0.2) ? `${key} once ${this.#step}` : '';
    const fields = { condition, version: expected, fingerprintLo: this.#step, idempotencyKey: name };
    if (name !== '') this.#once = [...this.#once.slice(-20), { key, fields, value, op, name }];
    this.#send(client, op, key, value, fields, name);
  }

  #send(client: TestClient, op: number, key: string, value: string, fields: object, name: string): void {
    const began = ++this.#step;
    const call = client.trySend(op, { key, value, ...fields });
    if (typeof call === 'number') {
      expect(call).toBe(Status.OVERLOADED);
      return;
    }
    const { condition = 0, version = 0 } = fields as { condition?: number; version?: number };
    const event: Event = {
      kind: op === Op.GET ? 'get' : op === Op.PUT ? 'put' : 'delete',
      condition,
      expected: version,
      value,
      began,
      ended: Number.POSITIVE_INFINITY,
      status: -1,
      version: 0,
      once: name,
    };
    this.histories.get(key)?.push(event);
    this.waiting.add(event);
    this.#bySlot.get(client)?.set(call.slot, { event, name });
  }
}

describe(`random calls of three clients (seed ${seed})`, () => {
  it('are explained by one order of the writes to each key, and repeats by their first outcome', async () => {
    const counts = { mismatches: 0, lost: 0, repeats: 0, chained: 0, calls: 0 };
    // How many calls a restart finds in flight is chance: on, until there were enough.
    for (let i = 0; i < 40 || (counts.lost <= 100 && i < 400); i++) {
      const run = new Run(seed + i);
      await run.steps(1000);
      for (const [key, events] of run.histories) {
        const fault = faultOf(events);
        if (fault !== '') throw new Error(`run ${i}, key ${key}: ${fault}`);
        counts.calls += events.length;
      }
      for (const [name, outcomes] of run.outcomes)
        expect([name, [...outcomes]]).toEqual([name, [[...outcomes][0]]]);
      expect(run.harness.server.requestsHeld).toBe(0);
      for (const count of ['mismatches', 'lost', 'repeats'] as const) counts[count] += run.counts[count];
      counts.chained = Math.max(counts.chained, run.counts.chained);
      await run.harness.close();
    }
    // The run has met what it is for.
    expect(counts.calls).toBeGreaterThan(10_000);
    expect(counts.mismatches).toBeGreaterThan(500);
    expect(counts.lost).toBeGreaterThan(100);
    expect(counts.repeats).toBeGreaterThan(500);
    expect(counts.chained).toBeGreaterThan(5);
  });
});
