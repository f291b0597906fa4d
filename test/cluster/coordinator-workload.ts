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
import { CALM, CoordinatorWorld, testMember, testRing } from './coordinator-world.ts';
import { checkLinearizable, type Operation } from './linearizability.ts';

export type Mix = 'serial' | 'quorum' | 'mixed';
const KEYS = ['k0', 'k1'];
const OPERATION_MS = 1500;
const SKEWS_MS = [0, 0, 0, 5, -40, 600_000, -600_000];

/** A request and what came of it. Times are of the schedule. */
export interface Call {
  readonly client: number;
  readonly key: string;
  readonly kind: Operation['kind'];
  readonly serial: boolean;
  /** What is written; null deletes. A get: what it found. */
  value: string | null;
  /** cas: the version that is demanded. */
  readonly demanded: number;
  readonly called: number;
  returned: number;
  outcome: Operation['outcome'] | 'failed';
  version: number;
  sloppy: boolean;
}

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
    send: (deadlineMs: number, done: (answer: A) => void) => void,
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
    send(node.clock.nowMs() + OPERATION_MS, (answer) => {
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
    const request = (deadlineMs: number): ClientWrite => ({
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

function show({ client, kind, value, demanded, called, returned, outcome, version }: Call): string {
  return `${client}: ${kind} ${value}${kind === 'cas' ? ` if ${demanded}` : ''} ${outcome} ${version} [${called.toFixed(1)}, ${returned.toFixed(1)}]`;
}

/** SERIAL alone: one register. A version stands for the value that somebody saw under it. */
function notLinearizable(calls: readonly Call[]): string {
  const values = new Map<number, string | null>([[0, null]]);
  for (const { kind, outcome, version, value } of calls)
    if (outcome === 'ok' && version > 0 && kind !== 'delete') {
      if ((values.get(version) ?? value) !== value)
        return `version ${version} means both ${value} and ${values.get(version)}`;
      values.set(version, value);
    }
  const operations = calls
    .filter(({ outcome }) => outcome !== 'failed')
    .map((call): Operation => {
      const { client, kind, value, demanded, called, returned } = call;
      // The version of a delete names no state: a tombstone is absent, and absent is 0.
      const expected = values.has(demanded) ? (values.get(demanded) ?? null) : `nobody saw ${demanded}`;
      return {
        client,
        kind,
        value,
        expected,
        called,
        returned,
        outcome: call.outcome === 'failed' ? 'unknown' : call.outcome,
      };
    });
  const { linearizable, longest, stuck } = checkLinearizable(operations);
  if (linearizable) return '';
  const placed = longest.map(({ kind, value }) => `${kind} ${value}`).join(', ');
  return `not linearizable; after ${placed} nothing fits with ${stuck?.kind} ${stuck?.value} ${stuck?.outcome}\n${calls.map(show).join('\n')}`;
}

/** Acknowledged writes and earlier reads are never missed by a later read: versions do not go back. */
function missedWrite(calls: readonly Call[]): string {
  const reads = calls.filter(({ kind, outcome }) => kind === 'get' && outcome === 'ok');
  for (const read of reads) {
    const before = calls.filter(
      ({ outcome, returned, sloppy, version, value }) =>
        outcome === 'ok' && returned < read.called && !sloppy && version > 0 && value !== null,
    );
    const deletes = calls.filter(
      ({ kind, outcome }) => kind === 'delete' && outcome !== 'failed' && outcome !== 'mismatch',
    );
    for (const one of before) {
      if (read.version >= one.version) continue;
      // Nothing was found: a delete must be able to have come after it.
      if (
        read.version === 0 &&
        deletes.some((del) => (del.outcome === 'ok' ? del.version > one.version : true))
      )
        continue;
      return `a read misses what came before it\n${show(one)}\n${show(read)}\n${calls.map(show).join('\n')}`;
    }
    // A value is seen under one version, or under a later one where it was proposed again: never before it was written.
    const writer = calls.find(({ kind, value }) => kind !== 'get' && value !== null && value === read.value);
    if (
      read.value !== null &&
      (writer === undefined || writer.outcome === 'failed' || writer.outcome === 'mismatch')
    )
      return `a read finds what was not written\n${show(read)}`;
  }
  return '';
}

/** No conditional write lies above an acknowledged write that is newer than what it was based on. */
function passedOver(calls: readonly Call[]): string {
  for (const cas of calls) {
    if (cas.kind !== 'cas' || cas.outcome !== 'ok') continue;
    for (const write of calls) {
      if (write.kind === 'get' || write.outcome !== 'ok' || write.sloppy || write === cas) continue;
      if (write.version <= cas.demanded || write.version >= cas.version) continue;
      if (write.kind === 'delete' && cas.demanded === 0) continue;
      if (cas.demanded === 0 && deletedBetween(calls, write, cas)) continue;
      return `a conditional write passes over another\n${show(write)}\n${show(cas)}\n${calls.map(show).join('\n')}`;
    }
  }
  return '';
}
function deletedBetween(calls: readonly Call[], write: Call, cas: Call): boolean {
  return calls.some(
    ({ kind, outcome, version }) =>
      kind === 'delete' && (outcome === 'unknown' || (version > write.version && version < cas.version)),
  );
}

/** What one seed shows, '' where all is well. */
export function faultOfSeed(seed: number, mix: Mix): string {
  return new CoordinatorRun(seed, mix).run().fault();
}
export { CALM };
