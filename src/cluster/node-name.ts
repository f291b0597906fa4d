/** How messages to people name a node: the first 8 hexadecimal digits of its id, which are its number. And how a cluster is named. */
import type { Random } from '../base/random.ts';
import type { NodeNumber } from './contract.ts';

export function nodeName(node: NodeNumber): string {
  return node.toString(16).padStart(8, '0');
}

/** The id of a cluster that is being founded: 128 bits. */
export const newClusterId = (random: Random): string =>
  Array.from({ length: 4 }, () => random.uint32().toString(16).padStart(8, '0')).join('');
