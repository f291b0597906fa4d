/** Clients that ask one thing after another of a few keys (plans.ts). */
import type { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { ConsistencyCode } from '../../src/cluster/contract.ts';
import { Condition } from '../../src/shard/contract.ts';
import type { Cluster } from './cluster.ts';
import type { Operation } from './history.ts';
import type { Machine } from './machine.ts';
import { ClientState, type Plan, Planner, type PlannerOptions } from './plans.ts';
import { eachSeen, seenOf } from './seen.ts';

export interface WorkloadOptions extends PlannerOptions {
  readonly clients: number;
  readonly operations: number;
  readonly thinkUsMean: number;
  /** A client rests now and then, so that all of it lasts as long as faults do. */
  readonly restChance: number;
  readonly restUsMean: number;
  readonly deadlineMs: number;
}

/** A client waits so much longer than the deadline that it asked for. */
const PATIENCE_US = 500_000;
const SCAN_PAGES_MAX = 50;
const ATTEMPTS_MAX = 4;
const NOTHING = new Uint8Array(0);
const encoder = new TextEncoder();

export class Workload {
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #options: WorkloadOptions;
  readonly #planner: Planner;
  #begun = 0;
  #active = 0;
  #isEnded = false;

  constructor(cluster: Cluster, random: Random, options: WorkloadOptions) {
    this.#cluster = cluster;
    this.#random = random;
    this.#options = options;
    this.#planner = new Planner(random, options);
  }

  get keys(): readonly string[] {
    return this.#planner.keys;
  }

  /** All that was to be asked has been asked, and answered or given up. */
  get isDone(): boolean {
    return this.#active === 0 && (this.#isEnded || this.#begun >= this.#options.operations);
  }
  /** Clients ask for nothing more. */
  end(): void {
    this.#isEnded = true;
  }

  start(): void {
    for (let client = 1; client <= this.#options.clients; client++) this.#next(new ClientState(client));
  }

  /** Reads a key, for the checks at the end. */
  probe(
    machine: Machine,
    key: string,
    consistency: ConsistencyCode,
    done: (operation: Operation) => void,
  ): void {
    this.ask(0, machine, { kind: 'get', key, consistency }, done);
  }

  #next(client: ClientState): void {
    const { scheduler } = this.#cluster.site;
    if (this.#isEnded || this.#begun >= this.#options.operations) return;
    const { thinkUsMean, restChance, restUsMean } = this.#options;
    const meanUs = this.#random.chance(restChance) ? restUsMean : thinkUsMean;
    const us = -Math.log(1 - this.#random.below(1000) / 1000) * meanUs;
    scheduler.after(us, () => {
      if (this.#isEnded || this.#begun >= this.#options.operations) return;
      const machine = this.#machineFor(client);
      if (machine === null) return this.#next(client);
      this.#begun++;
      this.#active++;
      this.#run(client, machine, this.#planner.next(client), 1);
    });
  }

  #run(client: ClientState, machine: Machine, plan: Plan, attempt: number): void {
    this.ask(client.number, machine, plan, (operation) => {
      this.#planner.learn(client, operation);
      const again = this.#machineFor(client);
      const isUnknown = operation.status !== Status.OK && operation.status !== Status.VERSION_MISMATCH;
      if (
        plan.once !== undefined &&
        isUnknown &&
        attempt < ATTEMPTS_MAX &&
        again !== null &&
        !this.#isEnded
      ) {
        this.#run(client, again, plan, attempt + 1);
        return;
      }
      this.#active--;
      this.#next(client);
    });
  }

  /** Mostly the same node again; another after it has gone. */
  #machineFor(client: ClientState): Machine | null {
    const { serving } = this.#cluster;
    if (serving.length === 0) return null;
    if (client.machine === null || !serving.includes(client.machine) || this.#random.chance(0.2))
      client.machine = this.#random.pick(serving);
    return client.machine;
  }

  /** Asks a machine for one thing. */
  ask(client: number, machine: Machine, plan: Plan, done: (operation: Operation) => void): void {
    const { scheduler, history } = this.#cluster.site;
    const { program, clock } = machine;
    const nowMs = clock.nowMs();
    const operation: Operation = {
      id: history.operations.length + 1,
      client,
      node: machine.name,
      kind: plan.kind,
      key: plan.key,
      consistency: plan.consistency,
      sloppyAllowed: plan.sloppy,
      condition: plan.condition ?? Condition.NONE,
      expected: plan.expected ?? null,
      idempotencyKey: plan.once ?? '',
      value: plan.value ?? null,
      expiresMs: plan.ttlMs === undefined ? 0 : nowMs + plan.ttlMs,
      invokedUs: scheduler.nowUs,
      dueUs: scheduler.nowUs + this.#options.deadlineMs * 1000 + PATIENCE_US,
      invokedMs: nowMs,
      endedUs: Number.POSITIVE_INFINITY,
      endedMs: 0,
      status: -1,
      version: 0,
      sloppy: false,
      found: null,
      page: new Map(),
      message: '',
    };
    history.add(operation);
    let isOpen = true;
    const end = (status: number, message: string): void => {
      if (!isOpen) throw new Error(`#${operation.id} was answered twice`);
      isOpen = false;
      operation.status = status;
      operation.message = message;
      operation.endedUs = scheduler.nowUs;
      operation.endedMs = clock.nowMs();
      // The client hears of it in an event of its own.
      scheduler.after(0, () => done(operation));
    };
    const patience = scheduler.after(this.#options.deadlineMs * 1000 + PATIENCE_US, () => {
      isOpen = false;
      done(operation);
    });
    const answer = (status: number, message: string): void => {
      if (patience.run === null) return;
      patience.run = null;
      end(status, message);
    };
    if (program === null) {
      answer(Status.UNAVAILABLE, 'connection refused');
      return;
    }
    const deadlineMs = nowMs + this.#options.deadlineMs;
    if (plan.kind === 'scan') {
      this.#scan(program, operation, deadlineMs, answer);
      return;
    }
    const key = encoder.encode(plan.key);
    hashToken(key);
    const place = { tokenHi: token.hi, tokenLo: token.lo, key };
    if (plan.kind === 'get') {
      program.read({ ...place, consistency: plan.consistency, deadlineMs }, ({ status, record, message }) => {
        if (patience.run === null) return;
        operation.found = record === null ? null : seenOf(record);
        answer(status === Status.NOT_FOUND ? Status.OK : status, message);
      });
      return;
    }
    program.write(
      {
        ...place,
        value: plan.kind === 'delete' ? null : encoder.encode(plan.value),
        expiresMs: operation.expiresMs,
        consistency: plan.consistency,
        sloppy: plan.sloppy,
        condition: operation.condition,
        version: plan.expected?.version ?? 0,
        idempotencyKey: encoder.encode(operation.idempotencyKey),
        fingerprintHi: 0,
        fingerprintLo: this.#fingerprint(plan),
        deadlineMs,
      },
      ({ status, version, sloppy, message }) => {
        if (patience.run === null) return;
        operation.version = version;
        operation.sloppy = sloppy;
        answer(status, message);
      },
    );
  }

  #fingerprint({ once }: Plan): number {
    return once === undefined ? 0 : Number(once.slice(once.indexOf('-') + 1));
  }

  #scan(
    program: NonNullable<Machine['program']>,
    operation: Operation,
    deadlineMs: number,
    answer: (status: number, message: string) => void,
  ): void {
    const next = (after: Parameters<typeof program.scan>[0]['after'], pages: number): void =>
      program.scan(
        {
          after,
          prefix: NOTHING,
          headOnly: false,
          recordsMax: 5,
          bytesMax: 4096,
          consistency: operation.consistency,
          deadlineMs,
        },
        (page) => {
          if (page.status !== Status.OK) return answer(page.status, page.message);
          eachSeen(page.records, (key, seen) => void operation.page.set(key, seen));
          if (page.next === null) return answer(Status.OK, '');
          if (pages >= SCAN_PAGES_MAX) throw new Error(`a scan takes more than ${SCAN_PAGES_MAX} pages`);
          next(page.next, pages + 1);
        },
      );
    next(null, 1);
  }
}
