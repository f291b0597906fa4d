/**
 * What is done to a cluster under load. Each gets a cluster of three that serves, and returns with all faults over. `fault`
 * and `over` tell when the time in which answers of 5xx are excused begins.
 */
import { sleep, until } from './random.mjs';

const CLOCK_OFF_SECONDS = 600;
const WAIT_MS_MAX = 90_000;

/** Starts a node and sends requests to it. */
async function start(node, ...flags) {
  await node.start(...flags);
  node.serves = true;
}
/** A node that nobody sends requests to, from now on. */
function away(node) {
  node.serves = false;
}
/** It gets requests again as soon as it says that it is ready. */
async function back(node) {
  await until(`${node.name} is ready`, WAIT_MS_MAX, () => node.isReady());
  node.serves = true;
}

async function cutOff(c, way) {
  const { cluster, load, network, random } = c;
  const node = random.pick(cluster.nodes);
  const others = cluster.nodes.filter((one) => one !== node).map(({ name }) => name);
  away(node);
  load.cutOff = node;
  c.fault(`${node.name} is cut off (${way})`);
  network.cut(node.name, others, way);
  await c.beyondDetection();
  network.heal(node.name);
  c.over(`${node.name} is connected again`);
  load.cutOff = null;
  await until(`${node.name} answers at QUORUM`, WAIT_MS_MAX, async () => {
    const { status } = await node.ask('GET', '/v1/kv/none?consistency=QUORUM');
    return status === 404;
  });
  node.serves = true;
  await c.someWrites();
}

async function clockOff(c, seconds) {
  const { cluster, random } = c;
  const node = random.pick(cluster.nodes.filter(({ name }) => name !== 'n1'));
  c.fault(`the clock of ${node.name} jumps by ${seconds} s`);
  node.setClock(seconds);
  await c.someWrites();
  away(node);
  c.fault(`${node.name} is killed, and restarts with that clock`);
  await node.signal('SIGKILL');
  await start(node);
  c.over('it serves');
  await c.someWrites();
  c.fault('its clock is set right');
  node.setClock(0);
  await c.someWrites();
  c.over('the clocks agree');
}

export const scenarios = [
  {
    name: 'kill',
    what: 'one is killed with SIGKILL and restarted',
    run: async (c) => {
      const node = c.random.pick(c.cluster.nodes);
      away(node);
      c.fault(`${node.name} is killed`);
      await node.signal('SIGKILL');
      await c.beyondDetection();
      await start(node);
      c.over(`${node.name} serves again`);
      await c.someWrites();
    },
  },
  {
    name: 'pause',
    what: 'one is stopped with SIGSTOP and goes on',
    run: async (c) => {
      const node = c.random.pick(c.cluster.nodes);
      away(node);
      c.fault(`${node.name} is stopped`);
      await node.signal('SIGSTOP');
      await (c.short ? c.beyondDetection() : sleep(30_000));
      await node.signal('SIGCONT');
      c.over(`${node.name} goes on`);
      await back(node);
      await c.someWrites();
    },
  },
  {
    name: 'cut',
    what: 'one is cut off from the others',
    needsNetwork: true,
    run: (c) => cutOff(c, 'both'),
  },
  {
    name: 'cut-in',
    what: 'one is heard by the others and hears nothing',
    needsNetwork: true,
    run: (c) => cutOff(c, 'in'),
  },
  {
    name: 'cut-out',
    what: 'one hears the others and is not heard',
    needsNetwork: true,
    longOnly: true,
    run: (c) => cutOff(c, 'out'),
  },
  {
    name: 'clock-ahead',
    what: 'the clock of one jumps 10 minutes ahead and back, with a restart between',
    needsClock: true,
    run: (c) => clockOff(c, CLOCK_OFF_SECONDS),
  },
  {
    name: 'clock-behind',
    what: 'the clock of one jumps 10 minutes behind and back, with a restart between',
    needsClock: true,
    run: (c) => clockOff(c, -CLOCK_OFF_SECONDS),
  },
  {
    name: 'replace',
    what: 'one loses its disk, and a new node takes its place',
    members: 3,
    run: async (c) => {
      const { cluster, random } = c;
      const lost = random.pick(cluster.nodes);
      away(lost);
      c.fault(`${lost.name} is killed, and its disk wiped`);
      await lost.signal('SIGKILL');
      lost.wipe();
      await c.beyondDetection();
      await cluster.seenAs(lost, 'down');
      const fresh = cluster.add();
      await start(fresh, '--replace', lost.nodeId);
      await cluster.settled(3);
      c.over(`${fresh.name} has taken its place`);
      await c.someWrites();
    },
  },
  {
    name: 'grow',
    what: 'a fourth and a fifth join',
    members: 5,
    run: async (c) => {
      const { cluster } = c;
      c.fault('n4 and n5 are started');
      await Promise.all([start(cluster.add()), start(cluster.add())]);
      await cluster.settled(5);
      c.over('both have joined');
      await c.someWrites();
    },
  },
  {
    name: 'leave',
    what: 'of four, the first leaves',
    // It is killed as soon as it has left, and may take along what it kept for others. Open: docs/reliability.md.
    losesHints: true,
    starts: 4,
    members: 3,
    run: async (c) => {
      const { cluster } = c;
      const [first] = cluster.nodes;
      c.fault('n1 is told to leave');
      first.leaves = true;
      await first.change('decommission');
      // Its place in the ring goes last: until then it serves.
      await until('n1 has left', WAIT_MS_MAX, async () => {
        const { nodes } = await cluster.nodes[1].getJson('/v1/cluster');
        return nodes.every(({ nodeId, member }) => nodeId !== first.nodeId || !member);
      });
      away(first);
      await cluster.settled(3);
      await first.signal('SIGKILL');
      c.over('n1 has left, and is killed');
      await c.someWrites();
    },
  },
  {
    name: 'kill-all',
    what: 'all are killed with SIGKILL at once and restarted',
    // Who acknowledged a write may die before it has kept the hint for a replica that missed it: a repair finds that.
    losesHints: true,
    run: async (c) => {
      const { cluster } = c;
      for (const node of cluster.nodes) away(node);
      c.fault('all are killed');
      await Promise.all(cluster.nodes.map((node) => node.signal('SIGKILL')));
      await Promise.all(cluster.nodes.map((node) => node.start()));
      c.fault('all run again, and have to find each other');
      for (const node of cluster.nodes) node.serves = true;
      await cluster.settled(3);
      c.over('all serve again');
      await c.someWrites();
    },
  },
];
