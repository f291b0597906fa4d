/** The network as membership sees it: what it sends is gossip to whoever receives it. */
import type { Network, NodeNumber } from './contract.ts';
import { encodeGossip } from './messages.ts';

/** `forget`: with all that a node keeps of another. */
export const gossipNetwork = (network: Network, forget: (node: NodeNumber) => void): Network => ({
  send: (to, bytes) => network.send(to, encodeGossip(bytes)),
  sendTo: (address, bytes) => network.sendTo(address, encodeGossip(bytes)),
  setAddress: (node, address) => network.setAddress(node, address),
  features: (node) => network.features(node),
  forget,
});
