/**
 * Deliberate defects of connections and addresses, most of them as the product had them once. What replaces the product's own method for
 * the time of a simulation is put back by the function that planting gives.
 */
import type { MonotonicMs } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { decodeMessage } from '../../src/cluster/message-decode.ts';
import { Kind } from '../../src/cluster/message-kinds.ts';
import { NODE_STARTS } from '../../src/cluster/rpc-service.ts';
import { Connection } from '../../src/peer/connection.ts';
import { RefusalCode } from '../../src/peer/hello.ts';
import { PeerTable } from '../../src/peer/peer-table.ts';
import { Seeds } from '../../src/peer/seeds.ts';
import type { ConnectionFault } from './connection-faults.ts';

export const CONNECTION_DEFECTS = [
  /** Calls end with the last connection with a node, not with the one that they went over. */
  'calls-of-last-connection',
  /** A node drops what it is asked while it starts. */
  'silent-while-starting',
  /** Who dialled another and found itself never dials that again. */
  'self-dialled-for-ever',
  /** A seed that once led to the node itself is given up. */
  'seed-given-up',
  /** Addresses that lead nowhere fill the table of seeds. */
  'dead-seeds-fill',
  /** Another node answers than the one that was dialled, and is taken for it. */
  'any-node-will-do',
  /** The id of the cluster is not looked at. */
  'any-cluster-will-do',
  /** A connection over which nothing comes is kept. */
  'silence-is-fine',
  /** A node that has an address gets no other. */
  'first-address-only',
  /** A long message is accepted, and not sent. */
  'long-message-dropped',
] as const;
/**
 * Those that are found. `self-dialled-for-ever` was, by seed 10, until killed processes took time to recover and lists of seeds differed: since
 * then no seed of 100 meets it, and test/peer/self-address.test.ts alone covers it. Another node than the one that was dialled does no harm that a simulation shows: messages go to whom they are for all the
 * same, and the node that was looked for dials by itself. test/peer/transport.test.ts looks at the connection itself.
 */
export const FOUND_CONNECTION_DEFECTS: readonly ConnectionDefect[] = [
  'calls-of-last-connection',
  'silent-while-starting',
  'seed-given-up',
  'dead-seeds-fill',
  'any-cluster-will-do',
  'silence-is-fine',
  'first-address-only',
  'long-message-dropped',
];
export type ConnectionDefect = (typeof CONNECTION_DEFECTS)[number];
export const isConnectionDefect = (name: string): name is ConnectionDefect =>
  (CONNECTION_DEFECTS as readonly string[]).includes(name);

/** Without these a defect does nothing. */
export const FAULTS_FOR_CONNECTION_DEFECT: {
  readonly [Name in ConnectionDefect]: readonly ConnectionFault[];
} = {
  'calls-of-last-connection': ['stall', 'reset'],
  'silent-while-starting': ['kill'],
  'self-dialled-for-ever': ['move', 'swap'],
  'seed-given-up': ['move', 'swap'],
  'dead-seeds-fill': ['move'],
  'any-node-will-do': ['move', 'swap'],
  'any-cluster-will-do': ['move'],
  'silence-is-fine': ['stall'],
  'first-address-only': ['move'],
  'long-message-dropped': [],
};

type Undo = () => void;
function replace<T extends object, K extends keyof T>(target: T, name: K, method: T[K]): Undo {
  const original = target[name];
  target[name] = method;
  return () => {
    target[name] = original;
  };
}

/** Puts a defect into the product's own code, where it lies there; gives what takes it out. */
export function plantConnectionDefect(defect: ConnectionDefect | null): Undo {
  const { judge, diallingOver } = PeerTable.prototype;
  const { at } = Seeds.prototype;
  const { tick } = Connection.prototype;
  const judgeBut = (...ignored: readonly number[]): Undo =>
    replace(PeerTable.prototype, 'judge', function (this: PeerTable, own, connection, hello) {
      const refusal = judge.call(this, own, connection, hello);
      return refusal !== null && ignored.includes(refusal.code) ? null : refusal;
    });
  switch (defect) {
    case 'self-dialled-for-ever':
      return replace(PeerTable.prototype, 'diallingOver', function (this: PeerTable, connection) {
        return connection.refusal === RefusalCode.SELF ? undefined : diallingOver.call(this, connection);
      });
    case 'seed-given-up':
      return replace(Seeds.prototype, 'at', function (this: Seeds, address) {
        const seed = at.call(this, address);
        return seed?.isSelf === true ? null : seed;
      });
    case 'dead-seeds-fill': {
      const known = new WeakMap<Seeds, Set<string>>();
      return replace(Seeds.prototype, 'at', function (this: Seeds, address) {
        const addresses = known.get(this) ?? new Set();
        known.set(this, addresses);
        if (!addresses.has(address) && addresses.size >= limits.peerSeedsMax) return null;
        addresses.add(address);
        return at.call(this, address);
      });
    }
    case 'any-node-will-do':
      return judgeBut(RefusalCode.OTHER_NODE);
    case 'any-cluster-will-do':
      return judgeBut(RefusalCode.CLUSTER_ID, RefusalCode.CLUSTER_NAME);
    case 'silence-is-fine':
      return replace(Connection.prototype, 'tick', function (this: Connection, now) {
        if (this.state === 'ready') this.forgive();
        tick.call(this, now);
      });
    default:
      // The others lie in how the transport is used: connection-network.ts.
      return () => undefined;
  }
}

/** A node refuses a request because it starts (rpc-service.ts). */
export function isRefusalOfStart(bytes: Uint8Array, nowMs: MonotonicMs): boolean {
  const message = decodeMessage(bytes, nowMs);
  return message.kind === Kind.REFUSED && message.message.endsWith(NODE_STARTS);
}
