import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { versionAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { type WriteAnswer, WriteMode } from '../../src/cluster/contract.ts';
import { viewOf } from '../cluster/records.ts';
import { testSeed } from '../seed.ts';
import { DEADLINE_MS, newStore, prepare, read, START_MS, write } from './replica-store-harness.ts';

const seed = testSeed();
const ROUNDS = 3000;
const STEPS = 40;
const KEY = 'a';
const ORIGIN = 4;
/** The two versions that the writer gives its value. */
const FIRST = START_MS * 1000;
const SECOND = FIRST + 100;

const versionOf = (record: Uint8Array | null): number => (record === null ? 0 : versionAt(viewOf(record), 0));

/** One of three replicas of a key, the product's rule, and what the writer knows of it. */
class Replica {
  readonly #made = newStore();
  /** The first version: not there yet; refused, and said to be hidden or not; or taken, and perhaps replaced since. */
  first: 'none' | 'hidden' | 'refused' | 'taken' = 'none';
  isSent = false;

  async #run<T>(ask: (store: ReturnType<typeof newStore>['store']) => Promise<T>): Promise<T> {
    const { store, engine } = this.#made;
    const answer = ask(store);
    engine.commit();
    engine.sync();
    return await answer;
  }
  write(version: number, origin: number): Promise<WriteAnswer> {
    const written = { key: KEY, version, origin, value: `of ${origin}` };
    return this.#run((store) => write(store, WriteMode.FRESH, written));
  }
  async takeFirst(): Promise<void> {
    const { status, newer } = await this.write(FIRST, ORIGIN);
    if (status !== PeerStatus.STALE_VERSION) this.first = 'taken';
    else this.first = newer === null ? 'refused' : 'hidden';
  }
  /** Whether it holds the record now. */
  async copy(record: Uint8Array): Promise<boolean> {
    const request = { record, also: null, mode: WriteMode.MERGE, deadlineMs: DEADLINE_MS };
    const { status, newer } = await this.#run<WriteAnswer>(
      (store) => new Promise((done) => store.write(request, done)),
    );
    return status === Status.OK && newer === null;
  }
  async record(): Promise<Uint8Array | null> {
    return (await this.#run((store) => read(store, KEY))).record;
  }
  /** The version that it shows a ballot; -1 where it refuses that. */
  async promise(version: number): Promise<number> {
    const { status, record } = await this.#run((store) => prepare(store, KEY, version, 3));
    return status === Status.OK ? versionOf(record) : -1;
  }
}

/** Random orders of all that may come to three replicas while one writer's value may be under its first version at some of them. */
class Round {
  readonly #random: Random;
  readonly replicas = [new Replica(), new Replica(), new Replica()] as const;
  readonly history: string[] = [];
  /** Who was shown the first version. */
  told = '';
  #ballot = FIRST - 20;

  constructor(random: Random) {
    this.#random = random;
  }
  get isSent(): boolean {
    return this.replicas.some(({ isSent }) => isSent);
  }
  #pick(): Replica {
    return this.#random.pick(this.replicas);
  }
  #two(): readonly [Replica, Replica] {
    const [a, b, c] = this.replicas;
    return this.#random.pick([[a, b] as const, [b, a] as const, [a, c] as const, [b, c] as const]);
  }
  #name(replica: Replica): number {
    return this.replicas.indexOf(replica);
  }

  async step(): Promise<void> {
    const kind = this.#random.below(20);
    if (kind < 6) await this.#writer(this.#pick());
    else if (kind < 11) await this.#copy(this.#pick(), this.#pick());
    else if (kind < 13) await this.#other();
    else if (kind < 19) await this.#reader(this.#two());
    else await this.#serial(this.#two());
  }
  /** Its second version goes out only where so many say that the first is hidden that no majority is without one of them. */
  async #writer(to: Replica): Promise<void> {
    const mayGoOn = this.replicas.filter(({ first }) => first === 'hidden').length >= 2;
    if (to.first === 'none') await to.takeFirst();
    else if (mayGoOn && !to.isSent) {
      to.isSent = true;
      await to.write(SECOND, ORIGIN);
    }
    this.history.push(`writer to ${this.#name(to)}: ${to.first}${to.isSent ? ', second sent' : ''}`);
  }
  async #copy(from: Replica, to: Replica): Promise<void> {
    const record = await from.record();
    if (record !== null) await to.copy(record);
    this.history.push(`copy of ${versionOf(record) - FIRST} from ${this.#name(from)} to ${this.#name(to)}`);
  }
  async #other(): Promise<void> {
    const { replicas } = this;
    // Versions of two nodes differ.
    const version = FIRST + this.#random.pick([-1, 1]) * this.#random.between(1, 60);
    const targets = this.#random.pick([replicas, this.#two(), [this.#pick()]]);
    for (const target of targets) await target.write(version, 2);
    this.history.push(`other write of ${version - FIRST} to ${targets.map((one) => this.#name(one))}`);
  }
  /** Answers with what it found once both hold it, and brings it to who does not. */
  async #reader([a, b]: readonly [Replica, Replica]): Promise<void> {
    const found = [await a.record(), await b.record()] as const;
    const versions = found.map(versionOf);
    const [newest, behind] = versionOf(found[0]) > versionOf(found[1]) ? [found[0], b] : [found[1], a];
    const isSame = versions[0] === versions[1];
    const repairs = !isSame && newest !== null && this.#random.chance(0.5);
    const isShown = isSame || (repairs && (await behind.copy(newest)));
    if (isShown && versionOf(newest) === FIRST) this.told = 'by a majority';
    const what = isShown ? 'answered' : 'not answered';
    this.history.push(
      `read of ${versions.map((one) => one - FIRST)} at ${this.#name(a)},${this.#name(b)}: ${what}`,
    );
  }
  async #serial([a, b]: readonly [Replica, Replica]): Promise<void> {
    this.#ballot += this.#random.between(5, 40);
    const versions = [await a.promise(this.#ballot), await b.promise(this.#ballot)];
    if (!versions.includes(-1) && Math.max(...versions) === FIRST) this.told = 'by a ballot';
    this.history.push(
      `ballot ${this.#ballot - FIRST} at ${this.#name(a)},${this.#name(b)} was shown ${versions}`,
    );
  }
}

describe(`three replicas of which one may have taken a write that the others refused (seed ${seed})`, () => {
  it('never let it have a second version where a majority or a ballot was, or is later, shown the first', async () => {
    const seen = {
      'second sent': 0,
      'second sent, first taken somewhere': 0,
      majority: 0,
      ballot: 0,
      unknown: 0,
    };
    for (let number = 0; number < ROUNDS; number++) {
      const round = new Round(new Random(seed + number));
      for (let i = 0; i < STEPS; i++) {
        await round.step();
        if (round.isSent && round.told !== '')
          expect.fail(`round ${number}, told ${round.told} (versions from 0):\n${round.history.join('\n')}`);
      }
      const firsts = round.replicas.map(({ first }) => first);
      if (round.isSent) seen['second sent']++;
      if (round.isSent && firsts.includes('taken')) seen['second sent, first taken somewhere']++;
      if (round.told === 'by a majority') seen.majority++;
      if (round.told === 'by a ballot') seen.ballot++;
      if (firsts.includes('taken') && firsts.includes('refused')) seen.unknown++;
    }
    for (const [what, rounds] of Object.entries(seen)) expect(rounds, what).toBeGreaterThan(20);
  });
});
