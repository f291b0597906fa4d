import { expect } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { type NodeNumber, WriteMode } from '../../src/cluster/contract.ts';
import { beginLoneJoin, type LoneJoinOptions } from '../../src/cluster/lone-join.ts';
import { firstRing } from '../../src/cluster/ring-change.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import type { Standing } from '../../src/cluster/topology.ts';
import { testMember } from './coordinator-world.ts';
import { MemoryDocuments } from './gossip-network.ts';
import { MemoryReplica } from './memory-replica.ts';
import { recordOf, type Written } from './records.ts';
import { EventQueue } from './ring-event-queue.ts';

export const VNODES = 16;

/** Ring 1 of a cluster of its own. */
export const ringOf = (node: NodeNumber, vnodes = VNODES, clusterName = 'test'): RingMap =>
  firstRing({ clusterName, clusterId: node.toString(16).padStart(32, '0'), vnodes, replicas: 3 }, [
    testMember(node),
  ]);

/** A node that is alone, the clients that write to it, and how it is held. */
export class LoneNode {
  readonly number: NodeNumber;
  readonly queue: EventQueue;
  readonly replica: MemoryReplica;
  readonly documents = new MemoryDocuments();
  readonly hintBytes = new Map<NodeNumber, number>();
  readonly acknowledged: string[] = [];
  ring: RingMap | null;
  standing: Standing = 'member';
  isChanging = false;
  isHeld = false;
  /** What became of being told to join; '' as long as nothing has. */
  outcome = '';
  pageStatus: number = Status.OK;
  /** Where the seeds are asked. */
  answers: (seeds: readonly string[]) => Promise<RingMap> = () => Promise.resolve(ringOf(99));
  #underWay = 0;
  #onIdle: (() => void) | null = null;

  constructor(number: NodeNumber, queue: EventQueue) {
    this.number = number;
    this.queue = queue;
    this.ring = ringOf(number);
    const { clock } = queue;
    this.replica = new MemoryReplica({
      clock,
      vnodes: VNODES,
      gcGraceMs: 3_600_000,
      later: (run) => queue.after(queue.random.below(5), run),
      fault: (operation) => (operation === 'page' ? this.pageStatus : Status.OK),
    });
  }

  get options(): LoneJoinOptions {
    return {
      self: testMember(this.number),
      clusterName: 'test',
      vnodes: VNODES,
      local: {
        // A page may be empty and not the last.
        page: (request, done) => {
          const next = { tokenHi: 0, tokenLo: 0, keyspace: 0, key: new Uint8Array(0) };
          const records = new Uint8Array(0);
          if (request.after === null && this.pageStatus === Status.OK)
            queueMicrotask(() => done({ status: Status.OK, records, next, message: '' }));
          else this.replica.page(request, done);
        },
      },
      hints: { targets: () => this.hintBytes },
      documents: this.documents,
      clock: this.queue.clock,
      ring: () => this.ring,
      standing: () => this.standing,
      isChanging: () => this.isChanging,
      hold: () => {
        this.isHeld = true;
        return new Promise((resolve) => {
          this.#onIdle = resolve;
          this.#lookIdle();
        });
      },
      release: () => {
        this.isHeld = false;
      },
      ringOf: (seeds) => this.answers(seeds),
    };
  }

  join(seeds: readonly string[] = ['n99:1']): Promise<void> {
    return beginLoneJoin(this.options, seeds).then(
      () => {
        this.outcome = 'joins';
      },
      (error: Error) => {
        this.outcome = `${error.constructor.name}: ${error.message}`;
      },
    );
  }

  /** As a front end: refused at once, or on its way to the replica for a while, and acknowledged when it is there. */
  write(written: Written): void {
    if (this.isHeld) return;
    const { queue, replica } = this;
    this.#underWay++;
    queue.after(queue.random.below(20), () => {
      const deadlineMs = deadlineIn(queue.clock, 1000);
      replica.write({ record: recordOf(written), also: null, mode: WriteMode.FRESH, deadlineMs }, () => {
        this.acknowledged.push(String(written.key));
        this.#underWay--;
        this.#lookIdle();
      });
    });
  }
  #lookIdle(): void {
    if (this.#underWay === 0) this.#onIdle?.();
  }
}

export const newNode = (random: Random, number: NodeNumber = 1): LoneNode =>
  new LoneNode(number, new EventQueue(random));
/** Lets simulated time pass, and what promises lead to in it, until `until` holds or `ms` have passed. */
export async function pass(queue: EventQueue, ms: number, until: () => boolean): Promise<boolean> {
  const endMs = queue.clock.monotonicMs() + ms;
  while (!until() && queue.clock.monotonicMs() < endMs) {
    await queue.run(2, until);
    await new Promise((done) => setImmediate(done));
  }
  return until();
}
export async function joined(node: LoneNode, seeds?: readonly string[]): Promise<string> {
  void node.join(seeds);
  expect(await pass(node.queue, 60_000, () => node.outcome !== ''), 'it does not end').toBe(true);
  return node.outcome;
}
