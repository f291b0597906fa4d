/** Whom this node talks to: lists by liveness, made anew after a change, and choice by chance. Pure. */
import type { ClusterWorld, NodeNumber } from './contract.ts';
import { Claim, type ClaimCode } from './membership-messages.ts';
import type { MemberTable } from './membership-table.ts';

export class Peers {
  readonly #world: ClusterWorld;
  readonly #table: MemberTable;
  #others: NodeNumber[] | null = null;
  #downs: NodeNumber[] | null = null;

  constructor(world: ClusterWorld, table: MemberTable) {
    this.#world = world;
    this.#table = table;
  }
  /** To be called after each change of liveness. */
  changed(): void {
    this.#others = null;
    this.#downs = null;
  }
  /** Up or suspected, without this node. */
  get others(): readonly NodeNumber[] {
    this.#others ??= this.#where((claim) => claim <= Claim.SUSPECT);
    return this.#others;
  }
  get downs(): readonly NodeNumber[] {
    this.#downs ??= this.#where((claim) => claim === Claim.DOWN);
    return this.#downs;
  }
  isUpAt(address: string): boolean {
    return this.others.some((number) => this.#table.get(number)?.address === address);
  }
  /** Up to `count` distinct others. */
  pick(count: number, except: NodeNumber): NodeNumber[] {
    const { others } = this;
    const picked: NodeNumber[] = [];
    for (let tries = 0; tries < count * 4 && picked.length < count && others.length > 0; tries++) {
      const number = this.#world.random.pick(others);
      if (number !== except && !picked.includes(number)) picked.push(number);
    }
    return picked;
  }

  #where(is: (claim: ClaimCode) => boolean): NodeNumber[] {
    const numbers: NodeNumber[] = [];
    for (const { number, claim } of this.#table.values())
      if (number !== this.#world.self && is(claim)) numbers.push(number);
    return numbers;
  }
}
