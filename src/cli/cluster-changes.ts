/**
 * `ringkv join`, `decommission`, `replace`, `reweigh`, `repair`, `drain` and `undo`: changes of a cluster, asked for at one
 * of its nodes. Each begins at once and goes on by itself, whatever becomes of this command; --wait follows it to its end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { limits } from '../base/limits.ts';
import { RACK, RACK_TEXT } from '../base/rack.ts';
import type { ClusterChange, DrainAnswer } from '../cluster/administration.ts';
import { follow, POLL_MS } from './cluster-follow.ts';
import { type ServerFlags, usingServer, withServer } from './cluster-server.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { UsageError } from './failure.ts';

interface ChangeFlags extends ServerFlags {
  readonly wait?: true;
}
const waitFlag = (): Option => new Option('--wait', 'wait for the end, with progress');

interface ChangeCommand {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly example: string;
}

function change(program: Command, { name, summary, description, example }: ChangeCommand): Command {
  return withServer(program.command(name).summary(summary).description(description))
    .addOption(waitFlag())
    .addHelpText('after', `\nExample:\n  ringkv ${example}`);
}

export function addJoin(program: Command, run: Run): void {
  change(program, {
    name: 'join',
    summary: 'take a node that is alone into a cluster',
    description:
      'Asks a running node that is alone and holds nothing to join the cluster of these peer listeners (host:port, several ' +
      'separated by spaces or commas). A node that is started with --seeds does so by itself.',
    example: 'join 127.0.0.1:9080 --url http://127.0.0.1:8083 --wait',
  })
    .argument('<seeds...>', 'peer listeners of the cluster, host:port')
    .action((seeds: string[], flags: ChangeFlags) =>
      run((context) => ask({ do: 'join', seeds: seeds.flatMap((one) => one.split(',')) }, flags, context)),
    );
}

export function addDecommission(program: Command, run: Run): void {
  change(program, {
    name: 'decommission',
    summary: 'take a node out of its cluster',
    description:
      'The node (the one that is asked, where none is named) hands its vnodes to the others and leaves.',
    example: 'decommission 1f3a77c0 --wait',
  })
    .argument('[node]', 'id of the node, or its first digits')
    .action((node: string | undefined, flags: ChangeFlags) =>
      run((context) => ask({ do: 'decommission', ...(node === undefined ? {} : { node }) }, flags, context)),
    );
}

export function addReplace(program: Command, run: Run): void {
  change(program, {
    name: 'replace',
    summary: 'put a new node in the place of one that is lost',
    description:
      'A running node that is no member yet takes over the vnodes of a member that is down for good, and gets their ' +
      'data from the other replicas.',
    example: 'replace 1f3a77c0 --by 9c04d1e2 --wait',
  })
    .argument('<node>', 'id of the node that is lost, or its first digits')
    .requiredOption('--by <node>', 'id of the new node, or its first digits')
    .action((node: string, flags: ChangeFlags & { readonly by: string }) =>
      run((context) => ask({ do: 'replace', node, by: flags.by }, flags, context)),
    );
}

export function addReweigh(program: Command, run: Run): void {
  change(program, {
    name: 'reweigh',
    summary: "change a node's weight or rack",
    description: "Changes a node's share of vnodes, or where it stands; vnodes move as far as they must.",
    example: 'reweigh 1f3a77c0 --weight 2 --wait',
  })
    .argument('<node>', 'id of the node, or its first digits')
    .addOption(new Option('--weight <n>', 'share of vnodes; 0 owns none').argParser(weight))
    .addOption(new Option('--rack <rack>', 'RACK or ZONE/RACK').argParser(rackName))
    .action((node: string, flags: ChangeFlags & { readonly weight?: number; readonly rack?: string }) =>
      run((context) => {
        if (flags.weight === undefined && flags.rack === undefined)
          throw new UsageError('reweigh needs --weight, --rack or both');
        const { weight: share, rack } = flags;
        const fields = {
          ...(share === undefined ? {} : { weight: share }),
          ...(rack === undefined ? {} : { rack }),
        };
        return ask({ do: 'reweigh', node, ...fields }, flags, context);
      }),
    );
}

export function addRepair(program: Command, run: Run): void {
  change(program, {
    name: 'repair',
    summary: 'compare replicas and make them equal',
    description:
      'Compares the vnodes that the node holds (or those named) with their other replicas, both ways.',
    example: 'repair --wait',
  })
    .option('--vnodes <list>', 'vnodes, such as 3,17,20-25', vnodeList)
    .action((flags: ChangeFlags & { readonly vnodes?: readonly number[] }) =>
      run((context) =>
        ask(
          { do: 'repair', ...(flags.vnodes === undefined ? {} : { vnodes: flags.vnodes }) },
          flags,
          context,
        ),
      ),
    );
}

export function addDrain(program: Command, run: Run): void {
  change(program, {
    name: 'drain',
    summary: 'prepare a node for being stopped',
    description:
      'The node takes no more requests of clients, and hands out the writes that it keeps for others. It is done when none are ' +
      'left for nodes that are there; --wait asks until then.',
    example: 'drain --url http://127.0.0.1:8081 --wait',
  }).action((flags: ChangeFlags) => run((context) => drain(flags, context)));
}

export function addUndo(program: Command, run: Run): void {
  change(program, {
    name: 'undo',
    summary: 'take back the change of the ring that is under way',
    description: 'Takes the change back while its data is being copied; later it can only go on.',
    example: 'undo --wait',
  }).action((flags: ChangeFlags) => run((context) => ask({ do: 'undo' }, flags, context)));
}

async function ask(what: ClusterChange, flags: ChangeFlags, context: Context): Promise<ExitCodeValue> {
  return await usingServer(flags, context, async (client, options) => {
    const isAwaited = flags.wait === true;
    // A node that is to join may know no ring yet.
    const before = isAwaited && what.do !== 'join' ? await client.clusterStatus(options) : null;
    const answer = await client.clusterChange(what, options);
    for (const warning of warningsOf(answer)) await context.stderr.line(`ringkv: ${warning}`);
    if (isAwaited) await follow(what, before, client, context);
    if (flags.json === true) await context.stdout.line(JSON.stringify(answer));
    else
      await context.stdout.line(
        !isAwaited ? `${what.do} has begun; ringkv status shows how far it is` : `${what.do} is done`,
      );
    return ExitCode.OK;
  });
}
function warningsOf(answer: unknown): readonly string[] {
  const { warnings = [] } = answer as { readonly warnings?: readonly string[] };
  return warnings;
}

/** Each request waits as long as it may; with --wait there is another while there is something to wait for. */
async function drain(flags: ChangeFlags, context: Context): Promise<ExitCodeValue> {
  return await usingServer(flags, context, async (client, options) => {
    const ask = async (): Promise<DrainAnswer> =>
      (await client.clusterChange({ do: 'drain' }, options)) as DrainAnswer;
    let answer = await ask();
    while (flags.wait === true && !isDrained(answer)) {
      await sleep(POLL_MS, undefined, { signal: context.interrupted });
      answer = await ask();
    }
    for (const warning of answer.warnings) await context.stderr.line(`ringkv: ${warning}`);
    if (flags.json === true) await context.stdout.line(JSON.stringify(answer));
    else
      await context.stdout.line(
        isDrained(answer) ? 'drain is done' : 'drain has begun; drain --wait waits for its end',
      );
    return ExitCode.OK;
  });
}

/** A node of an earlier build tells of no writes. */
const isDrained = ({ hintBytes, unsettled = 0 }: Partial<DrainAnswer>): boolean =>
  hintBytes === 0 && unsettled === 0;

const WEIGHT_MAX = limits.ringWeightMax;
function weight(text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 0 && value <= WEIGHT_MAX))
    throw new InvalidArgumentError(`Not a number from 0 to ${WEIGHT_MAX}.`);
  return value;
}

/** What `serve --rack` takes: a node that could not be started with its rack would be no help. */
function rackName(text: string): string {
  if (!RACK.test(text)) throw new InvalidArgumentError(`Not ${RACK_TEXT}.`);
  return text;
}

const VNODES_MAX = limits.vnodesMax;
function vnodeList(text: string): readonly number[] {
  const vnodes = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (match === null || first > last || last >= VNODES_MAX)
      throw new InvalidArgumentError(`${JSON.stringify(part)} is no vnode, and no range of vnodes.`);
    for (let vnode = first; vnode <= last; vnode++) vnodes.add(vnode);
  }
  return [...vnodes].sort((a, b) => a - b);
}
