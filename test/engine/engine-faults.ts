import { CorruptionError, DiskFullError, IoError, ReadOnlyError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import { isDeadAt, versionAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { FRAME_HEADER_BYTES } from '../../src/engine/manifest-format.ts';
import { segmentOfName, WAL_GROUP_HEADER_BYTES } from '../../src/engine/wal-format.ts';
import { recoverSegment } from '../../src/engine/wal-recovery.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import type { Fault, Operation } from '../../src/vfs/simulated-faults.ts';
import { newDisk } from './disk.ts';
import { CRASH_SHAPE, CrashRun, Ledger } from './engine-crash.ts';
import { DIRECTORY, EngineHarness, fieldsOf, ownKeys } from './engine-harness.ts';

export const FAULTY: readonly Operation[] = [
  'write',
  'sync',
  'sync-directory',
  'create',
  'rename',
  'unlink',
  'open',
  'read',
  'readdir',
  'truncate',
  'size',
  'exists',
  'free-bytes',
];

/** How often each operation is called in a run of writes, flushes, compactions and a second start. */
export async function countOperations(seed: number): Promise<Map<Operation, number>> {
  const disk = newDisk();
  await faultyRun(disk, seed, new Ledger());
  return new Map(FAULTY.map((operation) => [operation, disk.callsOf(operation)]));
}

/** Two lives with lookups; an error ends it early, and must be one of those that tell what happened. */
async function faultyRun(disk: SimulatedFileSystem, seed: number, ledger: Ledger): Promise<string> {
  const run = new CrashRun(disk, seed, ledger);
  try {
    for (let life = 0; life < 2; life++) {
      await run.harness.open();
      await run.check('at a start');
      await run.work(70);
      await checkAnswers(run.harness, ledger);
      await run.harness.close();
    }
    return '';
  } catch (error) {
    if (
      error instanceof IoError ||
      error instanceof ReadOnlyError ||
      error instanceof CorruptionError ||
      error instanceof DiskFullError
    )
      return error.message;
    if (error instanceof Error && error.message.startsWith('append refused')) {
      const refused = run.harness.engine.stats().writesRefused;
      if (refused === '') throw error;
      await checkAnswers(run.harness, ledger);
      await run.harness.close();
      return refused;
    }
    throw error;
  }
}

/** Every answer is an error, or what was acknowledged; of what is in doubt nothing is shown. */
async function checkAnswers(harness: EngineHarness, ledger: Ledger): Promise<void> {
  const { engine } = harness;
  for (const key of ownKeys(24, CRASH_SHAPE))
    harness.lookup(key, false, ({ outcome, error }) => {
      if (error !== null) {
        if (!(error instanceof IoError || error instanceof CorruptionError)) throw error;
        return;
      }
      const expected = ledger.acknowledged.get(key.toString());
      if (outcome !== 1) {
        if (expected !== undefined && !expected.deleted) throw new Error(`${key} is not there`);
        return;
      }
      const version = versionAt(engine.found.view, engine.found.offset);
      if (version !== expected?.version)
        throw new Error(`${key} has version ${version}, ${expected?.version} was acknowledged last`);
    });
  await harness.settle();
}

/** Strikes one call with an error; whatever comes of it, the next life has all that was acknowledged. */
export async function strike(fault: Fault, seed: number): Promise<string> {
  const disk = newDisk();
  const ledger = new Ledger();
  const label = `seed ${seed}, ${fault.errno} at ${fault.operation} ${fault.after}`;
  disk.inject(fault);
  let outcome = '';
  try {
    outcome = await faultyRun(disk, seed, ledger);
  } catch (error) {
    throw new Error(`${label}: ${(error as Error).stack}`);
  }
  disk.clearFaults();
  const after = disk.powerCut(new Random(seed));
  const next = new CrashRun(after, seed + 1, ledger);
  try {
    await next.harness.open();
    await next.check(label);
    await next.work(10);
    await next.harness.close();
  } catch (error) {
    throw new Error(`${label}, ended by '${outcome}': ${(error as Error).stack}`);
  }
  return outcome;
}

/** A shard with some tables, a log with records, and its directory, closed. */
export async function builtDisk(seed: number): Promise<{ disk: SimulatedFileSystem; ledger: Ledger }> {
  const disk = newDisk({ seed });
  const run = new CrashRun(disk, seed, new Ledger(), { ...CRASH_SHAPE, dial: 10 });
  await run.harness.open();
  await run.work(100);
  await run.harness.close();
  return { disk, ledger: run.ledger };
}

function endOfGroups(disk: SimulatedFileSystem, name: string, number: number): number {
  const path = `${DIRECTORY}/${name}`;
  const bytes = new Uint8Array(disk.bytesOf(path).length);
  const view = new DataView(bytes.buffer);
  return recoverSegment(disk, path, { number, newest: true, bytes, view }, () => undefined).end;
}

/**
 * Bytes of a file in which a flipped bit must be found. Not the zeros at the end of a preallocated segment, and not
 * what vouches for the frame or group before it and carries nothing itself: it passes for torn.
 */
export function countedBytes(disk: SimulatedFileSystem, name: string): number {
  const bytes = disk.bytesOf(`${DIRECTORY}/${name}`);
  let size = bytes.length;
  while (size > 0 && bytes[size - 1] === 0) size--;
  const segment = segmentOfName(name);
  // Behind the groups of a segment there may be stale bytes of the one whose file it was.
  if (segment >= 0) size = endOfGroups(disk, name, segment);
  const logs = disk.readdir(DIRECTORY).filter((other) => /^wal-\d/.test(other));
  if (name === logs.at(-1)) return size - WAL_GROUP_HEADER_BYTES;
  return name.startsWith('MANIFEST') ? size - FRAME_HEADER_BYTES : size;
}

/** Flips one bit of `name` and starts: the file must be named, and no answer may be wrong. */
export async function flipIn(
  disk: SimulatedFileSystem,
  ledger: Ledger,
  name: string,
  byte: number,
  bit: number,
): Promise<boolean> {
  const path = `${DIRECTORY}/${name}`;
  disk.flipBit(path, byte, bit);
  const harness = new EngineHarness(disk, { ...CRASH_SHAPE, dial: 10 });
  const named: string[] = [];
  try {
    await harness.open();
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    return error.message.includes(name);
  }
  const { engine } = harness;
  for (const key of ownKeys(24, CRASH_SHAPE))
    harness.lookup(key, false, ({ outcome, error }) => {
      if (error !== null) {
        named.push(error.message);
        return;
      }
      const expected = ledger.acknowledged.get(key.toString());
      const damagedLog = engine.stats().writesRefused !== '';
      if (outcome !== 1) {
        // Where the log is damaged, nobody knows what is not there: that takes an error.
        if (damagedLog || (expected !== undefined && !expected.deleted))
          throw new Error(`${key} is not there`);
        return;
      }
      const { view, offset } = engine.found;
      const version = versionAt(view, offset);
      const dead = isDeadAt(view, offset, harness.clock.nowMs());
      // With damage in the log what is whole stays readable, and the shard says that it is not all.
      if (!damagedLog && (version !== expected?.version || dead !== expected.deleted))
        throw new Error(`${key} has version ${version}, expected ${expected?.version}`);
    });
  await harness.settle();
  const { damage } = await harness.wait(engine.verify());
  named.push(
    ...damage.map(({ file }) => file),
    ...harness.events.filter((event) => event.startsWith('error')),
  );
  await harness.close();
  return named.some((message) => message.includes(name));
}

/** Appends until it is refused, settling in between; the status. */
export async function fill(
  harness: EngineHarness,
  ledger: Ledger,
  keys: readonly Uint8Array[],
): Promise<number> {
  const { engine } = harness;
  for (let i = 0; i < 10_000; i++) {
    const key = keys[i % keys.length] as Uint8Array;
    const version = ++ledger.version;
    const seq = engine.append(fieldsOf({ key, value: Buffer.alloc(2000, `${version}`), version }), null);
    if (seq > 0) ledger.note(seq, [{ key: Buffer.from(key).toString(), version, deleted: false }]);
    else if (-seq !== Status.OVERLOADED) return -seq;
    else {
      await harness.settle();
      harness.advance(20_000);
    }
    if (i % 3 === 0) engine.commit();
    if (i % 5 === 0) await harness.settle();
  }
  throw new Error('never refused');
}
