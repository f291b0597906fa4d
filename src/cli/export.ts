/** `ringkv export`: every live record as NDJSON, which `import` takes back. */
import type { Command } from 'commander';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { writeExport } from './export-file.ts';
import { exportLine } from './export-line.ts';
import { UsageError } from './failure.ts';
import { jsonFlag, withTarget } from './flags.ts';
import { type TargetFlags, usingTarget } from './open-target.ts';
import { startProgress } from './progress.ts';
import type { Target } from './target.ts';

interface ExportFlags extends TargetFlags {
  readonly gzip?: boolean;
  readonly meta?: true;
  readonly prefix?: string;
  readonly json?: true;
}

export function addExport(program: Command, run: Run): void {
  withTarget(
    program
      .command('export')
      .summary('write all records as NDJSON')
      .description(
        'Writes every live record as a JSON object a line, in order of tokens. A file appears under its name only ' +
          'when it is whole. A data directory gives one state from begin to end; from a server, records that change ' +
          'meanwhile may be seen as before or as after. Without --url and --data: the server at the default address ' +
          'where it answers, otherwise the data directory.',
      ),
  )
    .argument('[file]', 'file to write; - or nothing writes standard output', '-')
    .option('--gzip', 'compress, as for a file whose name ends with .gz')
    .option('--no-gzip', 'do not compress, whatever the name is')
    .option('--meta', 'the version of each record too')
    .option('--prefix <text>', 'only keys that start so')
    .addOption(jsonFlag())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkv export backup.ndjson.gz\n  ringkv export --data ./data | wc -l',
    )
    .action((file: string, flags: ExportFlags) => run((context) => exportTo(file, flags, context)));
}

async function exportTo(path: string, flags: ExportFlags, context: Context): Promise<ExitCodeValue> {
  if (flags.json === true && path === '-')
    throw new UsageError('--json prints a report on standard output, where the records go; name a file');
  const needs = { fallBack: true, create: false };
  return await usingTarget(flags, needs, context, (target) => exportFrom(target, path, flags, context));
}

async function exportFrom(
  target: Target,
  path: string,
  flags: ExportFlags,
  context: Context,
): Promise<ExitCodeValue> {
  const { clock, interrupted: signal, stderr, stdout } = context;
  const prefix = new TextEncoder().encode(flags.prefix ?? '');
  const scan = { prefix, limit: Number.POSITIVE_INFINITY, values: true, snapshot: true, signal };
  const progress = startProgress('exporting', 0, context);
  const startedMs = clock.monotonicMs();
  let records = 0;
  async function* lines(): AsyncGenerator<string, void, undefined> {
    for await (const entry of target.scan(scan)) {
      yield exportLine(entry, flags.meta === true);
      records += 1;
      progress.update(0, records);
    }
  }
  try {
    const gzip = flags.gzip ?? path.endsWith('.gz');
    await writeExport(lines(), { path, gzip, stdout: stdout.stream, signal });
  } finally {
    progress.stop();
  }
  const seconds = (clock.monotonicMs() - startedMs) / 1000;
  if (flags.json === true) {
    const row = { target: target.name, file: path, records, seconds: Math.round(seconds * 1000) / 1000 };
    await stdout.line(JSON.stringify(row));
  } else await stderr.line(`${records} records exported from ${target.name} in ${seconds.toFixed(1)} s`);
  return ExitCode.OK;
}
