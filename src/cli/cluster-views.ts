/** `ringkv status`, `ring` and `key`: what a cluster looks like from one of its nodes. */
import type { Command } from 'commander';
import { KiB, MiB } from '../base/limits.ts';
import type { ClusterStatus, KeyStatus, NodeStatus, RingStatus } from '../cluster/administration.ts';
import { type ServerFlags, usingServer, withServer } from './cluster-server.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { withKey } from './flags.ts';
import { keyOf, shownText } from './keys.ts';
import { tableOf } from './text-table.ts';

/** Digits of a node's id that a table shows: enough to name it. */
const ID_DIGITS = 8;
const shortId = (nodeId: string): string => nodeId.slice(0, ID_DIGITS);

export function addStatus(program: Command, run: Run): void {
  withServer(
    program
      .command('status')
      .summary('show the nodes of a cluster')
      .description('Shows the members, their state, the change of the ring under way and its progress.'),
  )
    .addHelpText('after', '\nExamples:\n  ringkv status\n  ringkv status --url http://127.0.0.1:8081 --json')
    .action((flags: ServerFlags) =>
      run((context) => view(flags, context, (client, options) => client.clusterStatus(options), statusText)),
    );
}

export function addRing(program: Command, run: Run): void {
  withServer(program.command('ring').summary('show which nodes hold which vnodes'))
    .addHelpText('after', '\nExample:\n  ringkv ring')
    .action((flags: ServerFlags) =>
      run((context) => view(flags, context, (client, options) => client.clusterRing(options), ringText)),
    );
}

export function addKey(program: Command, run: Run): void {
  const command = program
    .command('key')
    .summary('show where a key lives')
    .description('Shows the token and the vnode of a key, and what each of its replicas holds.');
  withServer(withKey(command))
    .addHelpText('after', '\nExample:\n  ringkv key user_123')
    .action((text: string | undefined, flags: ServerFlags & { readonly keyBase64?: string }) =>
      run(async (context) => {
        const key = keyOf(text, flags.keyBase64);
        return await view(flags, context, (client, options) => client.clusterKey(key, options), keyText);
      }),
    );
}

async function view<T>(
  flags: ServerFlags,
  context: Context,
  ask: (...args: Parameters<Parameters<typeof usingServer<T>>[2]>) => Promise<T>,
  textOf: (answer: T) => string[],
): Promise<ExitCodeValue> {
  const answer = await usingServer(flags, context, ask);
  const lines = flags.json === true ? [JSON.stringify(answer, null, 2)] : textOf(answer);
  for (const line of lines) await context.stdout.line(line);
  return ExitCode.OK;
}

/** A table of the nodes, and what is under way. */
export function statusText(status: ClusterStatus): string[] {
  const { clusterName, clusterId, ring, vnodes, replicas, nodes, self, refusal, change, repair } = status;
  const lines = [
    `cluster ${clusterName} (${shortId(clusterId)}), ring ${ring}, ${vnodes} vnodes, ${replicas} replicas`,
    ...tableOf([
      ['node', 'state', 'rack', 'weight', 'owns', 'holds', 'ring', 'hints', 'peers', 'clients'],
      ...nodes.map((node) => nodeRow(node, self)),
    ]),
  ];
  if (refusal !== '') lines.push(`not joined yet: ${refusal}`);
  if (change !== null) {
    const by = change.by === '' ? '' : ` by ${shortId(change.by)}`;
    lines.push(`change: ${change.kind} ${shortId(change.node)}${by}, ${change.phase}`);
    for (const node of nodes)
      lines.push(...progressOf(node).map((text) => `  ${shortId(node.nodeId)} ${text}`));
    for (const text of change.waitsFor) lines.push(`  waits: ${text}`);
  }
  if (repair.running) lines.push(`repair: ${repair.vnodesDone} vnodes done, ${repair.vnodesWaiting} waiting`);
  for (const text of repair.waitsFor) lines.push(`  waits: ${text}`);
  return lines;
}

function progressOf(node: NodeStatus): string[] {
  const { gains, gained, gainedBytes } = node;
  const { leaveHintBytes, leaveHintBytesMost, leaveMarks, leaveMarksMost } = node;
  const lines: string[] = [];
  if (gains > 0) lines.push(`has ${gained} of ${gains} vnodes, ${mib(gainedBytes)} taken`);
  if (leaveHintBytes > 0)
    lines.push(
      `has ${mib(leaveHintBytes)} of ${mib(Math.max(leaveHintBytes, leaveHintBytesMost))} of hints to hand on`,
    );
  if (leaveMarks > 0)
    lines.push(
      `has ${leaveMarks} of ${Math.max(leaveMarks, leaveMarksMost)} vnodes marked for repair to hand on`,
    );
  return lines;
}
/** Nothing that is there is shown as 0.0. */
function mib(bytes: number): string {
  const tenths = Math.round((bytes / MiB) * 10);
  return bytes > 0 && tenths === 0 ? `${Math.ceil(bytes / KiB)} KiB` : `${(bytes / MiB).toFixed(1)} MiB`;
}

function nodeRow(node: NodeStatus, self: string): string[] {
  const { nodeId, state, rack, weight, vnodes, replicas, ring, hintBytes, address, url, member } = node;
  return [
    `${shortId(nodeId)}${nodeId === self ? '*' : ''}`,
    member ? state : `${state}, no member`,
    shownText(rack),
    String(weight),
    String(vnodes),
    String(replicas),
    String(ring),
    hintBytes === 0 ? '-' : mib(hintBytes),
    address,
    url === '' ? '-' : url,
  ];
}

function ringText({ ring, vnodes, replicas, ranges }: RingStatus): string[] {
  const width = String(vnodes - 1).length;
  return [
    `ring ${ring}, ${vnodes} vnodes, ${replicas} replicas`,
    ...ranges.map(
      ({ first, last, nodes }) =>
        `${String(first).padStart(width)}${(first === last ? '' : `-${last}`).padEnd(width + 1)}  ${nodes.map(shortId).join(' ')}`,
    ),
  ];
}

function keyText({ token, vnode, replicas }: KeyStatus): string[] {
  return [
    `token ${token}, vnode ${vnode}`,
    ...tableOf([
      ['node', 'state', 'version', 'bytes', 'checksum'],
      ...replicas.map(({ nodeId, state, version, bytes, checksum, message }) => [
        shortId(nodeId),
        message === undefined ? state : `${state}: ${message}`,
        String(version ?? '-'),
        String(bytes ?? '-'),
        checksum ?? '-',
      ]),
    ]),
  ];
}
