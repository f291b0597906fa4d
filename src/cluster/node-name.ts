/** How messages to people name a node: the first 8 hexadecimal digits of its id, which are its number. */
import type { NodeNumber } from './contract.ts';

export function nodeName(node: NodeNumber): string {
  return node.toString(16).padStart(8, '0');
}
