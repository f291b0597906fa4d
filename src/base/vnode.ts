/** Which vnode, and which shard, a token belongs to. Apart from token.ts, which loads a WebAssembly module: a page may forbid that. */

/** The vnode of a token: its top bits. `vnodes` is a power of two from 1 to 65,536. */
export function vnodeOf(tokenHi: number, vnodes: number): number {
  return Math.floor(tokenHi / (0x1_0000_0000 / vnodes));
}
/** The shard of a token on a node with `shards` shards: vnode modulo shards. */
export function shardOf(tokenHi: number, vnodes: number, shards: number): number {
  return vnodeOf(tokenHi, vnodes) % shards;
}
