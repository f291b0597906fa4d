/** The program: its commands, what it says where its use is wrong, and the exit code of it all. */
import { Command, CommanderError } from 'commander';
import { packageVersion } from '../node/package-version.ts';
import { addBench } from './bench.ts';
import {
  addDecommission,
  addDrain,
  addJoin,
  addRepair,
  addReplace,
  addReweigh,
  addUndo,
} from './cluster-changes.ts';
import { addKey, addRing, addStatus } from './cluster-views.ts';
import { addConfig } from './config.ts';
import type { Context, Run } from './context.ts';
import { addDelete } from './delete.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { addExport } from './export.ts';
import { exitCodeOf, messageOf } from './failure.ts';
import { addGet } from './get.ts';
import { addImport } from './import.ts';
import { addLocalCluster } from './local-cluster.ts';
import { addPlan } from './plan.ts';
import { addPut } from './put.ts';
import { addScan } from './scan.ts';
import { addServe } from './serve.ts';
import { addVerify } from './verify.ts';

const HELP = `
Exit codes: 0 success; 1 the operation failed, or the key is absent; 2 wrong use or setting; 3 no server answers;
4 the address cannot be listened on; 5 the data directory cannot be used; 6 the node gave up; 130 interrupted.
Variables: RINGKV_URL names the server of get, put, delete, scan, import and export; RINGKV_CONFIG the configuration
file; RINGKV_PORT and the like are settings of serve.

Examples:
  ringkv serve
  ringkv put user_123 Ada
  ringkv get user_123
  ringkv import packages.ndjson.gz`;

/** `arguments_` without the names of node and the script. Never throws; says what failed on standard error. */
export async function runProgram(arguments_: readonly string[], context: Context): Promise<ExitCodeValue> {
  let exitCode: ExitCodeValue = ExitCode.OK;
  const program = programOf(context, async (work) => {
    exitCode = await work(context);
  });
  try {
    await program.parseAsync([...arguments_], { from: 'user' });
    await context.stdout.flush();
    return exitCode;
  } catch (error) {
    // Commander has said it itself.
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
    const message = messageOf(error);
    if (message !== '') context.stderr.stream.write(`ringkv: ${message}\n`);
    const { NODE_DEBUG } = context.environment;
    if (NODE_DEBUG === 'ringkv' && error instanceof Error) context.stderr.stream.write(`${error.stack}\n`);
    return exitCodeOf(error);
  }
}

function programOf({ columns, stderr, stdout }: Context, run: Run): Command {
  const program = new Command('ringkv')
    .description('RingKV: a key-value store. Runs a node, and works with one or with a data directory.')
    .version(packageVersion, '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void stdout.stream.write(text),
      writeErr: (text) => void stderr.stream.write(text),
      outputError: (text, write) => write(oneLine(text)),
      getOutHelpWidth: () => columns,
      getErrHelpWidth: () => columns,
    })
    .addHelpText('after', HELP);
  for (const one of [addServe, addLocalCluster, addGet, addPut, addDelete, addScan, addImport, addExport])
    one(program, run);
  for (const one of [addStatus, addRing, addKey, addJoin, addDecommission, addReplace]) one(program, run);
  for (const one of [addReweigh, addRepair, addDrain, addUndo, addVerify, addConfig, addBench, addPlan])
    one(program, run);
  return program;
}

const oneLine = (text: string): string =>
  `${text
    .trim()
    .replace(/^error: /, 'ringkv: ')
    .replace(/\s*\n\s*/g, ' ')}; see ringkv --help\n`;
