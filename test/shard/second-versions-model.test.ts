import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { versionAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { type WriteAnswer, WriteMode } from '../../src/cluster/contract.ts';
import { viewOf } from '../cluster/records.ts';
import { testSeed } from '../seed.ts';
import {
  DEADLINE_MS,
  newStore,
  prepare,
  read,
  START_MS,
  write,
  writeAgain,
} from './replica-store-harness.ts';

const seed = testSeed();
const WAS = START_MS * 1000;
const SECOND = WAS + 100;
const KEY = 'a';
const ORIGIN = 4;

/** One of three replicas of a key, and what the writer knows of it. */
class Replica {
  readonly #made = newStore();
  /** Of the first version: not there yet, refused, or taken and perhaps replaced. */
  first: 'none' | 'refused' | 'taken' = 'none';
  second: 'none' | 'refused' | 'taken' = 'none';

  async #run<T>(ask: (store: ReturnType<typeof newStore>['store']) => Promise<T>): Promise<T> {
    const { store, engine } = this.#made;
    const answer = ask(store);
    engine.commit();
    engine.sync();
    return await answer;
  }
  async takeFirst(): Promise<void> {
    const written = { key: KEY, version: WAS, origin: ORIGIN, value: 'v' };
    const { status } = await this.#run((store) => write(store, WriteMode.FRESH, written));
    this.first = status === PeerStatus.STALE_VERSION ? 'refused' : 'taken';
  }
  async takeSecond(): Promise<void> {
    const written = { key: KEY, version: SECOND, origin: ORIGIN, value: 'v' };
    const { status } = await this.#run((store) => writeAgain(store, WAS, written));
    this.second = status === Status.OK ? 'taken' : 'refused';
  }
  async write(version: number): Promise<void> {
    const written = { key: KEY, version, origin: 2, value: `${version}` };
    await this.#run((store) => write(store, WriteMode.FRESH, written));
  }
  async copy(record: Uint8Array): Promise<WriteAnswer> {
    return await this.#run(
      (store) =>
        new Promise((done) => {
          store.write({ record, also: null, mode: WriteMode.MERGE, deadlineMs: DEADLINE_MS }, done);
        }),
    );
  }
  async record(): Promise<Uint8Array | null> {
    return (await this.#run((store) => read(store, KEY))).record;
  }
  /** What it shows a ballot; null where it refuses it. */
  async promise(version: number): Promise<{ readonly version: number } | null> {
    const { status, record } = await this.#run((store) => prepare(store, KEY, version, 3));
    return status === Status.OK ? { version: versionOf(record) } : null;
  }
}
const versionOf = (record: Uint8Array | null): number => (record === null ? 0 : versionAt(viewOf(record), 0));

describe(`three replicas of which one may have taken a write that the others refused (seed ${seed})`, () => {
  it('never take the second version at two while a reader, by a majority or by a ballot, was told the first', async () => {
    const seen = { written: 0, told: 0, refused: 0 };
    for (let round = 0; round < 3000; round++) {
      const random = new Random(seed + round);
      const replicas = [new Replica(), new Replica(), new Replica()];
      const history: string[] = [];
      let told = '';
      let ballot = WAS - 20;
      const two = (): [number, number] => {
        const without = random.below(3);
        return [without === 0 ? 1 : 0, without === 2 ? 1 : 2];
      };
      const step = async (): Promise<void> => {
        const at = random.below(3);
        const replica = replicas[at] as Replica;
        const what = random.below(20);
        if (what < 6) {
          const refusers = replicas.filter(({ first }) => first === 'refused').length;
          if (replica.first === 'none') await replica.takeFirst();
          else if (replica.first === 'refused' && replica.second === 'none' && refusers >= 2)
            await replica.takeSecond();
          history.push(`writer at ${at}: ${replica.first} ${replica.second}`);
        } else if (what < 11) {
          const record = await (replicas[random.below(3)] as Replica).record();
          if (record !== null) await replica.copy(record);
          history.push(`copy of ${versionOf(record)} to ${at}`);
        } else if (what < 13) {
          // Versions of two nodes differ.
          const version = WAS + random.pick([-1, 1]) * random.between(1, 60);
          for (const one of random.chance(0.5) ? two() : [at])
            await (replicas[one] as Replica).write(version);
          history.push(`other write of ${version}`);
        } else if (what < 19) {
          const pair = two();
          const [a, b] = await Promise.all(pair.map((one) => (replicas[one] as Replica).record()));
          history.push(`read at ${pair}: ${versionOf(a ?? null)} ${versionOf(b ?? null)}`);
          if (versionOf(a ?? null) === WAS && versionOf(b ?? null) === WAS) told = 'by a majority';
        } else {
          ballot += random.between(5, 40);
          const pair = two();
          const shown = await Promise.all(pair.map((one) => (replicas[one] as Replica).promise(ballot)));
          history.push(`ballot ${ballot} at ${pair}: ${shown.map((one) => one?.version)}`);
          const isGiven = shown.every((one) => one !== null);
          if (isGiven && Math.max(...shown.map((one) => one?.version ?? 0)) === WAS) told = 'by a ballot';
        }
      };
      for (let i = 0; i < 40; i++) await step();
      const isWritten = replicas.filter(({ second }) => second === 'taken').length >= 2;
      if (isWritten && told !== '') expect.fail(`round ${round}, told ${told}:\n${history.join('\n')}`);
      if (isWritten) seen.written++;
      if (told !== '') seen.told++;
      if (replicas.some(({ second }) => second === 'refused')) seen.refused++;
    }
    for (const [what, rounds] of Object.entries(seen)) expect(rounds, what).toBeGreaterThan(50);
  });
});
