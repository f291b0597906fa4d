import { decode } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { RingAgreement } from '../../src/cluster/ring-agreement.ts';
import { decodeRing, encodeRing } from '../../src/cluster/ring-codec.ts';
import type { RingMessage } from '../../src/cluster/ring-messages.ts';
import type { ProposalOutcome } from '../../src/cluster/ring-proposer.ts';
import { testSeed } from '../seed.ts';
import { EventQueue, VolatileDisk } from './ring-event-queue.ts';
import { ringOf } from './ring-fixtures.ts';

const VNODES = 8;

/** A crash of a node with the defect forgets what its acceptor had promised and accepted. */
type Defect = 'none' | 'forgets votes';

interface Member {
  readonly number: number;
  readonly disk: VolatileDisk;
  life: number;
  agreement: RingAgreement | null;
}

class Voters {
  readonly random: Random;
  readonly events: EventQueue;
  readonly members: Member[];
  readonly decided = new Map<number, Uint8Array>();
  readonly violations: string[] = [];
  readonly outcomes: ProposalOutcome[] = [];
  loss = 0;
  duplicate = 0;
  delayMsMax = 10;
  saveFailure = 0;
  saveMsMax = 5;
  /** Nothing reaches or leaves this one; 0 for none. */
  cut = 0;
  readonly #defect: Defect;

  constructor(seed: number, count: number, defect: Defect = 'none') {
    this.random = new Random(seed);
    this.events = new EventQueue(this.random);
    this.#defect = defect;
    const first = encodeRing(ringOf(count, VNODES));
    this.members = Array.from({ length: count }, (_, i) => {
      const member: Member = {
        number: i + 1,
        life: 0,
        agreement: null,
        disk: new VolatileDisk(
          this.events,
          () => member.life,
          () => this,
          (name, bytes) => this.#onSaved(name, bytes),
        ),
      };
      member.disk.saved.set('ring', first);
      this.start(member);
      return member;
    });
  }

  start(member: Member): void {
    const life = ++member.life;
    member.agreement = new RingAgreement(
      {
        self: member.number,
        random: new Random(this.random.uint32()),
        timers: this.events.timers(() => member.life === life),
        documents: member.disk,
        log: () => undefined,
      },
      VNODES,
      (to, message) => {
        if (member.life === life) this.#deliver(member.number, to, message);
      },
      () => undefined,
    );
  }
  crash(member: Member): void {
    member.life++;
    member.agreement = null;
    if (this.#defect === 'forgets votes') member.disk.saved.delete('ring-acceptor');
  }
  member(number: number): Member {
    return this.members[number - 1] as Member;
  }

  /** Proposes a ring after the member's own that no one else proposes. */
  propose(member: Member): void {
    const { agreement } = member;
    const ring = agreement?.ring;
    if (ring === null || ring === undefined) return;
    const clusterName = `of ${member.number} in life ${member.life}: ${this.random.uint32()}`;
    agreement?.propose({ ...ring, number: ring.number + 1, clusterName }, (outcome) => {
      this.outcomes.push(outcome);
      if (outcome.ring === null) return;
      if (outcome.mine !== (outcome.ring.clusterName === clusterName))
        this.violations.push('a wrong outcome');
    });
  }

  /** Or a crash would let the node use the ballot again, for another ring. */
  #checkOwnPromise(node: number, slot: number, round: number): void {
    const saved = this.member(node).disk.load('ring-acceptor');
    const [savedSlot, savedRound] = saved === null ? [0, 0] : (decode(saved) as [number, number]);
    if (savedSlot < slot || (savedSlot === slot && savedRound < round))
      this.violations.push(`node ${node} sends ballot ${round} before its own promise is durable`);
  }

  #onSaved(name: string, bytes: Uint8Array): void {
    if (name !== 'ring') return;
    const { number, clusterName } = decodeRing(bytes);
    const known = this.decided.get(number);
    if (known === undefined) this.decided.set(number, bytes);
    else if (Buffer.compare(known, bytes) !== 0)
      this.violations.push(
        `two rings under number ${number}: ${decodeRing(known).clusterName}, ${clusterName}`,
      );
  }

  #deliver(from: number, to: number, message: RingMessage): void {
    if (message.kind === 'ring-prepare') this.#checkOwnPromise(from, message.slot, message.ballot.round);
    if (this.random.chance(this.loss) || from === this.cut || to === this.cut) return;
    for (let i = this.random.chance(this.duplicate) ? 2 : 1; i > 0; i--)
      this.events.after(this.random.between(1, this.delayMsMax), () =>
        this.member(to).agreement?.onMessage(from, structuredClone(message)),
      );
  }
}

/** All propose at once, over and over, while messages are lost, doubled and late, disks fail and members crash. */
async function contend(seed: number, defect: Defect = 'none'): Promise<Voters> {
  const voters = new Voters(seed, 3 + 2 * (seed % 2), defect);
  const { random } = voters;
  voters.loss = random.pick([0, 0.1, 0.3]);
  voters.duplicate = 0.1;
  voters.delayMsMax = random.pick([10, 100, 1000]);
  voters.saveFailure = 0.02;
  voters.saveMsMax = random.pick([5, 100, 500]);
  const crash = random.pick([0.02, 0.1, 0.3]);
  for (let round = 0; round < 120; round++) {
    await voters.events.run(random.between(1, 4 * (voters.delayMsMax + voters.saveMsMax)));
    voters.cut = random.chance(0.5) ? random.pick(voters.members).number : 0;
    for (const member of voters.members) {
      if (random.chance(crash)) voters.crash(member);
      if (member.agreement === null && random.chance(0.7)) voters.start(member);
      if (random.chance(0.3)) voters.propose(member);
    }
  }
  voters.cut = 0;
  voters.loss = 0;
  voters.saveFailure = 0;
  for (const member of voters.members) if (member.agreement === null) voters.start(member);
  await voters.events.run(120_000);
  return voters;
}

