/** Non-negative integers below 2^53 in 8 bytes, little-endian: a BigInt for each would be an allocation. */
const TWO_32 = 0x1_0000_0000;

export function writeInteger(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}
export function readInteger(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
}
