/**
 * A network of its own for each node: a namespace with one end of a veth pair, the other end on a bridge, which has an
 * address too, for clients. Cuts are iptables rules inside the namespace of the node that is cut off, and name the other
 * nodes only: clients still reach it.
 */
import { execFileSync } from 'node:child_process';

/** Networks of this process so far: names are not used twice, for the kernel takes its time to forget them. */
let networks = 0;
const PORT_OF_BRIDGE = 1;
const FIRST_NODE = 10;

const sh = (command, ...args) =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });

export class Network {
  #tag = `rkv${process.pid % 100_000}${String.fromCharCode(97 + (networks++ % 26))}`;
  #subnet = `10.213.${process.pid % 256}`;
  #hosts = new Map();

  constructor() {
    try {
      sh('ip', 'link', 'add', this.#tag, 'type', 'bridge');
      sh('ip', 'addr', 'add', `${this.#subnet}.${PORT_OF_BRIDGE}/24`, 'dev', this.#tag);
      sh('ip', 'link', 'set', this.#tag, 'up');
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Why this machine cannot do it; '' where it can. */
  static lacks() {
    let network = null;
    try {
      network = new Network();
      network.add('a');
      network.add('b');
      network.cut('a', ['b'], 'both');
      return '';
    } catch (error) {
      return String(error.stderr || error.message)
        .trim()
        .split('\n')[0];
    } finally {
      network?.remove();
    }
  }

  /** A namespace for a node. Gives its name and its address. */
  add(name) {
    const index = this.#hosts.size;
    const namespace = `${this.#tag}-${name}`;
    const address = `${this.#subnet}.${FIRST_NODE + index}`;
    const outside = `${this.#tag}v${index}`;
    this.#hosts.set(name, { namespace, address, outside });
    sh('ip', 'netns', 'add', namespace);
    sh('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
    sh('ip', 'link', 'set', outside, 'master', this.#tag, 'up');
    sh('ip', '-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    sh('ip', '-n', namespace, 'link', 'set', 'eth0', 'up');
    sh('ip', '-n', namespace, 'link', 'set', 'lo', 'up');
    return { namespace, address };
  }

  /** Drops packets between a node and others. `way`: both; in: it hears nothing; out: nobody hears it. */
  cut(name, others, way) {
    const { namespace } = this.#hosts.get(name);
    const rule = (...args) => sh('ip', 'netns', 'exec', namespace, 'iptables', '-w', ...args);
    for (const other of others) {
      const { address } = this.#hosts.get(other);
      if (way !== 'out') rule('-A', 'INPUT', '-s', address, '-j', 'DROP');
      if (way !== 'in') rule('-A', 'OUTPUT', '-d', address, '-j', 'DROP');
    }
  }
  heal(name) {
    sh('ip', 'netns', 'exec', this.#hosts.get(name).namespace, 'iptables', '-w', '-F');
  }

  /** Once no process lives in it any more. */
  remove() {
    const quietly = (...args) => {
      try {
        sh('ip', ...args);
      } catch (error) {
        if (!/Cannot (find|remove)|No such/.test(String(error.stderr))) throw error;
      }
    };
    for (const { namespace, outside } of this.#hosts.values()) {
      quietly('link', 'del', outside);
      quietly('netns', 'del', namespace);
    }
    quietly('link', 'del', this.#tag);
  }
}