describe('the agreement on a ring', () => {
  it('is reached by one proposer, and all learn it', async () => {
    const voters = new Voters(1, 5);
    voters.propose(voters.member(2));
    expect(await voters.events.run(1000, () => voters.outcomes.length === 1)).toBe(true);
    expect(voters.outcomes[0]).toMatchObject({ mine: true, error: null });
    await voters.events.run(1000);
    expect(voters.members.map(({ agreement }) => agreement?.ring?.number)).toEqual([2, 2, 2, 2, 2]);
  });

  it('needs a majority: with three of five down it ends with an error that says so, and changes nothing', async () => {
    const voters = new Voters(2, 5);
    for (const number of [3, 4, 5]) voters.crash(voters.member(number));
    voters.propose(voters.member(1));
    expect(await voters.events.run(200_000, () => voters.outcomes.length === 1)).toBe(true);
    expect(voters.outcomes[0]?.error?.message).toBe(
      'ring 2 was not decided in 12 ballots: 2 of 5 members answered the last one, 3 are needed; it may still be decided',
    );
    expect(voters.member(1).agreement?.ring?.number).toBe(1);
    voters.start(voters.member(3));
    voters.propose(voters.member(2));
    expect(await voters.events.run(200_000, () => voters.outcomes.length === 2)).toBe(true);
    expect(voters.outcomes[1]?.ring?.number).toBe(2);
  });

  it('tells a late proposer the decided ring instead of voting, and a node that is behind gets the newest at once', async () => {
    const voters = new Voters(3, 3);
    voters.crash(voters.member(3));
    for (const number of [2, 3, 4]) {
      voters.propose(voters.member(1));
      await voters.events.run(2000, () => voters.member(2).agreement?.ring?.number === number);
    }
    voters.start(voters.member(3));
    expect(voters.member(3).agreement?.ring?.number).toBe(1);
    voters.propose(voters.member(3));
    expect(await voters.events.run(2000, () => voters.member(3).agreement?.ring?.number === 4)).toBe(true);
    expect(voters.outcomes.at(-1)).toMatchObject({ mine: false, error: null, ring: { number: 4 } });
    expect(voters.violations).toEqual([]);
  });

  it('is asked for by a node that hears of a newer number', async () => {
    const voters = new Voters(4, 3);
    voters.crash(voters.member(3));
    voters.propose(voters.member(1));
    await voters.events.run(2000);
    voters.start(voters.member(3));
    voters.member(3).agreement?.noteRing(2, 2);
    expect(await voters.events.run(1000, () => voters.member(3).agreement?.ring?.number === 2)).toBe(true);
  });

  it('refuses proposals that do not follow, and proposers that are no members', async () => {
    const voters = new Voters(5, 3);
    const agreement = voters.member(1).agreement as RingAgreement;
    const ring = agreement.ring ?? ringOf(3, VNODES);
    const errors: (string | undefined)[] = [];
    agreement.propose({ ...ring, number: 5 }, ({ error }) => errors.push(error?.message));
    await voters.events.run(10);
    expect(errors).toEqual(['ring 5 does not follow ring 1']);
    const stranger: RingMessage = { kind: 'ring-prepare', slot: 2, ballot: { round: 1, node: 9 } };
    expect(() => agreement.onMessage(9, stranger)).toThrow('node 9 proposes ring 2');
    expect(() => agreement.onMessage(2, { ...stranger, ballot: { round: 1, node: 3 } })).toThrow(
      'node 2 proposes',
    );
    const wrongNumber: RingMessage = {
      kind: 'ring-accept',
      slot: 2,
      ballot: { round: 1, node: 2 },
      ring: encodeRing({ ...ring, number: 3 }),
    };
    expect(() => agreement.onMessage(2, wrongNumber)).toThrow('ring 3 is proposed under number 2');
  });

  it('gives one ring under each number, whoever proposes, crashes and loses messages', async () => {
    const first = testSeed();
    console.log(`ring agreement: seeds ${first} to ${first + 59}`);
    let rings = 0;
    for (let i = 0; i < 60; i++) {
      const seed = (first + i) >>> 0;
      const voters = await contend(seed);
      expect({ seed, violations: voters.violations }).toEqual({ seed, violations: [] });
      rings += voters.decided.size;
    }
    expect(rings).toBeGreaterThan(60 * 5);
  });

  it('would be broken by an acceptor that forgets its votes, and contention shows it', async () => {
    const first = testSeed();
    console.log(`ring agreement without votes: seeds from ${first}`);
    let violations: string[] = [];
    for (let i = 0; i < 300 && violations.length === 0; i++)
      violations = (await contend((first + i) >>> 0, 'forgets votes')).violations;
    expect(violations.some((one) => one.startsWith('two rings under number'))).toBe(true);
  });
});
