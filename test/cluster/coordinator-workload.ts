import { deadlineIn, type MonotonicMs } from '../../src/base/clock.ts';
import { valueAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import {
  type ClientReadAnswer,
  type ClientWrite,
  type ClientWriteAnswer,
  Consistency,
  type ConsistencyCode,
  type NodeNumber,
} from '../../src/cluster/contract.ts';
import { versionOf, viewOf } from '../../src/cluster/coordinator-records.ts';
import { Condition } from '../../src/shard/contract.ts';
import { type Call, missedWrite, notLinearizable, passedOver } from './coordinator-checks.ts';
import { CoordinatorWorld, testMember, testRing } from './coordinator-world.ts';
import type { Operation } from './linearizability.ts';

export type Mix = 'serial' | 'quorum' | 'mixed';
const KEYS = ['k0', 'k1'];
const OPERATION_MS = 1500;
const SKEWS_MS = [0, 0, 0, 5, -40, 600_000, -600_000];

const keyBytes = new Map(
  KEYS.map((name) => {
    const key = Buffer.from(name);
    hashToken(key);
    return [name, { key, tokenHi: token.hi, tokenLo: token.lo }];
  }),
);
function placeOf(name: string): { key: Uint8Array; tokenHi: number; tokenLo: number } {
  const place = keyBytes.get(name);
  if (place === undefined) throw new Error(`no key ${name}`);
  return place;
}

/** Clients of a small cluster under faults, all from one seed. */
export class CoordinatorRun {
  readonly calls: Call[] = [];
  readonly world: CoordinatorWorld;
  readonly #mix: Mix;
  readonly #seed: number;
  #open = 0;
  #values = 0;

  constructor(seed: number, mix: Mix) {
    this.#seed = seed;
    this.#mix = mix;
    const changing = seed % 4;
    const numbers = changing === 0 ? [1, 2, 3, 4] : seed % 3 === 0 ? [1, 2, 3, 4, 5] : [1, 2, 3];
    const ring =
      changing === 0
        ? testRing([1, 2, 3], 2, {
            kind: 'join',
            node: 4,
            by: 0,
            phase: seed % 8 === 0 ? 'copying' : 'switching',
            members: numbers.map(testMember),
            owners: Uint16Array.from({ length: 8 }, (_, vnode) => (vnode + 1) % 4),
          })
        : testRing(numbers);
    this.world = new CoordinatorWorld(seed, numbers, ring);
    for (const node of this.world.nodes.values()) node.skewMs = this.world.random.pick(SKEWS_MS);
  }

  run(): this {
    const { world } = this;
    const { random } = world;
    world.faults = {
      loss: random.pick([0, 0.02, 0.15]),
      duplication: random.pick([0, 0.1]),
      delayMsMax: random.pick([2, 20, 60]),
      straggler: random.pick([0, 0.05]),
    };
    const until = 2500;
    const clients = random.between(3, 5);
    for (let client = 0; client < clients; client++) this.#client(client, until);
    if (random.chance(0.9)) this.#disturb(until);
    world.run(until + 40_000, () => world.schedule.nowMs > until && this.#open === 0);
    this.#mustBeIdle();
    world.heal();
    world.run(1000);
    for (const key of KEYS) this.#call(100, this.#anyNode(), key, 'get', this.#mix !== 'quorum');
    world.run(10_000, () => this.#open === 0);
    this.#mustBeIdle();
    return this;
  }
  #mustBeIdle(): void {
    if (this.#open > 0) throw new Error(`seed ${this.#seed}: ${this.#open} requests were never answered`);
  }
  #anyNode(): NodeNumber {
    return this.world.random.pick([...this.world.nodes.keys()]);
  }

  /** Partitions, crashes, wrong beliefs about who is up, jumps of clocks. */
  #disturb(until: number): void {
    const { world } = this;
    const { random, schedule } = world;
    const step = (): void => {
      if (schedule.nowMs > until) return;
      const a = this.#anyNode();
      const b = this.#anyNode();
      const node = world.node(a);
      switch (random.below(8)) {
        case 0:
          world.cut.add(`${a}>${b}`);
          break;
        case 1:
          for (const other of world.nodes.keys()) {
            world.cut.add(`${a}>${other}`);
            world.cut.add(`${other}>${a}`);
          }
          break;
        case 2:
        case 3:
          world.cut.clear();
          for (const { down } of world.nodes.values()) down.clear();
          break;
        case 4:
          if (node.running) this.#crash(a);
          else node.restart();
          break;
        case 5:
          if (a !== b) node.down.add(b);
          break;
        case 6:
          node.skewMs = random.pick(SKEWS_MS);
          break;
        default:
          if (!node.running) node.restart();
      }
      schedule.after(random.between(20, 250), step);
    };
    step();
  }
  /** Requests at a crashed coordinator end as unknown. */
  readonly #atNode = new Map<NodeNumber, Set<() => void>>();
  #crash(number: NodeNumber): void {
    this.world.node(number).crash();
    const waiting = [...(this.#atNode.get(number) ?? [])];
    this.#atNode.get(number)?.clear();
    for (const lost of waiting) lost();
  }

  #client(client: number, until: number): void {
    const { world } = this;
    const { random, schedule } = world;
    const step = (): void => {
      if (schedule.nowMs > until) return;
      const key = random.pick(KEYS);
      const serial = this.#mix === 'serial' || (this.#mix === 'mixed' && random.chance(0.4));
      const plain = ['get', 'get', 'put', 'put', 'delete'] as const;
      const kind = serial
        ? random.pick([...plain, 'cas', 'cas', 'cas', 'exists'] as const)
        : random.pick(plain);
      this.#call(client, this.#anyNode(), key, kind, serial, () =>
        schedule.after(random.pick([1, 10, 60]), step),
      );
    };
    schedule.after(random.below(20), step);
  }

  #call(
    client: number,
    at: NodeNumber,
    key: string,
    kind: Operation['kind'],
    serial: boolean,
    ended: () => void = () => undefined,
  ): void {
    const { random, schedule } = this.world;
    const isWrite = kind !== 'get';
    const versions = this.calls.filter((one) => one.key === key && one.version > 0).slice(-4);
    const demanded =
      kind !== 'cas' || random.chance(0.25) ? 0 : versions.length === 0 ? 0 : random.pick(versions).version;
    const call: Call = {
      client,
      key,
      kind,
      serial,
      value: !isWrite || kind === 'delete' ? null : `v${this.#values++}`,
      demanded,
      called: schedule.nowMs,
      returned: Number.POSITIVE_INFINITY,
      outcome: 'unknown',
      version: 0,
      sloppy: false,
    };
    this.calls.push(call);
    this.#open++;
    const end = (): void => {
      call.returned = schedule.nowMs;
      this.#open--;
      ended();
    };
    if (isWrite) this.#write(call, at, serial && random.chance(0.5) ? `i${this.#values++}` : '', 4, end);
    else this.#read(call, at, end);
  }

  #send<A>(
    at: NodeNumber,
    send: (deadlineMs: MonotonicMs, done: (answer: A) => void) => void,
    done: (answer: A | null) => void,
  ): void {
    const node = this.world.node(at);
    if (!node.running) {
      this.world.schedule.after(1, () => done(null));
      return;
    }
    const waiting = this.#atNode.get(at) ?? new Set();
    this.#atNode.set(at, waiting);
    const lost = (): void => done(null);
    waiting.add(lost);
    let inCall = true;
    send(deadlineIn(node.clock, OPERATION_MS), (answer) => {
      if (inCall) throw new Error('an answer before the call has returned');
      if (!waiting.delete(lost)) throw new Error('a second answer, or one from a coordinator that is gone');
      done(answer);
    });
    inCall = false;
  }

  #read(call: Call, at: NodeNumber, end: () => void): void {
    const { key, tokenHi, tokenLo } = placeOf(call.key);
    const consistency = call.serial ? Consistency.SERIAL : Consistency.QUORUM;
    this.#send<ClientReadAnswer>(
      at,
      (deadlineMs, done) =>
        this.world.node(at).coordinator.read({ tokenHi, tokenLo, key, consistency, deadlineMs }, done),
      (answer) => {
        if (answer !== null && (answer.status === Status.OK || answer.status === Status.NOT_FOUND)) {
          call.outcome = 'ok';
          const { record } = answer;
          if (record !== null) {
            call.value = Buffer.from(valueAt(viewOf(record), record, 0)).toString();
            call.version = versionOf(record);
          }
        }
        end();
      },
    );
  }

  /** With an idempotency key an unknown outcome is asked for again. */
  #write(call: Call, at: NodeNumber, name: string, tries: number, end: () => void): void {
    const { key, tokenHi, tokenLo } = placeOf(call.key);
    const consistency: ConsistencyCode = call.serial ? Consistency.SERIAL : Consistency.QUORUM;
    const condition =
      call.kind === 'cas' ? Condition.VERSION : call.kind === 'exists' ? Condition.EXISTS : Condition.NONE;
    const request = (deadlineMs: MonotonicMs): ClientWrite => ({
      tokenHi,
      tokenLo,
      key,
      value: call.value === null ? null : Buffer.from(call.value),
      expiresMs: 0,
      consistency,
      sloppy: undefined,
      condition,
      version: call.demanded,
      idempotencyKey: Buffer.from(name),
      fingerprintHi: 1,
      fingerprintLo: name.length,
      deadlineMs,
    });
    this.#send<ClientWriteAnswer>(
      at,
      (deadlineMs, done) => this.world.node(at).coordinator.write(request(deadlineMs), done),
      (answer) => {
        if (answer?.status === Status.OK) {
          call.outcome = 'ok';
          call.version = answer.version;
          call.sloppy = answer.sloppy;
        } else if (answer?.status === Status.VERSION_MISMATCH) call.outcome = 'mismatch';
        else if (answer?.message.endsWith('nothing was written') && name === '') call.outcome = 'failed';
        else if (name !== '' && tries > 0) {
          this.#retry(() => this.#write(call, this.#anyNode(), name, tries - 1, end));
          return;
        }
        end();
      },
    );
  }
  #retry(run: () => void): void {
    this.world.schedule.after(this.world.random.pick([1, 30, 200]), run);
  }

  // ------------------------------------------------------------------------------------ what must hold

  /** What is wrong with the history, '' where nothing is. */
  fault(): string {
    for (const key of KEYS) {
      const calls = this.calls.filter((call) => call.key === key);
      const fault =
        this.#mix === 'serial'
          ? notLinearizable(calls)
          : missedWrite(calls) || (this.#mix === 'mixed' ? passedOver(calls) : '');
      if (fault !== '') return `${key}: ${fault}`;
    }
    return '';
  }
}

/** What one seed shows, '' where all is well. */
export function faultOfSeed(seed: number, mix: Mix): string {
  return new CoordinatorRun(seed, mix).run().fault();
}
