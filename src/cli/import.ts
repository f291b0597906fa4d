/** `ringkv import`: NDJSON, plain or gzip, into a server or a data directory, many writes at a time. */
import { type Command, Option } from 'commander';
import { limits, MiB } from '../base/limits.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { CommandError, exitCodeOf, InterruptedError, messageOf } from './failure.ts';
import { duration, integer, jsonFlag, withTarget } from './flags.ts';
import { AckLog } from './import-ack-log.ts';
import { type ImportInput, openInput } from './import-file.ts';
import { ImportPump, type ImportStop } from './import-pump.ts';
import { linesOf } from './ndjson-lines.ts';
import { type TargetFlags, usingTarget } from './open-target.ts';
import { startProgress } from './progress.ts';
import type { Target } from './target.ts';

interface ImportFlags extends TargetFlags {
  readonly skipBad?: true;
  readonly inFlight: number;
  readonly retryFor: number;
  readonly ackLog?: string;
  readonly json?: true;
}

/** The longest value, each of its bytes escaped as \u00xx, and its key. */
const LINE_BYTES_MAX = 6 * (limits.valueBytesCeiling + limits.keyBytesCeiling) + MiB;
const IN_FLIGHT_DEFAULT = 128;
const IN_FLIGHT_MAX = 4096;
const RETRY_FOR_MS_DEFAULT = 10_000;
const DAY_MS = 86_400_000;
/** Skipped lines that are named; the others are counted. */
const BAD_SHOWN_MAX = 20;

export function addImport(program: Command, run: Run): void {
  withTarget(
    program
      .command('import')
      .summary('load records from NDJSON')
      .description(
        'Writes the records of a file, one JSON object a line: {"key": "...", "value": "..."}, with keyBase64 and ' +
          'valueBase64 for what is not text, and ttl in seconds for what expires. Gzip is recognised by content. ' +
          'Without --url and --data: the server at the default address where it answers, otherwise the data directory.',
      ),
  )
    .argument('<file>', 'file to read; - reads standard input')
    .option('--skip-bad', 'go on after lines that are no records, and after records that are refused')
    .addOption(
      new Option('--in-flight <n>', 'writes at one time')
        .argParser(integer(1, IN_FLIGHT_MAX))
        .default(IN_FLIGHT_DEFAULT),
    )
    .addOption(
      new Option('--retry-for <duration>', 'repeat writes while none is acknowledged for so long')
        .argParser(duration(0, DAY_MS))
        .default(RETRY_FOR_MS_DEFAULT, '10s'),
    )
    .option('--ack-log <path>', 'write the key of each acknowledged record to a file')
    .addOption(jsonFlag())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkv import packages.ndjson.gz\n  ringkv import records.ndjson --data ./data\n' +
        '  zcat records.gz | ringkv import - --url http://127.0.0.1:8080',
    )
    .action((file: string, flags: ImportFlags) => run((context) => importFile(file, flags, context)));
}

async function importFile(file: string, flags: ImportFlags, context: Context): Promise<ExitCodeValue> {
  const input = await openInput(file, context.stdin, context.interrupted);
  const needs = { fallBack: true, create: true, connections: flags.inFlight, retries: 0 };
  return await usingTarget(flags, needs, context, (target) => importInto(target, input, flags, context));
}

async function importInto(
  target: Target,
  input: ImportInput,
  flags: ImportFlags,
  context: Context,
): Promise<ExitCodeValue> {
  const { clock, interrupted: signal, random, stderr } = context;
  const acknowledged = flags.ackLog === undefined ? null : await AckLog.open(flags.ackLog);
  const progress = startProgress('importing', input.bytesTotal, context);
  const skipped: string[] = [];
  const pump: ImportPump = new ImportPump({
    // Writes in flight are let end, also after Ctrl-C: each has its own deadline.
    put: ({ key, value, ttl }) => target.put(key, value, ttl === 0 ? {} : { ttl }),
    inFlightMax: flags.inFlight,
    lineBytesMax: LINE_BYTES_MAX,
    skipBad: flags.skipBad === true,
    retryForMs: flags.retryFor,
    signal,
    clock,
    random,
    onAcknowledged: ({ key }) => {
      progress.update(input.bytesRead(), pump.counts.acknowledged);
      acknowledged?.add(key);
    },
    behind: () => acknowledged?.behind() ?? null,
    onBad: (line, what) => {
      if (skipped.length < BAD_SHOWN_MAX) skipped.push(`${input.name}:${line}: skipped: ${what}`);
    },
  });
  const startedMs = clock.monotonicMs();
  let failure: unknown = null;
  try {
    failure = await pump.run(linesOf(input.chunks, LINE_BYTES_MAX));
  } catch (error) {
    failure = error;
  }
  try {
    await acknowledged?.close();
  } catch (error) {
    failure ??= error;
  }
  progress.stop();
  for (const line of skipped) await stderr.line(line);
  const seconds = (clock.monotonicMs() - startedMs) / 1000;
  await report(pump, target, seconds, flags, context);
  return conclude(failure, input, pump, signal);
}

async function report(
  { counts }: ImportPump,
  target: Target,
  seconds: number,
  flags: ImportFlags,
  { stdout }: Context,
): Promise<void> {
  const { records, acknowledged, bad, failed } = counts;
  if (flags.json === true) {
    const rounded = Math.round(seconds * 1000) / 1000;
    const row = { target: target.name, records, acknowledged, bad, failed, seconds: rounded };
    await stdout.line(JSON.stringify(row));
    return;
  }
  const rate = seconds > 0 ? ` (${Math.round(acknowledged / seconds)} a second)` : '';
  const wrong = `${bad > 0 ? `, ${bad} bad` : ''}${failed > 0 ? `, ${failed} failed` : ''}`;
  await stdout.line(
    `${acknowledged} of ${records} records acknowledged${wrong}, ${target.name}, in ${seconds.toFixed(1)} s${rate}`,
  );
}

function conclude(
  failure: unknown,
  input: ImportInput,
  { counts }: ImportPump,
  signal: AbortSignal,
): ExitCodeValue {
  if (signal.aborted) throw new InterruptedError();
  if (isStop(failure)) {
    const code = exitCodeOf(failure.cause);
    // A record that is refused is no wrong use of the command.
    const exitCode = code === ExitCode.USAGE ? ExitCode.FAILED : code;
    throw new CommandError(`${input.name}:${failure.line}: ${messageOf(failure)}`, exitCode, {
      cause: failure,
    });
  }
  if (failure !== null) {
    if (failure instanceof CommandError) throw failure;
    throw new CommandError(messageOf(failure), exitCodeOf(failure), { cause: failure });
  }
  return counts.acknowledged === counts.records ? ExitCode.OK : ExitCode.FAILED;
}

const isStop = (failure: unknown): failure is ImportStop =>
  failure instanceof Error && failure.name === 'ImportStop';
