/**
 * How two nodes greet: each sends a hello, the dialler first; who does not want the other answers with a refusal that tells
 * why, and closes. The fields of a hello stay where they are in every version of the protocol, later ones may add more
 * behind them: so nodes of any two versions can tell each other that they do not match.
 */
import { limits } from '../base/limits.ts';
import type { NodeNumber } from '../cluster/contract.ts';
import { decodePlain, encodePlain, MessageError, type Plain } from '../cluster/message-bytes.ts';
import { Fields, UINT32_MAX } from '../cluster/message-fields.ts';
import { nodeName } from '../cluster/node-name.ts';

/** Protocol versions that this build speaks. */
export const PROTOCOL_MIN = 1;
export const PROTOCOL_MAX = 1;
/** Bits of what this build can do beyond its version; a connection uses those that both sides have. None so far. */
export const FEATURES = 0;

const MAGIC = 'ringkv';
const FIELDS = 9;

export interface Hello {
  readonly versionMin: number;
  readonly versionMax: number;
  readonly features: number;
  readonly clusterName: string;
  /** 32 hexadecimal digits; '' where the node does not know it yet. */
  readonly clusterId: string;
  readonly node: NodeNumber;
  /** 32 hexadecimal digits; the first 8 are `node`. */
  readonly nodeId: string;
  readonly generation: number;
}

export function encodeHello(hello: Hello): Uint8Array {
  const { versionMin, versionMax, features, clusterName, clusterId, node, nodeId, generation } = hello;
  return encodePlain([
    MAGIC,
    versionMin,
    versionMax,
    features,
    clusterName,
    clusterId,
    node,
    nodeId,
    generation,
  ]);
}

const fields = new Fields();
const ID = /^[0-9a-f]{32}$/;

/** The first field of what may be anything; null where it is none of this protocol. */
function firstOf(bytes: Uint8Array): Plain {
  try {
    return fields.begin(bytes);
  } catch (error) {
    if (error instanceof MessageError) return null;
    throw error;
  }
}

/** Throws MessageError. */
export function decodeHello(bytes: Uint8Array): Hello {
  if (firstOf(bytes) !== MAGIC) throw new MessageError('the first frame is not the hello of a RingKV node');
  fields.startOpen('hello', FIELDS);
  const hello = {
    versionMin: fields.integer('versionMin', 1, UINT32_MAX),
    versionMax: fields.integer('versionMax', 1, UINT32_MAX),
    features: fields.integer('features', 0, UINT32_MAX),
    clusterName: fields.text('clusterName', limits.clusterNameCharactersMax),
    clusterId: fields.text('clusterId', 32),
    node: fields.integer('node', 1, UINT32_MAX),
    nodeId: fields.text('nodeId', 32),
    generation: fields.integer('generation', 0, Number.MAX_SAFE_INTEGER),
  };
  fields.end();
  if (hello.clusterId !== '' && !ID.test(hello.clusterId))
    throw new MessageError(
      `hello: clusterId ${JSON.stringify(hello.clusterId)} is not 32 hexadecimal digits`,
    );
  if (!ID.test(hello.nodeId) || Number.parseInt(hello.nodeId.slice(0, 8), 16) !== hello.node)
    throw new MessageError(
      `hello: nodeId ${JSON.stringify(hello.nodeId)} is not 32 hexadecimal digits that begin with ${nodeName(hello.node)}`,
    );
  return hello;
}

export const RefusalCode = {
  MALFORMED: 1,
  VERSION: 2,
  CLUSTER_NAME: 3,
  CLUSTER_ID: 4,
  SELF: 5,
  /** Two nodes bear one number. */
  NUMBER_TAKEN: 6,
  /** A newer process of the same node was here. */
  OLD_GENERATION: 7,
  /** Another node listens at the address than the one that was dialled. */
  OTHER_NODE: 8,
  CERTIFICATE: 9,
  TOO_MANY: 10,
} as const;

export interface Refusal {
  readonly code: number;
  readonly message: string;
}

export function encodeRefusal({ code, message }: Refusal): Uint8Array {
  return encodePlain([code, message.slice(0, limits.peerTextCharactersMax)]);
}
/** Throws MessageError. */
export function decodeRefusal(bytes: Uint8Array): Refusal {
  const items = decodePlain(bytes);
  if (!Array.isArray(items) || items.length !== 2) throw new MessageError('refusal: no array of 2');
  const [code, message] = items as readonly Plain[];
  if (typeof code !== 'number' || typeof message !== 'string')
    throw new MessageError('refusal: no code and message');
  return { code, message: message.slice(0, limits.peerTextCharactersMax) };
}

const quoted = (text: string): string => (text === '' ? 'unknown' : JSON.stringify(text));

/** Why this node wants no connection with that one, or null. What needs memory of earlier hellos is judged elsewhere. */
export function refusalOf(own: Hello, other: Hello): Refusal | null {
  if (other.versionMin > own.versionMax || other.versionMax < own.versionMin)
    return {
      code: RefusalCode.VERSION,
      message: `node ${nodeName(own.node)} speaks protocol versions ${own.versionMin} to ${own.versionMax}, node ${nodeName(other.node)} ${other.versionMin} to ${other.versionMax}`,
    };
  if (other.clusterName !== own.clusterName)
    return {
      code: RefusalCode.CLUSTER_NAME,
      message: `node ${nodeName(own.node)} is of cluster ${quoted(own.clusterName)}, node ${nodeName(other.node)} of ${quoted(other.clusterName)}`,
    };
  if (own.clusterId !== '' && other.clusterId !== '' && own.clusterId !== other.clusterId)
    return {
      code: RefusalCode.CLUSTER_ID,
      message: `node ${nodeName(own.node)} and node ${nodeName(other.node)} are of two clusters with the name ${quoted(own.clusterName)}: their ids are ${own.clusterId} and ${other.clusterId}`,
    };
  if (other.node !== own.node) return null;
  return other.nodeId === own.nodeId
    ? { code: RefusalCode.SELF, message: `node ${nodeName(own.node)} was dialled by itself` }
    : {
        code: RefusalCode.NUMBER_TAKEN,
        message: `two nodes have the number ${nodeName(own.node)}: their ids are ${own.nodeId} and ${other.nodeId}`,
      };
}
