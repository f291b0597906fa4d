/** Numbers in decimal as bytes, without the string that JavaScript would make of them first. Any thread. */

const HALF = 100_000_000;
const ZERO = 0x30;

/** Digits of the largest safe integer. */
export const DECIMAL_DIGITS_MAX = 16;

/** Writes a safe integer from 0 on so that its last digit stands before `end`; where its first digit stands. */
export function decimalBefore(bytes: Uint8Array, end: number, value: number): number {
  const upper = Math.floor(value / HALF);
  // Both halves are small integers, whose division costs no floating point.
  let rest = value - upper * HALF;
  let at = end;
  if (upper > 0) {
    while (at > end - 8) {
      const next = (rest / 10) | 0;
      bytes[--at] = ZERO + rest - 10 * next;
      rest = next;
    }
    rest = upper;
  }
  do {
    const next = (rest / 10) | 0;
    bytes[--at] = ZERO + rest - 10 * next;
    rest = next;
  } while (rest > 0);
  return at;
}
