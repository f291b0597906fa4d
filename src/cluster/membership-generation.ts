/**
 * The generation of a node: raised and durable before the node says anything, at each start. Pure.
 *
 * 1. It is above that of every earlier start of this data directory, also where the clock went back.
 * 2. A new data directory under an old node id starts from the seconds since 1970, so it is above the past as well where
 *    the clock is right; where it is not, the past is heard of by gossip, and `raiseAbove` passes it.
 */
import { BadRequestError } from '../base/errors.ts';
import { readInteger, writeInteger } from '../base/integers.ts';
import type { ClusterWorld } from './contract.ts';

const DOCUMENT = 'generation';
const BYTES = 8;

/** The generation of the start that is under way, as long as nothing of it was saved. Throws where the document is none. */
export function nextGeneration({ documents, clock }: Pick<ClusterWorld, 'documents' | 'clock'>): number {
  const bytes = documents.load(DOCUMENT);
  if (bytes !== null && bytes.length !== BYTES)
    throw new BadRequestError(`document ${DOCUMENT} has ${bytes.length} bytes instead of ${BYTES}`);
  const last = bytes === null ? 0 : readInteger(new DataView(bytes.buffer, bytes.byteOffset), 0);
  return Math.max(last + 1, Math.floor(clock.nowMs() / 1000));
}

/**
 * Makes a generation durable that others are about to hear in a greeting, before the membership starts: every later one is above it. Or
 * else a node that dies before that, and whose clock goes back, would be taken for an earlier process of itself by whoever heard it.
 */
export function keepGeneration(documents: ClusterWorld['documents'], generation: number): Promise<void> {
  return new Promise((resolve, reject) => {
    documents.save(DOCUMENT, encoded(generation), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

function encoded(generation: number): Uint8Array {
  const bytes = new Uint8Array(BYTES);
  writeInteger(new DataView(bytes.buffer), 0, generation);
  return bytes;
}

export class Generation {
  readonly #world: ClusterWorld;
  #value = 0;

  constructor(world: ClusterWorld) {
    this.#world = world;
  }
  get value(): number {
    return this.#value;
  }

  /** Calls `done` once the generation of this start is durable. Throws where the document is not one. */
  start(done: (error: Error | null) => void): void {
    this.#save(nextGeneration(this.#world), done);
  }
  raiseAbove(generation: number, done: (error: Error | null) => void): void {
    this.#save(Math.max(this.#value, generation) + 1, done);
  }

  #save(value: number, done: (error: Error | null) => void): void {
    this.#world.documents.save(DOCUMENT, encoded(value), (error) => {
      if (error === null) this.#value = value;
      done(error);
    });
  }
}
