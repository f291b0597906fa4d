import { describe, expect, it } from 'vitest';
import { CorruptionError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { KEYSPACE_USER } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { ReplicaWaits } from '../../src/shard/replica-waits.ts';
import { testSeed } from '../seed.ts';
import { FakeEngine } from './fake-engine.ts';

const seed = testSeed();
const FIRST_TICKET = 500;
/** More than there are tickets: they come round. */
const LOOKUPS = limits.replicaLookupsMax + 5000;

function newWaits(): { readonly waits: ReplicaWaits; readonly engine: FakeEngine } {
  const engine = new FakeEngine(
    {
      onDurable: (seq) => waits.onDurable(seq),
      onWriteFailure: (status, error) => waits.onWriteFailure(status, error),
      onLookup: (ticket, outcome, error) => waits.onLookup(ticket, outcome, error),
      onEvent: () => undefined,
    },
    () => 0,
  );
  engine.automatic = false;
  const waits: ReplicaWaits = new ReplicaWaits(engine, FIRST_TICKET);
  return { waits, engine };
}
const append = (engine: FakeEngine, key: string, version: number): number => {
  hashToken(Buffer.from(key));
  const fields = { tokenHi: token.hi, tokenLo: token.lo, keyspace: KEYSPACE_USER, key: Buffer.from(key) };
  return engine.append(
    { ...fields, value: Buffer.from('v'), version, origin: 1, flags: 0, expiresMs: 0 },
    null,
  );
};

describe(`waits of a replica's requests (seed ${seed})`, () => {
  it('run requests of one token one after another in order, and others beside them', () => {
    for (let round = 0; round < 50; round++) {
      const random = new Random(seed + round);
      const { waits } = newWaits();
      const begun = new Map<number, number[]>();
      const asked = new Map<number, number[]>();
      const open: { place: number; release: () => void }[] = [];
      const busy = new Set<number>();
      for (let number = 0; number < 200; number++) {
        const place = random.below(4);
        asked.set(place, [...(asked.get(place) ?? []), number]);
        const atOnce = random.chance(0.4);
        waits.inOrder(place, 0, (release) => {
          expect(busy.has(place), 'two at work on one token').toBe(false);
          begun.set(place, [...(begun.get(place) ?? []), number]);
          if (atOnce) {
            release();
            // A second call, as of a request that was answered after it had appended, lets nobody pass.
            release();
            return;
          }
          busy.add(place);
          open.push({ place, release });
        });
        if (!busy.has(place) && !atOnce) throw new Error('nothing before it waits, and it did not begin');
        while (open.length > 0 && random.chance(0.4)) {
          const [one] = open.splice(random.below(open.length), 1) as [(typeof open)[number]];
          busy.delete(one.place);
          one.release();
          one.release();
        }
      }
      while (open.length > 0) {
        const [one] = open.splice(0, 1) as [(typeof open)[number]];
        busy.delete(one.place);
        one.release();
      }
      expect(begun).toEqual(asked);
    }
  });

  it('end each wait for durability once, in order of seq, by its sync or by a failure that says what is unknown', () => {
    for (let round = 0; round < 50; round++) {
      const random = new Random(seed + round);
      const { waits, engine } = newWaits();
      const ends = new Map<number, string>();
      const seqs = new Map<number, number>();
      const expectEnded = (): void => {
        for (const [number, waited] of seqs)
          if (waited <= engine.durableSeq && ends.get(number) !== 'durable')
            throw new Error(`seq ${waited} is durable, and ${number} is told ${ends.get(number)}`);
      };
      let lastEnded = 0;
      let ended = 0;
      for (let number = 0; number < 100; number++) {
        const seq = append(engine, `key-${number}`, number + 1);
        // Some wait for an earlier one.
        const waited = random.chance(0.3) ? random.between(1, seq) : seq;
        seqs.set(number, waited);
        const end = (how: string): void => {
          expect(ends.has(number), `${number} ended twice`).toBe(false);
          ends.set(number, how);
          ended++;
          if (how !== 'durable') return;
          expect(engine.durableSeq).toBeGreaterThanOrEqual(waited);
          lastEnded = Math.max(lastEnded, waited);
        };
        waits.whenDurable(
          waited,
          () => end('durable'),
          (status, message) => end(`${status} ${message}`),
        );
        expect(waits.inFlight).toBe(number + 1 - ended);
        if (random.chance(0.2)) {
          engine.commit();
          engine.sync(random.between(engine.durableSeq, engine.lastSeq));
        }
        expectEnded();
      }
      // What became durable and was not told before the failure.
      engine.durableSeq = random.between(engine.durableSeq, engine.lastSeq);
      const durable = engine.durableSeq;
      const full = random.chance(0.5);
      engine.failSync(full ? Status.DISK_FULL : Status.UNAVAILABLE, new Error('the disk'));
      expect(ends.size).toBe(100);
      expectEnded();
      expect(waits.inFlight).toBe(0);
      expect(lastEnded).toBeLessThanOrEqual(durable);
      const failed = [...ends.values()].filter((how) => how !== 'durable');
      const wanted = full
        ? `${Status.DISK_FULL} the disk; nothing was written`
        : `${Status.UNAVAILABLE} the disk; outcome unknown`;
      expect(failed.every((how) => how === wanted)).toBe(true);
    }
  });

  it('give every lookup its own answer, however they end, and reuse tickets only when they are free', () => {
    const random = new Random(seed);
    const { waits, engine } = newWaits();
    for (let i = 0; i < 20; i++) append(engine, `key-${i}`, 100 + i);
    engine.commit();
    engine.sync();
    engine.pends = () => random.chance(0.9);
    const answers = new Map<number, string>();
    for (let number = 0; number < LOOKUPS; number++) {
      const key = `key-${random.below(25)}`;
      hashToken(Buffer.from(key));
      const wanted = Number(key.slice(4)) < 20 ? key : 'none';
      const answer = (got: string): void => {
        expect(answers.has(number)).toBe(false);
        answers.set(number, got);
        if (!got.startsWith('failed')) expect(got).toBe(wanted);
      };
      waits.lookup(
        KEYSPACE_USER,
        token.hi,
        token.lo,
        Buffer.from(key),
        (_, message) => answer(`failed ${message}`),
        (held) =>
          answer(held === null ? 'none' : Buffer.from(held.bytes.subarray(40, 40 + key.length)).toString()),
      );
      expect(engine.waiting.every(({ ticket }) => waits.isMine(ticket))).toBe(true);
      // The first one waits for all that time.
      while (engine.waiting.length > 50 || (engine.waiting.length > 1 && random.chance(0.3)))
        engine.endLookup(
          random.between(1, engine.waiting.length - 1),
          random.chance(0.1) ? new CorruptionError('sst-1', 7, 'checksum') : null,
        );
    }
    while (engine.waiting.length > 0) engine.endLookup();
    expect(answers.size).toBe(LOOKUPS);
    expect(waits.inFlight).toBe(0);
    expect(waits.isMine(FIRST_TICKET - 1)).toBe(false);
  });
});
