import { limits } from '../../src/base/limits.ts';
import { tokenHiAt } from '../../src/base/record.ts';
import type {
  HintBatch,
  HintLoss,
  HintPart,
  HintStore,
  NodeNumber,
  Replica,
  WriteAnswer,
} from '../../src/cluster/contract.ts';
import type { MemoryReplica } from './memory-replica.ts';
import { viewOf } from './records.ts';

type Kept = MemoryReplica['hints'][number];
interface Part extends HintPart {
  readonly hints: readonly Kept[];
  isExpired: boolean;
  bytesDamaged: number;
}

/** Hints as the replica in memory keeps them: parts of some hints each, made when they are first asked for. */
export class MemoryHints implements HintStore {
  readonly #replica: MemoryReplica;
  #later: (run: () => void) => void = queueMicrotask;
  #parts: Part[] = [];
  #position = 0;
  /** Hints in one part from now on; a real store cuts by bytes and time. */
  partHints = 8;
  /** Bytes that the next part asked for has lost, for ever. */
  bytesDamaged = 0;
  /** Everything kept now is too old from the next look on. */
  isTooOld = false;
  /** What the next calls of `next` fail with. */
  readonly failures: Error[] = [];
  readonly discarded: HintPart[] = [];

  constructor(replica: MemoryReplica) {
    this.#replica = replica;
  }
  /** A new life of its node, and how its answers come then. */
  restart(later: (run: () => void) => void): void {
    this.#later = later;
    for (const part of this.#parts) part.isExpired = false;
  }
  add(target: NodeNumber, write: Parameters<Replica['hint']>[1], done: (answer: WriteAnswer) => void): void {
    this.#replica.hint(target, write, done);
  }
  targets(): ReadonlyMap<NodeNumber, number> {
    const bytes = new Map<NodeNumber, number>();
    for (const { target, write } of this.#replica.hints)
      bytes.set(target, (bytes.get(target) ?? 0) + write.record.length);
    return bytes;
  }
  next(target: NodeNumber, done: (batch: HintBatch | null, error: Error | null) => void): void {
    this.#cut();
    const failure = this.failures.shift() ?? null;
    const part = this.#parts.find((one) => one.target === target && !one.isExpired);
    if (part !== undefined) {
      part.bytesDamaged += this.bytesDamaged;
      this.bytesDamaged = 0;
    }
    const batch =
      part === undefined || failure !== null
        ? null
        : {
            ...position(part),
            writes: part.hints.map(({ write }) => write),
            bytesDamaged: part.bytesDamaged,
          };
    this.#later(() => done(batch, failure));
  }
  postpone(part: HintPart): void {
    const at = this.#parts.findIndex((one) => isSame(one, part));
    if (at >= 0) this.#parts.push(...this.#parts.splice(at, 1));
  }
  discard(part: HintPart): void {
    this.discarded.push(part);
    const found = this.#parts.find((one) => isSame(one, part));
    this.#parts = this.#parts.filter((one) => one !== found);
    for (const hint of found?.hints ?? []) {
      const at = this.#replica.hints.indexOf(hint);
      if (at >= 0) this.#replica.hints.splice(at, 1);
    }
  }
  expire(): readonly HintLoss[] {
    if (!this.isTooOld) return [];
    this.#cut();
    const losses: HintLoss[] = [];
    for (const part of this.#parts) {
      if (part.isExpired || losses.length === limits.hintExpiriesMax) continue;
      part.isExpired = true;
      const tokens = part.hints.map(({ write }) => tokenHiAt(viewOf(write.record), 0));
      losses.push({
        ...position(part),
        hints: part.hints.length,
        tokens,
        isDamaged: part.bytesDamaged > 0,
      });
    }
    return losses;
  }

  #cut(): void {
    const known = new Set(this.#parts.flatMap(({ hints }) => hints));
    for (const target of this.targets().keys()) {
      const fresh = this.#replica.hints.filter((hint) => hint.target === target && !known.has(hint));
      for (let at = 0; at < fresh.length; at += this.partHints)
        this.#parts.push({
          target,
          position: ++this.#position,
          hints: fresh.slice(at, at + this.partHints),
          isExpired: false,
          bytesDamaged: 0,
        });
    }
  }
}

const position = ({ target, position: at }: HintPart): HintPart => ({ target, position: at });
const isSame = (a: HintPart, b: HintPart): boolean => a.target === b.target && a.position === b.position;
