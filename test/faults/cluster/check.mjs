/** After the faults: what of the acknowledged writes is there, and whether all replicas hold the same. */
import { inParallel, sleep } from './random.mjs';

const LINES = 24;
const READ_TRIES = 20;

async function read(node, key, consistency) {
  for (let tries = 1; ; tries++) {
    const path = `/v1/kv/${key}?consistency=${consistency}`;
    const answer = await node.ask('GET', path, { accept: 'application/octet-stream' });
    if (answer.status < 500) return answer;
    if (tries >= READ_TRIES) throw new Error(`${path} at ${node.name}: ${answer.status} ${answer.body}`);
    await sleep(250);
  }
}

/** Keys with an acknowledged write that a read at QUORUM does not show. `all`: writes that stand-ins took count too. */
export async function lostOf(load, nodes, all) {
  const lost = [];
  let turn = 0;
  await inParallel(load.keys, LINES, async (key) => {
    const node = nodes[turn++ % nodes.length];
    const { status, body } = await read(node, key.name, 'QUORUM');
    const fault = key.fault(status === 200 ? body : null, all ? key.acknowledged : key.floor);
    if (fault !== '') lost.push(`${key.name} at ${node.name}: ${fault}${await heldOf(node, key.name)}`);
  });
  await inParallel(load.registers, LINES, async (register) => {
    const node = nodes[turn++ % nodes.length];
    const { status, body } = await read(node, register.name, 'SERIAL');
    for (const fault of register.faults(status === 200 ? body : null))
      lost.push(`${register.name}: ${fault}`);
  });
  return lost;
}

/** Reads each key at one node after another: what one shows, the next must show as well. */
export async function readEverywhere(load, nodes) {
  for (const node of nodes)
    await inParallel(load.keys, LINES, async (key) => {
      const { floor, version } = key;
      load.judgeRead(node, key, floor, version, await read(node, key.name, 'QUORUM'));
    });
}

async function heldOf(node, key) {
  const { replicas } = await node.getJson(`/v1/cluster/key/${key}`);
  return `; ${replicas.map(({ nodeId, state, version }) => `${nodeId.slice(0, 8)} ${state} ${version}`).join(', ')}`;
}

/** Of `names`, those whose replicas do not all hold the same. */
export async function differingOf(names, nodes) {
  const differing = [];
  let turn = 0;
  await inParallel(names, LINES, async (name) => {
    const { replicas } = await nodes[turn++ % nodes.length].getJson(`/v1/cluster/key/${name}`);
    const told = replicas.map(({ state, version, origin, checksum }) =>
      [state, version, origin, checksum].join(' '),
    );
    if (new Set(told).size > 1 || replicas.some(({ state }) => state === 'error'))
      differing.push({
        name,
        newest: Math.max(...replicas.map(({ version }) => version ?? 0)),
        held: replicas.map(
          ({ nodeId, state, version, message }) => `${nodeId.slice(0, 8)} ${state} ${version ?? message}`,
        ),
      });
  });
  return differing;
}
